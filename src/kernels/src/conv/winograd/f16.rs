//! Winograd's F(4x4, 3x3) in f16: V and U are rounded to f16, and multiplied as `f16` says, in short runs. The transforms are
//! computed in f32, and M is f32. See `f4_sqrt` for the matrices.
//!
//! A tile's outputs are differences of larger sums, so what rounding leaves weighs more than in direct convolution: of random
//! maps and weights with 256 channels, outputs miss exact ones by 5e-3 of their size with runs of 64 values, where those of
//! direct convolution miss by 1e-3 (`conv::f16_tests`).

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{f16_from_f32, f16_to_f32};

use super::{
    Output, Place, Shares, Tile, Tiling, f4_sqrt,
    nested::{Square, transform},
    odd_lines,
    steps::{TileBuffer, TransformOutput, clear, copy_cells},
    tile_count,
};
use crate::{
    Cpu, F16Isa, Pointwise,
    aligned::{AlignedVec, aligned},
    conv::{ChannelRange, ConvArgs, ConvShape},
    f16::{self, PANEL, Packed, PackedRows, PackedTile, Panels, Product, STEP, TILE},
    init::Init,
    len_of,
    simd::{Kernel, MAX_LANES, Vector, run_on},
    sync_ptr::SyncPtr,
    tasks,
};

/// Most steps of a run.
const RUN_STEPS: usize = 4;
/// Products of matrices.
const PARTS: usize = 36;

/// A layer, or one of its groups.
#[derive(Clone, Debug)]
pub(in crate::conv) struct WinogradF16 {
    cpu: Cpu,
    in_channels: usize,
    out_channels: usize,
    /// A block for each of the products.
    weights: Panels,
}

impl WinogradF16 {
    /// Whether the algorithm computes such layers.
    pub(in crate::conv) fn applies(shape: &ConvShape) -> bool {
        (shape.kernel, shape.stride, shape.dilation) == ([3, 3], [1, 1], [1, 1])
            && shape.in_channels > 0
            && !shape.is_depthwise()
    }

    /// Group `g` of a layer of `weights`, `[3, 3, Ci / group, Co]`, of the right length. `None` where the CPU lacks `isa`.
    pub(in crate::conv) fn new(
        isa: F16Isa,
        cpu: Cpu,
        shape: &ConvShape,
        (g, weights): (usize, &[u16]),
        threads: usize,
    ) -> Option<Self> {
        let [in_channels, out_channels] = shape.group_channels();
        let mut transformed = alloc::vec![0u16; len_of(&[PARTS, in_channels, out_channels])];
        for (ci, co) in
            (0..in_channels).flat_map(|ci| (0..out_channels).step_by(STEP).map(move |co| (ci, co)))
        {
            let count = STEP.min(out_channels - co);
            let mut taps = StepSquare::default();
            for (tap, to) in taps.0.iter_mut().enumerate().take(9) {
                let first = (tap * in_channels + ci) * shape.out_channels + g * out_channels + co;
                let row = &weights[first..][..count];
                to.iter_mut().zip(row).for_each(|(to, &bits)| *to = f16_to_f32(bits));
            }
            for (part, values) in run_on(cpu.isa, TransformWeights { taps: &taps }).0.iter().enumerate() {
                let to = &mut transformed[(part * in_channels + ci) * out_channels + co..][..count];
                to.iter_mut().zip(values).for_each(|(to, &value)| *to = f16_from_f32(value));
            }
        }
        // Sums of taps may be larger than f16 has.
        if transformed.iter().any(|&bits| !f16_to_f32(bits).is_finite()) {
            return None;
        }
        let rows: Vec<Vec<usize>> =
            (0..PARTS).map(|part| (part * in_channels..(part + 1) * in_channels).collect()).collect();
        let weights = Panels::new(isa, &transformed, out_channels, &rows, RUN_STEPS, threads)?;
        Some(Self { cpu, in_channels, out_channels, weights })
    }

    pub(in crate::conv) fn isa(&self) -> F16Isa {
        self.weights.isa()
    }

    /// Bytes of weights held.
    pub(in crate::conv) fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Bytes of weights of a layer, of all groups; saturates.
    pub(in crate::conv) fn packed_bytes(shape: &ConvShape) -> usize {
        let [ci, co] = shape.group_channels();
        let [k, n] = [ci.next_multiple_of(STEP), co.next_multiple_of(PANEL)];
        len_of(&[shape.group, size_of::<u16>(), PARTS, k, n])
    }

    /// f32 values of V and M on maps with an output of `size`, where `threads` tasks run on as many threads; saturates.
    pub(in crate::conv) fn scratch_len(
        shape: &ConvShape,
        size: [usize; 2],
        cpu: Cpu,
        threads: usize,
    ) -> usize {
        let tiles = tile_count(Tile::F4, shape.batch, size);
        let channels = shape.group_channels();
        let shares = Shares::new(cpu.caches, (Tile::F4, false), channels, (tiles, threads));
        len_of(&[shares.buffers(threads), Layout::new(channels, shares.block_tiles).len()])
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
        let (channels, own_channels) = (out.channels, [self.in_channels, self.out_channels]);
        assert!(in_channels.first + self.in_channels <= in_channels.stride);
        assert!(channels.first + self.out_channels <= channels.stride);
        let tiling = Tiling::new(Tile::F4, shape, out.size, out.pooled);
        let tiles = tile_count(Tile::F4, shape.batch, out.size);
        let tasks = tasks::task_count(args.threads);
        let shares = Shares::new(self.cpu.caches, (Tile::F4, false), own_channels, (tiles, tasks));
        let layout = Layout::new(own_channels, shares.block_tiles);
        let scratch = aligned(scratch, len_of(&[shares.buffers(tasks), layout.len()]));
        let (map, out_stride) = (SyncPtr::new(out.map).offset(channels.first), channels.stride);
        let then = out.then;
        let block_with = |buffer: &mut [f32]| {
            let (v, m) = buffer.split_at_mut(layout.v_len());
            let (v, m, tiling) = (SyncPtr::new(v), SyncPtr::new(m), &tiling);
            Block { layer: self, tiling, args, then, in_channels, out: map, out_stride, v, m, layout }
        };
        let mut block_runs: Vec<Block<'_>> = scratch.chunks_exact_mut(layout.len()).map(block_with).collect();
        shares.run(
            &mut block_runs,
            |block, tiles| block.run(1, tiles),
            |block, tiles| block.run(tasks, tiles),
        );
    }
}

/// Sizes of V and M of a block.
#[derive(Clone, Copy)]
struct Layout {
    /// f16 values of each of the 36 parts of V.
    v_part: usize,
    /// f32 values in a row and in each part of M.
    m_row: usize,
    m_part: usize,
}

impl Layout {
    fn new([in_channels, out_channels]: [usize; 2], tiles: usize) -> Self {
        let m_row = out_channels.next_multiple_of(MAX_LANES);
        // An odd number of cache lines of f16, too.
        let v_part = 2 * odd_lines(PackedRows::len(tiles, in_channels).div_ceil(2));
        Self { v_part, m_row, m_part: odd_lines(len_of(&[tiles, m_row])) }
    }

    /// f32 values that have room for V.
    fn v_len(&self) -> usize {
        len_of(&[PARTS, self.v_part / 2])
    }

    /// Of both.
    fn len(&self) -> usize {
        self.v_len().saturating_add(len_of(&[PARTS, self.m_part]))
    }
}

/// Buffers of one block of tiles, and the layer they belong to.
#[derive(Clone, Copy)]
struct Block<'a> {
    layer: &'a WinogradF16,
    tiling: &'a Tiling,
    args: ConvArgs<'a>,
    then: Option<Pointwise>,
    in_channels: ChannelRange,
    /// The output from its first channel on.
    out: SyncPtr,
    /// Values from one cell of the output to the next.
    out_stride: usize,
    /// f16 values: in each part, tiles of rows as `f16` packs them. A row is a tile of the map.
    v: SyncPtr,
    m: SyncPtr,
    layout: Layout,
}

impl Block<'_> {
    /// All three steps on `tiles`, each shared by that many tasks: the transforms by tiles, the products by parts.
    fn run(&self, tasks: usize, tiles: Range<usize>) {
        let mut edges: Vec<AlignedVec> = (0..tasks).map(|_| AlignedVec::default()).collect();
        let mut packed: Vec<PackedTile> = PackedTile::all(tiles.len()).collect();
        tasks::for_each_item(&mut edges, packed.iter_mut(), |_, tile| {
            self.transform_input(tiles.start, tile)
        });
        tasks::for_each_index(&mut edges, PARTS, |edge, part| self.multiply(&packed, part, edge));
        tasks::for_each_index(&mut edges, packed.len(), |_, i| {
            let rows = packed[i].first..packed[i].first + packed[i].rows;
            self.transform_output(tiles.start, rows);
        });
    }

    /// The rows of `tile`, whose first is tile `first_tile` of the map, to V.
    fn transform_input(&self, first_tile: usize, tile: &mut PackedTile) {
        let weights = &self.layer.weights;
        let row_len = PackedRows::len(1, self.layer.in_channels);
        let to = self.v.as_mut_ptr().cast::<u16>().wrapping_add(tile.first * row_len);
        let (rows, part_len) = (tile.rows, self.layout.v_part);
        let round = |row: usize, step: usize, square: &StepSquare, largest: u16| {
            let from = square.0.as_flattened().as_ptr();
            // SAFETY: each part of V has room for the whole steps of all rows, of which this is one; the tile is this task's.
            unsafe {
                let to = to.add(step * rows * STEP + row * 8);
                weights.round_parts(from, PARTS, to, part_len, rows, largest)
            }
        };
        let squares = |rows: Range<usize>, each: &mut dyn FnMut(usize, usize, &mut StepSquare)| {
            let first = first_tile + tile.first;
            let tiles = first + rows.start..first + rows.end;
            run_on(self.layer.cpu.isa, TransformInput { block: self, tiles, each });
        };
        let mut largest = [0; TILE];
        squares(0..rows, &mut |row, step, square| largest[row] = round(row, step, square, largest[row]));
        if weights.scales().all_fit(&largest[..rows]) {
            return;
        }
        for (row, &largest) in largest[..rows].iter().enumerate() {
            let finite = || {
                let mut largest = 0f32;
                squares(row..row + 1, &mut |_, _, square| {
                    largest = largest.max(f16::largest_finite(square.0.as_flattened()));
                });
                largest
            };
            let scale = weights.scales().scale(largest, finite);
            if scale != 1.0 {
                squares(row..row + 1, &mut |_, step, square| {
                    square.0.as_flattened_mut().iter_mut().for_each(|value| *value *= scale);
                    round(row, step, square, 0);
                });
                tile.inverses[row] = 1.0 / scale;
            }
        }
    }

    /// A part of V and its weights, into M.
    fn multiply(&self, tiles: &[PackedTile], part: usize, edge: &mut AlignedVec) {
        let weights = &self.layer.weights;
        let v = self.v.as_mut_ptr().cast::<u16>().wrapping_add(part * self.layout.v_part);
        // SAFETY: V has as many parts, which were written as f16 values for all rows.
        let values = unsafe { core::slice::from_raw_parts(v.cast_const(), self.layout.v_part) };
        let rows = Packed { tiles, values };
        let to = self.m.offset(part * self.layout.m_part).as_mut_ptr();
        for panel in 0..weights.count() {
            let product = Product { rows, weights, block: part, panel, init: Init::Zero, relu: false };
            // SAFETY: this part of M has all rows, of all channels in whole panels, and is this task's.
            unsafe { product.run(f16::Output { to, stride: self.layout.m_row }, edge) };
        }
    }

    /// `rows` of M into tiles `first_tile + rows` of the batch.
    fn transform_output(&self, first_tile: usize, rows: Range<usize>) {
        let transform = TransformOutput {
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
        };
        run_on(self.layer.cpu.isa, SqrtOutput(transform));
    }
}

/// A tile of some 16 channels, as it is before it is rounded; or the taps of weights.
#[repr(C, align(64))]
struct StepSquare([[f32; STEP]; PARTS]);

impl Default for StepSquare {
    fn default() -> Self {
        Self([[0.0; STEP]; PARTS])
    }
}

impl StepSquare {
    /// From lane `lane` on; squares of `side`.
    fn square(&mut self, side: usize, lane: usize) -> Square<*mut f32> {
        Square { data: self.0.as_flattened_mut()[lane..].as_mut_ptr(), row: side * STEP, column: STEP }
    }
}

struct TransformWeights<'a> {
    /// The first nine rows.
    taps: &'a StepSquare,
}

impl Kernel for TransformWeights<'_> {
    type Output = StepSquare;

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> StepSquare {
        let mut transformed = StepSquare::default();
        for lane in (0..STEP).step_by(V::LANES) {
            let data = self.taps.0.as_flattened()[lane..].as_ptr();
            let from = Square { data, row: 3 * STEP, column: STEP };
            // SAFETY: the instruction set is the caller's promise; vectors are whole parts of a step.
            unsafe { transform::<f4_sqrt::Weights, V, 3, 6>(from, transformed.square(6, lane), None) };
        }
        transformed
    }
}

/// Transforms tiles of the map, some channels at a time, and calls `each` with the row, the step of channels and what came of
/// them.
struct TransformInput<'a> {
    block: &'a Block<'a>,
    tiles: Range<usize>,
    each: &'a mut dyn FnMut(usize, usize, &mut StepSquare),
}

impl Kernel for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { block, tiles, each } = self;
        let (tiling, in_channels, channels) = (block.tiling, block.in_channels, block.layer.in_channels);
        let stride = in_channels.stride;
        let mut square = StepSquare::default();
        for (row, tile) in tiles.enumerate() {
            let Place { first, rows, columns } = tiling.input(tile);
            let inside = rows == (0..6) && columns == (0..6);
            let first = block.args.input.as_ptr().wrapping_offset(first * stride as isize);
            let mut buffer = TileBuffer::new();
            let buffered = buffer.square::<V>(6);
            if !inside {
                // SAFETY: the instruction set is the caller's promise. Cells that do not exist stay zeros from vector to vector.
                unsafe { clear::<V>(buffered, 6) };
            }
            for step in 0..channels.div_ceil(STEP) {
                if channels < (step + 1) * STEP {
                    // What is not written.
                    square = StepSquare::default();
                }
                for c in (step * STEP..channels.min((step + 1) * STEP)).step_by(V::LANES) {
                    let lanes = V::LANES.min(channels - c);
                    let data = first.wrapping_add(in_channels.first + c);
                    let mut from = Square { data, row: tiling.width * stride, column: stride };
                    // SAFETY: cells in `rows x columns` exist, and so do `lanes` channels of each from `c` on. The tile is read
                    // in place only when it has all cells and lanes, else from `buffer`. Vectors are whole parts of a step.
                    unsafe {
                        if lanes < V::LANES {
                            clear::<V>(buffered, 6);
                        }
                        if !inside || lanes < V::LANES {
                            copy_cells::<V>(from, buffered, rows.clone(), columns.clone(), lanes);
                            from = buffered.as_const();
                        }
                        transform::<f4_sqrt::Input, V, 6, 6>(from, square.square(6, c % STEP), None);
                    }
                }
                each(row, step, &mut square);
            }
        }
    }
}

struct SqrtOutput<'a>(TransformOutput<'a>);

impl Kernel for SqrtOutput<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the promises of `Kernel::run`, and of who made the transform.
        unsafe { self.0.transform::<f4_sqrt::Output, V, 6, 4>() };
    }
}
