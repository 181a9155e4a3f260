//! How many tiles go through the steps together, and how threads share them.
//!
//! A block of `b` tiles holds `t^2 b (Ci + Co)` values of V and M, and reads `t^2 Ci Co` weights. Many tiles and few
//! channels: blocks whose V and M stay in L2, each a task's own. Few tiles and many channels: the weights are what
//! costs, so all tiles are one block, and the tasks share each of its steps.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Tile, Tiling, Winograd, odd_lines,
    steps::{Multiply, TransformInput, TransformOutput},
};
use crate::{
    aligned::aligned,
    conv::{Cells, ConvShape},
    len_of,
    product::ROWS,
    simd::run_on,
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
    input: &'a [f32],
    in_cells: Cells,
    bias: Option<&'a [f32]>,
    relu: bool,
    out: SyncPtr,
    /// Values from one cell of the output to the next.
    out_stride: usize,
    v: SyncPtr,
    m: SyncPtr,
    sizes: Sizes,
}

/// Values in a row and in each of the `t^2` parts of V and M.
#[derive(Clone, Copy)]
struct Sizes {
    v_row: usize,
    v_part: usize,
    m_row: usize,
    m_part: usize,
}

impl Sizes {
    fn new(layer: &Winograd, tiles: usize) -> Self {
        let v_row = layer.in_channels.next_multiple_of(layer.width.lanes);
        let m_row = layer.out_channels.next_multiple_of(layer.width.lanes);
        let (v_part, m_part) = (odd_lines(len_of(&[tiles, v_row])), odd_lines(len_of(&[tiles, m_row])));
        Self { v_row, v_part, m_row, m_part }
    }
}

impl Block<'_> {
    fn transform_input(&self, first_tile: usize, rows: Range<usize>) {
        run_on(
            self.layer.isa,
            TransformInput {
                tiling: self.tiling,
                channels: self.layer.in_channels,
                input: self.input,
                cells: self.in_cells,
                tiles: first_tile + rows.start..first_tile + rows.end,
                row: rows.start,
                v: self.v,
                row_len: self.sizes.v_row,
                part_len: self.sizes.v_part,
            },
        );
    }

    fn panels(&self) -> usize {
        self.sizes.m_row.div_ceil(self.layer.width.panel)
    }

    /// Panels of all products.
    fn units(&self) -> usize {
        self.layer.tile.products() * self.panels()
    }

    fn multiply(&self, rows: usize, unit: usize) {
        let (part, panel) = (unit / self.panels(), unit % self.panels());
        let first = panel * self.layer.width.panel;
        let product = Multiply {
            weights: &self.layer.weights.as_slice()[part * self.layer.weight_stride..],
            rows,
            channels: self.layer.in_channels,
            v: self.v.offset(part * self.sizes.v_part),
            v_row_len: self.sizes.v_row,
            first,
            width: self.layer.width.panel.min(self.sizes.m_row - first),
            m: self.m.offset(part * self.sizes.m_part),
            m_row_len: self.sizes.m_row,
        };
        product.run(self.layer.isa);
    }

    fn transform_output(&self, first_tile: usize, rows: Range<usize>) {
        run_on(
            self.layer.isa,
            TransformOutput {
                tiling: self.tiling,
                channels: self.layer.out_channels,
                tiles: first_tile + rows.start..first_tile + rows.end,
                row: rows.start,
                m: self.m,
                row_len: self.sizes.m_row,
                part_len: self.sizes.m_part,
                bias: self.bias,
                relu: self.relu,
                out: self.out,
                out_stride: self.out_stride,
            },
        );
    }
}

impl Winograd {
    /// Convolves channels `in_cells` of maps into channels `cells` of the output; the shapes were checked, and `out`, of the `pooled` size if there is one,
    /// is not empty.
    #[expect(clippy::too_many_arguments, reason = "a layer is its operands and their shape")]
    pub(in crate::conv) fn run(
        &self,
        shape: &ConvShape,
        out_size: [usize; 2],
        pooled: Option<[usize; 2]>,
        input: &[f32],
        in_cells: Cells,
        bias: Option<&[f32]>,
        relu: bool,
        threads: usize,
        scratch: &mut Vec<f32>,
        cells: Cells,
        out: &mut [f32],
    ) {
        assert!(in_cells.first + self.in_channels <= in_cells.stride);
        assert!(cells.first + self.out_channels <= cells.stride);
        let tiling = Tiling::new(self.tile, shape, out_size, pooled);
        let tiles = shape.batch * tiling.rows * tiling.columns;
        let block_tiles = block_tiles(self.tile, [self.in_channels, self.out_channels], tiles);
        let blocks = tiles.div_ceil(block_tiles);
        let tasks = tasks::task_count(threads);
        // With few blocks to a task, some would be waiting for the last one.
        let own_blocks = tasks == 1 || blocks >= BLOCKS_FOR_EACH_TASK * tasks;

        let sizes = Sizes::new(self, block_tiles);
        let (v_len, m_len) =
            (len_of(&[self.tile.products(), sizes.v_part]), len_of(&[self.tile.products(), sizes.m_part]));
        let buffers = if own_blocks { tasks.min(blocks) } else { 1 };
        let mut scratch = aligned(scratch, len_of(&[buffers, v_len + m_len]));
        let out = SyncPtr::new(out).offset(cells.first);
        let mut buffers: Vec<Block<'_>> = (0..buffers)
            .filter_map(|_| {
                let v = SyncPtr::new(scratch.split_off_mut(..v_len)?);
                let m = SyncPtr::new(scratch.split_off_mut(..m_len)?);
                let out_stride = cells.stride;
                Some(Block {
                    layer: self,
                    tiling: &tiling,
                    input,
                    in_cells,
                    bias,
                    relu,
                    out,
                    out_stride,
                    v,
                    m,
                    sizes,
                })
            })
            .collect();
        let first_and_count = |block: usize| {
            let first = block * block_tiles;
            (first, block_tiles.min(tiles - first))
        };
        if own_blocks {
            tasks::for_each_index(&mut buffers, blocks, |buffers, block| {
                let (first, count) = first_and_count(block);
                buffers.transform_input(first, 0..count);
                (0..buffers.units()).for_each(|unit| buffers.multiply(count, unit));
                buffers.transform_output(first, 0..count);
            });
        } else if let Some(&buffers) = buffers.first() {
            let mut tasks = alloc::vec![buffers; tasks];
            for block in 0..blocks {
                let (first, count) = first_and_count(block);
                tasks::for_each_index(&mut tasks, count, |buffers, i| {
                    buffers.transform_input(first, i..i + 1);
                });
                tasks::for_each_index(&mut tasks, buffers.units(), |buffers, unit| {
                    buffers.multiply(count, unit);
                });
                tasks::for_each_index(&mut tasks, count, |buffers, i| {
                    buffers.transform_output(first, i..i + 1);
                });
            }
        }
    }
}

/// Blocks for each task that make it worth while to give every task its own.
const BLOCKS_FOR_EACH_TASK: usize = 4;
/// Values of V and M, with the weights, that stay in L2: 1.5 MiB of the 2 MiB that servers' cores have today.
const CACHED_VALUES: usize = 3 << 17;
/// Most values in V and M together: 32 MiB.
const MOST_VALUES: usize = 1 << 23;

/// How many of `tiles` go through the steps together. It depends on no number of threads.
pub(in crate::conv) fn block_tiles(tile: Tile, [ci, co]: [usize; 2], tiles: usize) -> usize {
    let products = tile.products();
    let tile_values = len_of(&[products, ci + co]).max(1);
    let weights = len_of(&[products, ci, co]);
    let cached = CACHED_VALUES.saturating_sub(weights) / tile_values;
    let block = if cached >= 2 * ROWS {
        cached
    } else {
        // The weights come from farther away for each block: 4 t^2 Ci Co bytes. With this many tiles that is half of
        // what V and M take, written and read: 8 t^2 (Ci + Co) b.
        (len_of(&[ci, co]) / (ci + co).max(1)).min(MOST_VALUES / tile_values)
    };
    // Blocks of about one size, in whole tiles of sums, none larger than that.
    let blocks = tiles.div_ceil((block / ROWS).max(1) * ROWS).max(1);
    tiles.div_ceil(blocks).next_multiple_of(ROWS).min(tiles.max(1))
}

/// Whether V, M and the weights of a block stay in L2 together.
pub(in crate::conv) fn fits_cache(tile: Tile, [ci, co]: [usize; 2], block_tiles: usize) -> bool {
    let products = tile.products();
    len_of(&[products, block_tiles, ci + co]).saturating_add(len_of(&[products, ci, co])) <= CACHED_VALUES
}
