//! How many tiles go through the steps together, and how threads share them.
//!
//! ```text
//!   a block of tiles of the input                  t^2 products                            its tiles of the output
//!     b tiles x Ci --transform_input--> V [t^2, b, Ci] --multiply--> M [t^2, b, Co] --transform_output--> b tiles x Co
//! ```
//!
//! A block of `b` tiles holds `t^2 b (Ci + Co)` values of V and M, and reads `t^2 Ci Co` weights. Many tiles and few
//! channels: blocks whose V and M stay in L2, each a task's own. Few tiles and many channels: the weights are what
//! costs, so all tiles are one block. Where that leaves a task few blocks, `Shares` tells what each task does.
//! Lean layers transform weights for each block, a group of output channels at a time, and take blocks between the two.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Output, Tile, Tiling, Winograd, odd_lines,
    steps::{Multiply, TransformInput, TransformOutput},
    strided,
    weights::{Given, Matrices, Weights},
};
use crate::{
    CacheInfo, Cpu, Pointwise,
    aligned::aligned,
    blocking::{MAX_WINOGRAD_VALUES, group_m_values, transformed_values, winograd_values},
    conv::{ChannelRange, ConvArgs, ConvShape},
    len_of,
    product::ROWS,
    simd::{MAX_LANES, Width, run_on},
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
    then: Option<Pointwise>,
    in_channels: ChannelRange,
    /// How many of them are transformed: zeros behind the layer's are, where a map has them, to whole vectors.
    transformed: usize,
    /// The output from its first channel on.
    out: SyncPtr,
    /// Values from one cell of the output to the next.
    out_stride: usize,
    v: SyncPtr,
    m: SyncPtr,
    layout: Layout,
    /// Room for some transformed weights, the task's own.
    room: SyncPtr,
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
        self.transform_input(tiles.start, 0..count, count);
        (0..self.units()).for_each(|unit| self.multiply(count, unit));
        self.transform_output(tiles.start, 0..count);
    }

    /// The same by that many tasks, each with room of its own, which share each step: the transforms by tiles, the products
    /// by units.
    fn run_shared(&self, tasks: usize, tiles: Range<usize>) {
        let (first, count) = (tiles.start, tiles.len());
        let room = |task: usize| Self { room: self.room.offset(task * self.layer.room_len()), ..*self };
        let mut tasks: Vec<Self> = (0..tasks).map(room).collect();
        tasks::for_each_index(&mut tasks, count, |block, i| block.transform_input(first, i..i + 1, count));
        tasks::for_each_index(&mut tasks, self.units(), |block, unit| block.multiply(count, unit));
        tasks::for_each_index(&mut tasks, count, |block, i| block.transform_output(first, i..i + 1));
    }

    /// Tiles `first_tile + rows` of the batch into `rows` of V, which has `all_rows`.
    fn transform_input(&self, first_tile: usize, rows: Range<usize>, all_rows: usize) {
        run_on(
            self.layer.cpu.isa,
            TransformInput {
                tiling: self.tiling,
                channels: self.transformed,
                input: self.args.input,
                in_channels: self.in_channels,
                tiles: first_tile + rows.start..first_tile + rows.end,
                row: rows.start,
                v: self.v,
                rows: all_rows,
                row_len: self.layout.v_row,
                part_len: self.layout.v_part,
            },
        );
    }

    /// Units of the products, which write different parts of M: panels of each product, or a group of output channels of
    /// all products.
    fn units(&self) -> usize {
        match &self.layer.weights {
            Weights::Transformed { .. } => self.layer.tile.products() * self.panels_of_each(),
            Weights::Given(_) => self.layout.m_row.div_ceil(GROUP),
        }
    }

    /// Panels of weights in one of the products.
    fn panels_of_each(&self) -> usize {
        self.layout.m_row.div_ceil(self.layer.width.panel)
    }

    /// The first `rows` of V with one unit of weights, into M.
    fn multiply(&self, rows: usize, unit: usize) {
        match &self.layer.weights {
            Weights::Transformed { matrices, stride } => {
                let (part, panel) = (unit / self.panels_of_each(), unit % self.panels_of_each());
                let (first, k) = (panel * self.layer.width.panel, self.layer.in_channels);
                let width = self.layer.width.panel.min(self.layout.m_row - first);
                let panel = &matrices.as_slice()[part * stride + k * first..][..k * width];
                self.multiply_panel(
                    part,
                    rows,
                    (first, width),
                    Multiplied { panel, k: (0, k), prefetch_next: true },
                );
            }
            Weights::Given(given) => self.multiply_group(given, rows, unit),
        }
    }

    /// Transforms the weights of a group of output channels, some input channels at a time, and multiplies with them while
    /// they are in L2.
    fn multiply_group(&self, given: &Given, rows: usize, group: usize) {
        let Winograd { cpu, in_channels, width, tile, .. } = *self.layer;
        let columns = group * GROUP..self.layout.m_row.min((group + 1) * GROUP);
        let step = transformed_rows(cpu.caches, tile);
        let stride = room_stride(cpu.caches, tile);
        for first_k in (0..in_channels).step_by(step) {
            let k = first_k..in_channels.min(first_k + step);
            let matrices = Matrices { rows: k.clone(), columns: columns.clone(), to: self.room, stride };
            // SAFETY: the room, which is the task's own, has `t^2` times `stride` values. Groups are whole panels but for the
            // last, which ends with the last vector.
            let room = unsafe {
                given.transform(cpu, k.clone(), matrices);
                core::slice::from_raw_parts(self.room.as_mut_ptr().cast_const(), tile.products() * stride)
            };
            for part in 0..tile.products() {
                for first in columns.clone().step_by(width.panel) {
                    let lanes = width.panel.min(columns.end - first);
                    let before = part * stride + k.len() * (first - columns.start);
                    let panel = &room[before..][..k.len() * lanes];
                    let weights = Multiplied { panel, k: (k.start, k.end), prefetch_next: false };
                    self.multiply_panel(part, rows, (first, lanes), weights);
                }
            }
        }
    }

    /// Some of `K` of a panel of one of the products: `lanes` output channels from `first` on.
    fn multiply_panel(
        &self,
        part: usize,
        rows: usize,
        (first, width): (usize, usize),
        Multiplied { panel, k, prefetch_next }: Multiplied<'_>,
    ) {
        let product = Multiply {
            panel,
            k,
            rows,
            v: self.v.offset(part * self.layout.v_part),
            v_row_len: self.layout.v_row,
            first,
            width,
            m: self.m.offset(part * self.layout.m_part),
            m_row_len: self.layout.m_row,
            prefetch_next,
        };
        product.run(self.layer.cpu, self.layer.width.interleaved);
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
                then: self.then,
                out: self.out,
                out_stride: self.out_stride,
            },
        );
    }
}

/// Weights to multiply with: `[K, width]`, which of the input channels `K` is, and whether what follows in memory is needed
/// next.
struct Multiplied<'a> {
    panel: &'a [f32],
    k: (usize, usize),
    prefetch_next: bool,
}

impl Winograd {
    /// Values of the room in which a task transforms weights.
    fn room_len(&self) -> usize {
        match &self.weights {
            Weights::Transformed { .. } => 0,
            Weights::Given(_) => room_len(self.cpu.caches, self.tile),
        }
    }

    /// Values of a rearranged map of `computed`, if there is one; saturates.
    fn map_len(shape: &ConvShape, computed: &ConvShape, width: Width) -> usize {
        if shape.stride == [1, 1] {
            return 0;
        }
        let cell_len = computed.in_channels.next_multiple_of(width.lanes);
        len_of(&[computed.batch, computed.height, computed.width, cell_len])
    }

    /// Values of a rearranged map, of V and M of each block that is worked on at a time for an output of `size`, and of
    /// transformed weights, where `threads` tasks run on as many threads; saturates.
    pub(in crate::conv) fn scratch_len(
        (tile, lean): (Tile, bool),
        shape: &ConvShape,
        size: [usize; 2],
        cpu: Cpu,
        threads: usize,
    ) -> usize {
        let (computed, width) = (Self::computed(tile, shape, size), Width::of(cpu.isa));
        let tiles = tile_count(tile, shape.batch, size);
        let channels = computed.group_channels();
        let shares = Shares::new(cpu.caches, (tile, lean), channels, (tiles, threads));
        let (v_len, m_len) = Layout::new(channels, width, shares.block_tiles).lens(tile);
        let rooms = if lean { room_len(cpu.caches, tile) } else { 0 };
        len_of(&[shares.buffers(threads), v_len.saturating_add(m_len)])
            .saturating_add(len_of(&[threads, rooms]))
            .saturating_add(Self::map_len(shape, &computed, width))
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
        let computed = Self::computed(self.tile, shape, out.size);
        let map_len = Self::map_len(shape, &computed, self.width);
        let tiling = Tiling::new(self.tile, &computed, out.size, out.pooled);
        let tiles = tile_count(self.tile, shape.batch, out.size);
        let lean = matches!(self.weights, Weights::Given(_));
        let tasks = tasks::task_count(args.threads);
        let own_channels = [self.in_channels, self.out_channels];
        let shares = Shares::new(self.cpu.caches, (self.tile, lean), own_channels, (tiles, tasks));
        let layout = Layout::new(own_channels, self.width, shares.block_tiles);
        let (v_len, m_len) = layout.lens(self.tile);
        let rooms_len = len_of(&[tasks, self.room_len()]);
        let buffers_len = len_of(&[shares.buffers(tasks), v_len + m_len]);
        let scratch = aligned(scratch, rooms_len.saturating_add(buffers_len).saturating_add(map_len));
        let (rooms, scratch) = scratch.split_at_mut(rooms_len);
        let (buffers, map) = scratch.split_at_mut(buffers_len);
        let (args, in_channels, transformed) = if map_len == 0 {
            (args, in_channels, self.in_channels)
        } else {
            strided::rearrange(shape, &computed, layout.v_row, args.input, args.threads, map);
            (ConvArgs { input: &map[..], ..args }, ChannelRange::all(layout.v_row), layout.v_row)
        };
        assert!(in_channels.first + transformed <= in_channels.stride);
        assert!(channels.first + self.out_channels <= channels.stride);
        let rooms = SyncPtr::new(rooms);
        let (to, out_stride) = (SyncPtr::new(out.map).offset(channels.first), channels.stride);
        let then = out.then;
        let block_with = |(task, buffer): (usize, &mut [f32])| {
            let (v, m) = buffer.split_at_mut(v_len);
            let (v, m, tiling) = (SyncPtr::new(v), SyncPtr::new(m), &tiling);
            let room = rooms.offset(task * self.room_len());
            Block {
                layer: self,
                tiling,
                args,
                then,
                in_channels,
                transformed,
                out: to,
                out_stride,
                v,
                m,
                layout,
                room,
            }
        };
        let buffers = buffers.chunks_exact_mut(v_len + m_len).enumerate();
        let mut block_runs: Vec<Block<'_>> = buffers.map(block_with).collect();
        shares.run(
            &mut block_runs,
            |block, tiles| block.run(tiles),
            |block, tiles| block.run_shared(tasks, tiles),
        );
    }
}

/// How the tiles of a layer go to the tasks. It changes no bit of the output.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    tiles: usize,
    /// Tiles of a block; the last may have fewer.
    pub(super) block_tiles: usize,
    /// Whether each block is one task's, with V and M of its own, or all tasks share the steps of each block.
    own_blocks: bool,
}

impl Shares {
    /// Blocks of a task's own keep V and M in its core's caches, where shared steps move them from core to core. But with few
    /// blocks to a task some tasks would wait for the last block, so those are made of one size; and each block reads all
    /// weights, so they must stay in L2, and be no more than what is moved otherwise: each value of a block's V and M, once
    /// when it is written and once when it is read.
    pub(super) fn new(
        caches: CacheInfo,
        kind: (Tile, bool),
        channels: [usize; 2],
        (tiles, tasks): (usize, usize),
    ) -> Self {
        let block_tiles = block_tiles(caches, kind, channels, tiles);
        let (blocks, tasks) = (tiles.div_ceil(block_tiles.max(1)), tasks.max(1));
        let shares = |block_tiles, own_blocks| Self { tiles, block_tiles, own_blocks };
        if tasks == 1 || blocks == 0 || blocks >= len_of(&[BLOCKS_FOR_EACH_TASK, tasks]) {
            return shares(block_tiles, true);
        }
        let (tile, lean) = kind;
        let even = tiles.div_ceil(len_of(&[tasks, blocks.div_ceil(tasks)])).next_multiple_of(ROWS);
        // A tile of t x t values has t^2 ci co weights and b (ci + co) of each of the t^2 in V and M; t^2 is left out.
        let [ci, co] = channels;
        let weights = len_of(&[ci, co]);
        if !lean
            && len_of(&[tile.products(), weights]) <= winograd_values(caches)
            && weights <= len_of(&[2, even, ci + co])
        {
            return shares(even.min(block_tiles), true);
        }
        shares(block_tiles, false)
    }

    fn blocks(&self) -> usize {
        self.tiles.div_ceil(self.block_tiles.max(1))
    }

    /// Blocks that are worked on at a time, each with a V and an M.
    pub(super) fn buffers(&self, tasks: usize) -> usize {
        if self.own_blocks { tasks.min(self.blocks()) } else { 1 }
    }

    /// Calls `own` with each block's tiles, on a task with buffers of its own, or `shared` with one block's after the other's.
    pub(super) fn run<B: Send>(
        &self,
        buffers: &mut [B],
        own: impl Fn(&mut B, Range<usize>) + Sync,
        shared: impl Fn(&mut B, Range<usize>),
    ) {
        let tiles_of = |block| block * self.block_tiles..self.tiles.min((block + 1) * self.block_tiles);
        if self.own_blocks {
            tasks::for_each_index(buffers, self.blocks(), |buffers, block| own(buffers, tiles_of(block)));
        } else if let Some(buffers) = buffers.first_mut() {
            (0..self.blocks()).for_each(|block| shared(buffers, tiles_of(block)));
        }
    }
}

/// Blocks for each task with which none waits long for the last one.
const BLOCKS_FOR_EACH_TASK: usize = 4;

/// Tiles of the output of a batch of maps; saturates far below the largest number.
pub(in crate::conv) fn tile_count(tile: Tile, batch: usize, size: [usize; 2]) -> usize {
    let [rows, columns] = size.map(|side| side.div_ceil(tile.out_side()));
    len_of(&[batch, rows, columns]).min(usize::MAX >> 8)
}

/// How many of `tiles` go through the steps together. It depends on no number of threads.
pub(in crate::conv) fn block_tiles(
    caches: CacheInfo,
    (tile, lean): (Tile, bool),
    [ci, co]: [usize; 2],
    tiles: usize,
) -> usize {
    let tile_values = len_of(&[tile.products(), ci + co]).max(1);
    let far = if lean {
        // Weights are transformed for each block: with 48 tiles that is less than a tenth of its products. More of them,
        // while M of a group, to which sums are added for some of `K` at a time, stays in the caches near the core.
        let group_values = len_of(&[tile.products(), GROUP.min(co.max(1))]).max(1);
        (group_m_values(caches) / group_values).max(8 * ROWS)
    } else {
        // The weights come from farther away for each block: 4 t^2 Ci Co bytes. With this many tiles that is half of
        // what V and M take, written and read: 8 t^2 (Ci + Co) b.
        (len_of(&[ci, co]) / (ci + co).max(1)).max(LEAST_TILES)
    };
    let cached = cached_tiles(caches, tile, [ci, co]);
    let block = if cached >= LEAST_TILES { cached } else { far.min(MAX_WINOGRAD_VALUES / tile_values) };
    // Blocks of about one size, in whole tiles of sums, none larger than that.
    let blocks = tiles.div_ceil((block / ROWS).max(1) * ROWS).max(1);
    tiles.div_ceil(blocks).next_multiple_of(ROWS).min(tiles.max(1))
}

/// Least tiles of a block: with fewer, products are short, and much of their time is what a call of them costs.
const LEAST_TILES: usize = 4 * ROWS;

/// Tiles whose V and M stay in L2 beside the transformed weights.
fn cached_tiles(caches: CacheInfo, tile: Tile, [ci, co]: [usize; 2]) -> usize {
    let (weights, of_a_tile) = (len_of(&[tile.products(), ci, co]), len_of(&[tile.products(), ci + co]));
    winograd_values(caches).saturating_sub(weights) / of_a_tile.max(1)
}

/// Output channels whose weights are transformed at a time: whole panels of every instruction set.
const GROUP: usize = 4 * MAX_LANES;

/// Values of transformed weights of a group: as many input channels as `transformed_rows` says.
fn room_len(caches: CacheInfo, tile: Tile) -> usize {
    len_of(&[tile.products(), room_stride(caches, tile)])
}

/// From one of the `t^2` matrices of a group to the next.
fn room_stride(caches: CacheInfo, tile: Tile) -> usize {
    odd_lines(transformed_rows(caches, tile) * GROUP)
}

/// Input channels whose weights are transformed at a time: with those of a group they take half of L2. Whole vectors where V
/// is interleaved.
fn transformed_rows(caches: CacheInfo, tile: Tile) -> usize {
    (transformed_values(caches) / (tile.products() * GROUP)).clamp(8, 128) / 8 * 8
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
