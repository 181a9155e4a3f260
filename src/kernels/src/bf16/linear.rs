//! Fully connected layers on bf16 values, or on f32 values split into two of them.
//!
//! ```text
//!   for each group of parts of K whose rows stay in L2:
//!     pack the rows: rounded to bf16, a block of rows after the other, each step by step
//!     for each panel:
//!       for each block of rows:                            `Product::block`
//!         out[block, panel] += rows[block, K] panel[K, 32]      while the next panel is prefetched
//! ```
//!
//! Sums are added to in place, in f32. Up to [`GEMV_ROWS`] rows of a split layer are not rounded: see `Engine::gemv`.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Bf16Isa,
    engine::Engine,
    layout::{BLOCK, GEMV_ROWS, Line, Panel, Rows, STEP, Sums, step_lines},
    pack::{Weight, pack},
};
use crate::{
    CacheInfo,
    blocking::bf16_linear_lines,
    init::Init,
    k_order::{KBlock, KPart},
    linear_units::{LinearRun, Unit},
    products::Products,
    sync_ptr::SyncPtr,
};

/// Output features of a panel.
pub(crate) const PANEL: usize = BLOCK;

/// A layer's weights, packed for one order of its input features.
#[derive(Clone, Debug)]
pub(crate) struct Bf16Weights {
    isa: Bf16Isa,
    /// Whether they, and the features, are f32 values in a hi and a lo half.
    split: bool,
    out_features: usize,
    /// Where each block of `K` begins: its first value and its first step.
    blocks: Vec<[usize; 2]>,
    steps: usize,
    panels: Vec<Line>,
}

impl Bf16Weights {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`; f32 weights are split. `None` where the CPU lacks `isa`; for
    /// split weights only AMX is fast enough.
    pub(crate) fn new<W: Weight>(
        isa: Bf16Isa,
        weights: &[W],
        out_features: usize,
        blocks: &[KBlock],
        threads: usize,
    ) -> Option<Self> {
        let can = Bf16Isa::available().any(|available| available == isa);
        let fast = !W::SPLIT || isa == Bf16Isa::Amx;
        (can && fast).then(|| Self::pack(isa, weights, out_features, blocks, threads))
    }

    fn pack<W: Weight>(
        isa: Bf16Isa,
        weights: &[W],
        out_features: usize,
        blocks: &[KBlock],
        threads: usize,
    ) -> Self {
        let (mut starts, mut rows) = (Vec::new(), Vec::new());
        for block in blocks {
            starts.push([block.first_k, rows.len() / STEP]);
            rows.extend(block.values().map(Some));
            rows.resize(rows.len().next_multiple_of(STEP), None);
        }
        let steps = rows.len() / STEP;
        let panels = pack(weights, out_features, steps, threads, |step, value| rows[step * STEP + value]);
        Self { isa, split: W::SPLIT, out_features, blocks: starts, steps, panels }
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    pub(crate) fn products(&self) -> Products {
        if self.split { Products::Bf16x3(self.isa) } else { Products::Bf16(self.isa) }
    }

    /// Computes a unit of `run`.
    ///
    /// # Safety
    /// `run.out` has `out_features` values for each row up to the last of the unit, of which no one else touches the unit's.
    pub(crate) unsafe fn multiply(&self, run: &LinearRun<'_>, unit: Unit, packed: &mut PackedRows) {
        let Some(engine) = &Engine::new(self.isa) else { return };
        let Unit { rows, panels } = unit;
        assert!(panels.end * PANEL < self.out_features + PANEL);
        let gemv = self.split && rows.len() <= GEMV_ROWS;
        let mut edge = Sums::ZERO;
        for group in self.groups(run.parts, rows.len()) {
            let parts = &run.parts[group.clone()];
            let Some(first_step) = parts.first().and_then(|part| self.first_step(part.block)) else { return };
            if gemv {
                packed.transpose(parts, rows.clone());
            } else {
                packed.round(engine, parts, rows.clone(), self.split);
            }
            assert!(first_step + packed.steps.len() <= self.steps);
            let (init, relu) = run.ends(group);
            let (rows, out) = (rows.clone(), run.out);
            let product = Product { weights: self, engine, packed, gemv, first_step, init, relu, rows, out };
            for panel in panels.clone() {
                for row_block in 0..product.row_blocks() {
                    // SAFETY: the caller's promises; the steps and panels were seen to exist, and `packed` was just
                    // filled for these rows.
                    unsafe { product.block(panel, row_block, &mut edge) };
                }
            }
        }
    }

    /// The parts that are packed together: as many as make up [`bf16_linear_lines`] of that many rows, at least one.
    fn groups(&self, parts: &[KPart<'_>], rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step_lines = step_lines(self.split) * rows.div_ceil(BLOCK);
        let part_lines = parts.first().map_or(0, |part| steps_of(part.block) * step_lines);
        let at_once = (bf16_linear_lines(CacheInfo::detect()) / part_lines.max(1)).max(1);
        let count = parts.len();
        (0..count).step_by(at_once).map(move |first| first..count.min(first + at_once))
    }

    fn first_step(&self, block: &KBlock) -> Option<usize> {
        let position = self.blocks.binary_search_by_key(&block.first_k, |[first_k, _]| *first_k).ok()?;
        self.blocks.get(position).map(|[_, step]| *step)
    }
}

/// Steps of a block of `K`.
fn steps_of(block: &KBlock) -> usize {
    block.len().div_ceil(STEP)
}

/// The product of packed rows and the steps of weights that they meet.
struct Product<'a> {
    weights: &'a Bf16Weights,
    engine: &'a Engine,
    packed: &'a PackedRows,
    /// Whether rows are in f32, to be multiplied by [`Engine::gemv`].
    gemv: bool,
    /// The first of the weights' steps that the rows meet.
    first_step: usize,
    init: Init<&'a [f32]>,
    relu: bool,
    /// Which rows of the output.
    rows: Range<usize>,
    out: SyncPtr,
}

impl Product<'_> {
    fn row_blocks(&self) -> usize {
        self.rows.len().div_ceil(BLOCK)
    }

    /// One block of the output: its sums begin with `init`, the products are added, then ReLU. A block with rows or
    /// channels that are not there is computed in `edge`.
    ///
    /// # Safety
    /// `packed` holds these rows, `weights` have this panel, and as many steps from `first_step` on as the rows; `out` has
    /// these rows and channels, which are the caller's alone.
    #[inline(always)]
    unsafe fn block(&self, panel: usize, row_block: usize, edge: &mut Sums) {
        // SAFETY: the caller's promises; `edge` has a whole block.
        unsafe {
            let (place, first_channel) = self.place(panel, row_block);
            let whole = place.rows == BLOCK && place.channels == BLOCK;
            let sums = if whole { place } else { Place { to: edge.as_mut_ptr(), stride: BLOCK, ..place } };
            match self.init {
                Init::Bias(bias) => sums.for_each(|channel, sum| *sum = bias[first_channel + channel]),
                Init::Accumulate if !whole => place.copy_to(sums),
                Init::Accumulate | Init::Zero => {}
            }
            self.add_products(panel, row_block, sums);
            if !whole {
                sums.copy_to(place);
            }
            if self.relu {
                place.for_each(|_, sum| *sum = if *sum < 0.0 { 0.0 } else { *sum });
            }
        }
    }

    /// Where a block's sums go in the output, and the first of its channels.
    #[inline(always)]
    fn place(&self, panel: usize, row_block: usize) -> (Place, usize) {
        let n = self.weights.out_features;
        let (first_row, first_channel) = (row_block * BLOCK, panel * PANEL);
        let to = self.out.offset((self.rows.start + first_row) * n + first_channel).as_mut_ptr();
        let rows = BLOCK.min(self.rows.len() - first_row);
        (Place { to, stride: n, rows, channels: PANEL.min(n - first_channel) }, first_channel)
    }

    /// # Safety
    /// As [`Product::block`]; `sums` are a whole block in memory, however many of its rows and channels there are.
    #[inline(always)]
    unsafe fn add_products(&self, panel: usize, row_block: usize, sums: Place) {
        let (split, steps) = (self.weights.split, &*self.packed.steps);
        let (step_lines, panel_steps) = (step_lines(split), self.weights.steps);
        let fresh = self.init == Init::Zero;
        // SAFETY: the caller's promises.
        unsafe {
            let lines =
                self.weights.panels.as_ptr().add((panel * panel_steps + self.first_step) * step_lines);
            if self.gemv {
                self.engine.gemv(&self.packed.columns, lines, sums.to, sums.stride, fresh);
                return;
            }
            let data = self.packed.lines.as_ptr().add(row_block * steps.len() * step_lines).cast();
            let rows = Rows { data, stride: STEP, steps, lo: lo_offset(split), count: sums.rows };
            let sizes = [steps.len(), step_lines, panel_steps * step_lines];
            let panel = Panel::streamed(lines, sizes, [row_block, self.row_blocks()]);
            self.engine.multiply(rows, panel, sums.to, sums.stride, fresh);
        }
    }
}

/// From a packed row's hi halves of a step to its lo halves, in values; `None` where it is not split.
fn lo_offset(split: bool) -> Option<usize> {
    split.then_some(BLOCK * STEP)
}

/// Some rows of features as [`Engine::multiply`] or [`Engine::gemv`] reads them, and room for making them.
#[derive(Default)]
pub(crate) struct PackedRows {
    /// `[block of rows, step, row]`, the lo halves of a step behind its hi halves.
    lines: Vec<Line>,
    /// Where each step of a row begins, in values.
    steps: Vec<usize>,
    /// For [`Engine::gemv`]: `[step, value, row]`, as f32.
    columns: Vec<[f32; GEMV_ROWS]>,
    /// One row's features in the order of `K`.
    row: Vec<f32>,
}

impl PackedRows {
    /// Rounds the parts of each row, or splits them.
    fn round(&mut self, engine: &Engine, parts: &[KPart<'_>], rows: Range<usize>, split: bool) {
        let (step_lines, lo) = (step_lines(split), lo_offset(split));
        let steps = self.set_steps(parts, step_lines);
        let len = rows.len().div_ceil(BLOCK) * steps * step_lines;
        self.lines.resize(self.lines.len().max(len), Line([0; STEP]));
        for_each_row(parts, rows, &mut self.row, |first_step, i, values| {
            for (step, values) in values.chunks(STEP).enumerate() {
                let step = i / BLOCK * steps + first_step + step;
                let line = &mut self.lines[step * step_lines + i % BLOCK..];
                // SAFETY: the chunk's values, a line of 32, and another one `BLOCK` lines behind if there are lo halves.
                unsafe { engine.round_step(values.as_ptr(), values.len(), line.as_mut_ptr().cast(), lo) };
            }
        });
    }

    /// Puts the features of at most [`GEMV_ROWS`] rows side by side.
    fn transpose(&mut self, parts: &[KPart<'_>], rows: Range<usize>) {
        let steps = self.set_steps(parts, 0);
        self.columns.clear();
        self.columns.resize(steps * STEP, [0.0; GEMV_ROWS]);
        for_each_row(parts, rows, &mut self.row, |first_step, i, values| {
            let columns = &mut self.columns[first_step * STEP..];
            columns.iter_mut().zip(values).for_each(|(column, value)| column[i] = *value);
        });
    }

    /// Notes where the steps of all parts begin, `step_lines` apart, and gives their number.
    fn set_steps(&mut self, parts: &[KPart<'_>], step_lines: usize) -> usize {
        let steps: usize = parts.iter().map(|part| steps_of(part.block)).sum();
        self.steps.clear();
        self.steps.extend((0..steps).map(|step| step * step_lines * STEP));
        steps
    }
}

/// Calls `each` with the first step of each part, each row counted from 0, and its features in the order of `K`.
fn for_each_row(
    parts: &[KPart<'_>],
    rows: Range<usize>,
    room: &mut Vec<f32>,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let mut first_step = 0;
    for part in parts {
        let KBlock { segments, segment_len, .. } = part.block;
        let len = segments.len() * segment_len;
        // Segments that follow one another are one.
        let contiguous = segments.windows(2).all(|pair| pair[0] + segment_len == pair[1]);
        let first = segments.first().copied().unwrap_or(0);
        for (i, row) in rows.clone().enumerate() {
            let data = &part.data[row * part.stride..];
            if contiguous {
                each(first_step, i, &data[first..][..len]);
            } else {
                room.clear();
                let segments = segments.iter().map(|&offset| &data[offset..][..*segment_len]);
                segments.for_each(|segment| room.extend_from_slice(segment));
                each(first_step, i, room);
            }
        }
        first_step += steps_of(part.block);
    }
}

/// A block of sums somewhere, as much of it as there is.
#[derive(Clone, Copy)]
struct Place {
    to: *mut f32,
    stride: usize,
    rows: usize,
    channels: usize,
}

impl Place {
    /// # Safety
    /// The block is writable and no one else's; the same goes for every function here.
    #[inline(always)]
    unsafe fn row(&mut self, row: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.to.add(row * self.stride), self.channels) }
    }

    /// # Safety
    /// As [`Place::row`], and `to`, another block of as many rows and channels, does not overlap it.
    #[inline(always)]
    unsafe fn copy_to(mut self, mut to: Self) {
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            unsafe { to.row(row).copy_from_slice(self.row(row)) };
        }
    }

    /// Calls `change` with each value and its channel.
    ///
    /// # Safety
    /// As [`Place::row`].
    #[inline(always)]
    unsafe fn for_each(mut self, change: impl Fn(usize, &mut f32)) {
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            unsafe { self.row(row) }
                .iter_mut()
                .enumerate()
                .for_each(|(channel, value)| change(channel, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use frcnn_core::{bf16_from_f32, bf16_to_f32};

    use super::*;
    use crate::{k_order::KOrder, test_random::Random};

    /// A layer of split weights, with ReLU.
    fn run_split(isa: Bf16Isa, x: &[f32], weights: &[f32], bias: &[f32], rows: usize) -> Vec<f32> {
        let (k, n) = (x.len() / rows, bias.len());
        let blocks = KOrder::Natural.blocks(k);
        let layer = Bf16Weights::pack(isa, weights, n, &blocks, 1);
        let parts: Vec<_> = blocks.iter().map(|block| KPart { data: x, stride: k, block }).collect();
        let mut out = alloc::vec![f32::NAN; rows * n];
        let (init, out_ptr) = (Init::Bias(bias), SyncPtr::new(&mut out));
        let run = LinearRun { parts: &parts, init, relu: true, out: out_ptr };
        let unit = Unit { rows: 0..rows, panels: 0..n.div_ceil(PANEL) };
        // SAFETY: `out` has all rows and channels, and is this function's alone.
        unsafe { layer.multiply(&run, unit, &mut PackedRows::default()) };
        out
    }

    /// Rounded to bf16, f32's largest values are infinite, and times 0 they are NaN.
    #[test]
    fn the_largest_values_count_as_what_they_are() {
        let (k, n) = (100, 33);
        for isa in Bf16Isa::available() {
            let many = if isa == Bf16Isa::Amx { GEMV_ROWS + 30 } else { GEMV_ROWS };
            for rows in [2, many] {
                let mut random = Random::new(5);
                let (mut x, mut weights) = (random.values(rows * k), random.values(k * n));
                for (row, x) in x.chunks_exact_mut(k).enumerate() {
                    (x[0], x[1], x[2]) = (if row % 2 == 0 { f32::MAX } else { -f32::MAX }, 0.0, 1e-35);
                }
                weights[..n].fill(0.0);
                weights[n..3 * n].fill(f32::MAX);
                let out = run_split(isa, &x, &weights, &[0.5; 33], rows);
                for (i, &found) in out.iter().enumerate() {
                    let (row, channel) = (i / n, i % n);
                    let products =
                        (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(weights[i * n + channel]));
                    let expected = (0.5 + products.sum::<f64>()).max(0.0);
                    // 3403 or so; halves that are not normal numbers are 0 to AMX.
                    assert!((f64::from(found) - expected).abs() < 0.1, "{isa:?}: {found} for {expected}");
                }
            }
        }
    }

    /// GEMV-like products of split weights need no AMX: this runs on every CPU with AVX512-BF16.
    #[test]
    fn gemv_is_a_chain_of_fma_with_hi_and_lo_joined() {
        let mut random = Random::new(3);
        let (k, n) = (1700, 45);
        let joined = |value: f32| {
            let hi = bf16_to_f32(bf16_from_f32(value));
            hi + bf16_to_f32(bf16_from_f32(value - hi))
        };
        for isa in Bf16Isa::available() {
            for rows in [1, 5, GEMV_ROWS] {
                let (x, weights) = (random.values(rows * k), random.values(k * n));
                let bias = random.values(n);
                let out = run_split(isa, &x, &weights, &bias, rows);
                for (i, &found) in out.iter().enumerate() {
                    let (row, channel) = (i / n, i % n);
                    let sum = (0..k).fold(bias[channel], |sum, i| {
                        libm::fmaf(x[row * k + i], joined(weights[i * n + channel]), sum)
                    });
                    assert_eq!(found, sum.max(0.0), "{isa:?}, row {row} of {rows}, channel {channel}");
                }
            }
        }
    }
}
