//! How many tiles go through the steps together, and how threads share them.
//!
//! ```text
//!   a block of tiles of the input                  t^2 products                            its tiles of the output
//!     b tiles x Ci --transform_input--> V [t^2, b, Ci] --multiply--> M [t^2, b, Co] --transform_output--> b tiles x Co
//! ```
//!
//! A block of `b` tiles holds `t^2 b (Ci + Co)` values of V and M, and reads `t^2 Ci Co` weights. Many tiles and few
//! channels: blocks whose V and M stay in L2, each a task's own. Few tiles and many channels: the weights are what
//! costs, so all tiles are one block, and the tasks share each of its steps.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Output, Tile, Tiling, Winograd, odd_lines,
    steps::{Multiply, TransformInput, TransformOutput},
};
use crate::{
    CacheInfo, Cpu,
    aligned::aligned,
    blocking::{MAX_WINOGRAD_VALUES, winograd_values},
    conv::{ChannelRange, ConvArgs, ConvShape},
    len_of,
    product::ROWS,
    simd::{Width, run_on},
    sync_ptr::SyncPtr,
    tasks,
};

/// Buffers of one block, and the layer they belong to.
///
/// What the steps ask for is seen to here: V and M have `t^2` parts of `block_tiles` rows, each part of a step is done
/// by one task, and a step begins when the one before it is done.
#[derive(Clone, Copy)]
struct Block<'a> {
    layer: &'a Winograd,
    tiling: &'a Tiling,
    args: ConvArgs<'a>,
    in_channels: ChannelRange,
    /// The output from its first channel on.
    out: SyncPtr,
    /// Values from one cell of the output to the next.
    out_stride: usize,
    v: SyncPtr,
    m: SyncPtr,
    layout: Layout,
}

/// Values in a row and in each of the `t^2` parts of V and M.
#[derive(Clone, Copy)]
struct Layout {
    v_row: usize,
    v_part: usize,
    m_row: usize,
    m_part: usize,
}

impl Layout {
    fn new([in_channels, out_channels]: [usize; 2], width: Width, tiles: usize) -> Self {
        let v_row = in_channels.next_multiple_of(width.lanes);
        let m_row = out_channels.next_multiple_of(width.lanes);
        let (v_part, m_part) = (odd_lines(len_of(&[tiles, v_row])), odd_lines(len_of(&[tiles, m_row])));
        Self { v_row, v_part, m_row, m_part }
    }

    /// Values of V and of M.
    fn lens(&self, tile: Tile) -> (usize, usize) {
        (len_of(&[tile.products(), self.v_part]), len_of(&[tile.products(), self.m_part]))
    }
}

impl Block<'_> {
    /// All three steps on `tiles`, by the calling thread alone.
    fn run(&self, tiles: Range<usize>) {
        let count = tiles.len();
        self.transform_input(tiles.start, 0..count);
        (0..self.panels()).for_each(|panel| self.multiply(count, panel));
        self.transform_output(tiles.start, 0..count);
    }

    /// The same by that many tasks, which share each step: the transforms by tiles, the products by panels.
    fn run_shared(&self, tasks: usize, tiles: Range<usize>) {
        let (first, count) = (tiles.start, tiles.len());
        let mut tasks = alloc::vec![*self; tasks];
        tasks::for_each_index(&mut tasks, count, |block, i| block.transform_input(first, i..i + 1));
        tasks::for_each_index(&mut tasks, self.panels(), |block, panel| block.multiply(count, panel));
        tasks::for_each_index(&mut tasks, count, |block, i| block.transform_output(first, i..i + 1));
    }

    /// Tiles `first_tile + rows` of the batch into `rows` of V.
    fn transform_input(&self, first_tile: usize, rows: Range<usize>) {
        run_on(
            self.layer.cpu.isa,
            TransformInput {
                tiling: self.tiling,
                channels: self.layer.in_channels,
                input: self.args.input,
                in_channels: self.in_channels,
                tiles: first_tile + rows.start..first_tile + rows.end,
                row: rows.start,
                v: self.v,
                row_len: self.layout.v_row,
                part_len: self.layout.v_part,
            },
        );
    }

    /// Panels of weights in one of the products.
    fn panels_of_each(&self) -> usize {
        self.layout.m_row.div_ceil(self.layer.width.panel)
    }

    /// Panels of weights in all `t^2` products.
    fn panels(&self) -> usize {
        self.layer.tile.products() * self.panels_of_each()
    }

    /// The first `rows` of V with one of all panels, into M.
    fn multiply(&self, rows: usize, panel: usize) {
        let (part, panel) = (panel / self.panels_of_each(), panel % self.panels_of_each());
        let first = panel * self.layer.width.panel;
        let product = Multiply {
            weights: &self.layer.weights.as_slice()[part * self.layer.weight_stride..],
            rows,
            channels: self.layer.in_channels,
            v: self.v.offset(part * self.layout.v_part),
            v_row_len: self.layout.v_row,
            first,
            width: self.layer.width.panel.min(self.layout.m_row - first),
            m: self.m.offset(part * self.layout.m_part),
            m_row_len: self.layout.m_row,
        };
        product.run(self.layer.cpu);
    }

    /// `rows` of M into tiles `first_tile + rows` of the batch.
    fn transform_output(&self, first_tile: usize, rows: Range<usize>) {
        run_on(
            self.layer.cpu.isa,
            TransformOutput {
                tiling: self.tiling,
                channels: self.layer.out_channels,
                tiles: first_tile + rows.start..first_tile + rows.end,
                row: rows.start,
                m: self.m,
                row_len: self.layout.m_row,
                part_len: self.layout.m_part,
                bias: self.args.bias,
                relu: self.args.relu,
                out: self.out,
                out_stride: self.out_stride,
            },
        );
    }
}

impl Winograd {
    /// Values of V and M of a block on maps of `size`; saturates. Tasks have a block each, as many of them as there are
    /// threads and no more than there are blocks.
    pub(in crate::conv) fn scratch_len(
        tile: Tile,
        shape: &ConvShape,
        size: [usize; 2],
        cpu: Cpu,
        threads: usize,
    ) -> usize {
        let tiles = tile_count(tile, shape.batch, size);
        let channels = shape.group_channels();
        let block = block_tiles(cpu.caches, tile, channels, tiles);
        let (v_len, m_len) = Layout::new(channels, Width::of(cpu.isa), block).lens(tile);
        len_of(&[threads.min(tiles.div_ceil(block.max(1))), v_len.saturating_add(m_len)])
    }

    /// Convolves `in_channels` of the input maps into those of the output. The shapes were checked.
    pub(in crate::conv) fn run(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        in_channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut Output<'_>,
    ) {
        let channels = out.channels;
        assert!(in_channels.first + self.in_channels <= in_channels.stride);
        assert!(channels.first + self.out_channels <= channels.stride);
        let tiling = Tiling::new(self.tile, shape, out.size, out.pooled);
        let tiles = tile_count(self.tile, shape.batch, out.size);
        let block_tiles =
            block_tiles(self.cpu.caches, self.tile, [self.in_channels, self.out_channels], tiles);
        let blocks = tiles.div_ceil(block_tiles);
        let tiles_of = |block: usize| block * block_tiles..tiles.min((block + 1) * block_tiles);

        // With few blocks to a task, some would be waiting for the last one.
        let tasks = tasks::task_count(args.threads);
        let own_blocks = tasks == 1 || blocks >= BLOCKS_FOR_EACH_TASK * tasks;
        let buffers = if own_blocks { tasks.min(blocks) } else { 1 };

        let layout = Layout::new([self.in_channels, self.out_channels], self.width, block_tiles);
        let (v_len, m_len) = layout.lens(self.tile);
        let buffers = aligned(scratch, len_of(&[buffers, v_len + m_len])).chunks_exact_mut(v_len + m_len);
        let (map, out_stride) = (SyncPtr::new(out.map).offset(channels.first), channels.stride);
        let block_with = |buffer: &mut [f32]| {
            let (v, m) = buffer.split_at_mut(v_len);
            let (v, m, tiling) = (SyncPtr::new(v), SyncPtr::new(m), &tiling);
            Block { layer: self, tiling, args, in_channels, out: map, out_stride, v, m, layout }
        };
        let mut block_runs: Vec<Block<'_>> = buffers.map(block_with).collect();
        if own_blocks {
            tasks::for_each_index(&mut block_runs, blocks, |block, i| block.run(tiles_of(i)));
        } else if let Some(block) = block_runs.first() {
            (0..blocks).for_each(|i| block.run_shared(tasks, tiles_of(i)));
        }
    }
}

/// Blocks for each task that make it worth while to give every task its own.
const BLOCKS_FOR_EACH_TASK: usize = 4;

/// Tiles of the output of a batch of maps; saturates far below the largest number.
pub(in crate::conv) fn tile_count(tile: Tile, batch: usize, size: [usize; 2]) -> usize {
    let [rows, columns] = size.map(|side| side.div_ceil(tile.out_side()));
    len_of(&[batch, rows, columns]).min(usize::MAX >> 8)
}

/// How many of `tiles` go through the steps together. It depends on no number of threads.
pub(in crate::conv) fn block_tiles(
    caches: CacheInfo,
    tile: Tile,
    [ci, co]: [usize; 2],
    tiles: usize,
) -> usize {
    let products = tile.products();
    let tile_values = len_of(&[products, ci + co]).max(1);
    let weights = len_of(&[products, ci, co]);
    let cached = winograd_values(caches).saturating_sub(weights) / tile_values;
    let block = if cached >= 2 * ROWS {
        cached
    } else {
        // The weights come from farther away for each block: 4 t^2 Ci Co bytes. With this many tiles that is half of
        // what V and M take, written and read: 8 t^2 (Ci + Co) b.
        (len_of(&[ci, co]) / (ci + co).max(1)).min(MAX_WINOGRAD_VALUES / tile_values)
    };
    // Blocks of about one size, in whole tiles of sums, none larger than that.
    let blocks = tiles.div_ceil((block / ROWS).max(1) * ROWS).max(1);
    tiles.div_ceil(blocks).next_multiple_of(ROWS).min(tiles.max(1))
}

/// Whether V, M and the weights of a block stay in L2 together.
pub(in crate::conv) fn fits_cache(
    caches: CacheInfo,
    tile: Tile,
    [ci, co]: [usize; 2],
    block_tiles: usize,
) -> bool {
    let products = tile.products();
    let values = len_of(&[products, block_tiles, ci + co]).saturating_add(len_of(&[products, ci, co]));
    values <= winograd_values(caches)
}
