//! Fully connected layers whose weights were packed once.
//!
//! ```text
//!   out[R, N] = x[R, K] w[K, N] + bias, then ReLU
//! ```
//!
//! 1. Weights lie as `product` reads them, from the first to the last, and nothing is packed while a frame waits:
//!    blocks of `K`, and in each the panels. With few rows a layer costs one pass over them, as fast as memory gives them.
//! 2. With many rows, a block of them stays in L2 with the part of a panel that it meets.
//! 3. The `K` of a layer that reads RoI-pooled features may be taken slab by slab of channels, the order in which
//!    `roi_pool` makes them. See [`KOrder`].
//!
//! 4. Where the CPU has AMX, f32 products are three bf16 ones (bf16x3): see `bf16`.
//!
//! A sum is one chain of additions in the order of `K`: threads change no bit. With AMX the number of rows may, for few
//! of them are multiplied otherwise.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{ShapeError, bf16_to_f32};

use crate::{
    Bf16Isa, CacheInfo, Isa,
    aligned::AlignedVec,
    bf16::{Bf16Weights, PANEL, PackedRows},
    blocking::{BF16_LINEAR_ROWS, linear_rows},
    gemm::check_bias,
    init::Init,
    k_order::{KOrder, KPart},
    len_of,
    product::{Left, Rows, Sums, multiply_panel, pack, pack_rows, packed_len},
    simd::{MAX_LANES, Width},
    sync_ptr::SyncPtr,
    tasks,
};

/// Most values in a row of a panel.
const MAX_PANEL: usize = 4 * MAX_LANES;

/// A fully connected layer with its weights pre-packed for this CPU.
#[derive(Clone, Debug)]
pub struct PreparedLinear {
    isa: Isa,
    in_features: usize,
    out_features: usize,
    order: KOrder,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    F32 {
        width: Width,
        weights: AlignedVec,
    },
    /// Of bf16 weights, or of f32 weights split into two.
    Bf16(Bf16Weights),
}

impl PreparedLinear {
    /// Packs `weights`, `[in_features, out_features]`.
    ///
    /// # Errors
    /// The weights, or the bins and channels of `order`, do not match the features.
    pub fn new(
        weights: &[f32],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::with(Isa::detect(), weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::new`] for a chosen instruction set, for tests and benches. One that the CPU lacks is run as
    /// [`Isa::Scalar`].
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn with(
        isa: Isa,
        weights: &[f32],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        if isa == Isa::Amx
            && let blocks = order.blocks(in_features)
            && let Some(split) = Bf16Weights::new(Bf16Isa::Amx, weights, out_features, &blocks, threads)
        {
            return Ok(Self { isa, in_features, out_features, order, form: Form::Bf16(split) });
        }
        let width = Width::of(isa);
        let mut packed = AlignedVec::zeros(packed_len(in_features, out_features, width));
        let blocks = order.blocks(in_features);
        let padded = out_features.next_multiple_of(width.lanes);
        let shared = SyncPtr::new(packed.as_mut_slice());
        let mut tasks = alloc::vec![(); tasks::task_count(threads)];
        tasks::for_each_index(&mut tasks, blocks.len(), |(), i| {
            let block = &blocks[i];
            let rows: Vec<usize> = block.values().collect();
            // SAFETY: blocks follow one another in `K` and have `padded` values for each of it: their parts of
            // `packed`, which is as long as all of them, do not overlap.
            let packed = unsafe {
                let first = shared.as_mut_ptr().add(block.first_k * padded);
                core::slice::from_raw_parts_mut(first, rows.len() * padded)
            };
            let row = |k: usize| &weights[rows[k] * out_features..][..out_features];
            pack(rows.len(), out_features, width, packed, row);
        });
        Ok(Self { isa, in_features, out_features, order, form: Form::F32 { width, weights: packed } })
    }

    /// [`PreparedLinear::new`] of bf16 weights, given as their bits: input features are rounded to bf16, too, and products
    /// added up in f32. On a CPU without instructions for it (see [`Bf16Isa`]) the weights are widened, and nothing is
    /// rounded.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_bf16(
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::from_bf16_with(Bf16Isa::detect(), weights, in_features, out_features, order, threads)
    }

    /// [`PreparedLinear::from_bf16`] on chosen instructions, for tests and benches.
    ///
    /// # Errors
    /// As [`PreparedLinear::new`].
    pub fn from_bf16_with(
        isa: Option<Bf16Isa>,
        weights: &[u16],
        in_features: usize,
        out_features: usize,
        order: KOrder,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        order.check(in_features, out_features, weights.len())?;
        let blocks = order.blocks(in_features);
        let packed = isa.and_then(|isa| Bf16Weights::new(isa, weights, out_features, &blocks, threads));
        match packed {
            Some(packed) => {
                Ok(Self { isa: Isa::detect(), in_features, out_features, order, form: Form::Bf16(packed) })
            }
            None => {
                let widened: Vec<f32> = weights.iter().map(|&bits| bf16_to_f32(bits)).collect();
                Self::new(&widened, in_features, out_features, order, threads)
            }
        }
    }

    /// `K`.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// `N`.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The order in which input features are summed.
    pub fn order(&self) -> KOrder {
        self.order
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::F32 { weights, .. } => size_of_val(weights.as_slice()),
            Form::Bf16(weights) => weights.weight_bytes(),
        }
    }

    /// `out[rows, N] = x[rows, K] w + bias`, then ReLU if `relu`.
    ///
    /// # Errors
    /// A slice does not have the length that its dimensions give.
    pub fn run(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        ShapeError::check("x", len_of(&[rows, self.in_features]), x.len())?;
        ShapeError::check("out", len_of(&[rows, self.out_features]), out.len())?;
        check_bias(bias, self.out_features)?;
        let blocks = self.order.blocks(self.in_features);
        let parts: Vec<KPart<'_>> =
            blocks.iter().map(|block| KPart { data: x, stride: self.in_features, block }).collect();
        self.accumulate(&parts, Init::bias(bias), relu, rows, threads, out);
        Ok(())
    }

    /// `out = init` plus the products of `parts`, which follow one another in `K`; then ReLU if `relu`. Lengths were
    /// checked.
    pub(crate) fn accumulate(
        &self,
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) {
        let (width, weights) = match &self.form {
            Form::F32 { width, weights } => (*width, weights.as_slice()),
            Form::Bf16(weights) => {
                return self.accumulate_bf16(weights, parts, init, relu, rows, threads, out);
            }
        };
        let padded = self.out_features.next_multiple_of(width.lanes);
        let panels = padded.div_ceil(width.panel);
        let tasks = tasks::task_count(threads);
        // Blocks of rows for each task when there are enough of them, otherwise a share of the panels, too: no more
        // shares than tasks, for each packs the rows.
        let row_block = linear_rows(CacheInfo::detect());
        let row_block = if rows >= 2 * row_block { row_block } else { rows };
        let row_blocks = rows.div_ceil(row_block.max(1));
        let shares = if row_blocks >= 4 * tasks { 1 } else { panels.min(tasks) };
        let mut scratches: Vec<Scratch> = (0..tasks).map(|_| Scratch::default()).collect();
        let out_len = out.len();
        let shared = SyncPtr::new(out);
        tasks::for_each_index(&mut scratches, row_blocks * shares, |scratch, unit| {
            let (block, share) = (unit / shares, unit % shares);
            let rows = block * row_block..rows.min((block + 1) * row_block);
            let panels = share * panels / shares..(share + 1) * panels / shares;
            // SAFETY: units have different rows or panels, hence different parts of `out`.
            unsafe {
                self.multiply(width, weights, parts, init, relu, rows, panels, scratch, shared, out_len)
            };
        });
    }

    /// [`PreparedLinear::accumulate`] of a bf16 layer.
    #[expect(clippy::too_many_arguments, reason = "a layer is its operands and their sizes")]
    fn accumulate_bf16(
        &self,
        weights: &Bf16Weights,
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) {
        let n = self.out_features;
        let bias_len = if let Init::Bias(bias) = init { Some(bias.len()) } else { None };
        assert!(len_of(&[rows, n]) <= out.len() && bias_len.is_none_or(|len| len == n));
        let tasks = tasks::task_count(threads);
        let row_block = rows.clamp(1, BF16_LINEAR_ROWS);
        let (row_blocks, panels) = (rows.div_ceil(row_block), n.div_ceil(PANEL));
        // Each share of the panels rounds the rows anew: no more than the tasks ask for.
        let shares = if row_blocks >= 2 * tasks { 1 } else { tasks };
        let mut packed: Vec<PackedRows> = (0..tasks).map(|_| PackedRows::default()).collect();
        let shared = SyncPtr::new(out);
        tasks::for_each_index(&mut packed, row_blocks * shares, |packed, unit| {
            let (block, share) = (unit / shares, unit % shares);
            let rows = block * row_block..rows.min((block + 1) * row_block);
            let panels = share * panels / shares..(share + 1) * panels / shares;
            // SAFETY: `out` has all rows, as seen above; units have different rows or panels.
            unsafe { weights.multiply(parts, init, relu, rows, panels, packed, shared) };
        });
    }

    /// # Safety
    /// `out` has `out_len` values, of which no one else touches those of `rows` and `panels`.
    #[expect(clippy::too_many_arguments, reason = "a unit of work is its operands and their ranges")]
    unsafe fn multiply(
        &self,
        Width { lanes, panel }: Width,
        weights: &[f32],
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: Range<usize>,
        panels: Range<usize>,
        Scratch { edge, packed }: &mut Scratch,
        out: SyncPtr,
        out_len: usize,
    ) {
        let (k, n) = (self.in_features, self.out_features);
        assert!(rows.start <= rows.end && rows.end.saturating_mul(n) <= out_len && panel <= MAX_PANEL);
        let padded = n.next_multiple_of(lanes);
        for (i, part) in parts.iter().enumerate() {
            let block = part.block;
            let block_k = block.segments.len() * block.segment_len;
            assert!(rows.is_empty() || part.end(rows.end - 1) <= part.data.len());
            assert!(block.first_k + block_k <= k);
            let last = i + 1 == parts.len();
            let whole = Rows {
                data: part.data.as_ptr().wrapping_add(rows.start * part.stride),
                stride: part.stride,
                segments: &block.segments,
                segment_len: block.segment_len,
            };
            let left = if panels.len() > 2 {
                let packed = at_least(packed, rows.len() * block_k);
                // SAFETY: the last value of the rows was seen to be in `data`; `packed` is as long as they are.
                unsafe { pack_rows(whole, rows.len(), packed.as_mut_ptr()) };
                Left::Packed { data: packed.as_ptr(), k: block_k }
            } else {
                Left::Rows(whole)
            };
            for first in panels.clone().map(|index| index * panel) {
                let width = panel.min(padded - first);
                let channels = width.min(n - first);
                let mut bias_lanes = [0.0; MAX_PANEL];
                let init = match init {
                    Init::Bias(bias) if i == 0 => {
                        bias_lanes[..channels].copy_from_slice(&bias[first..first + channels]);
                        Init::Bias(bias_lanes.as_ptr())
                    }
                    Init::Zero if i == 0 => Init::Zero,
                    _ => Init::Accumulate,
                };
                let weights = &weights[block.first_k * padded + first * block_k..][..block_k * width];
                let relu = relu && last;
                // SAFETY: `a`'s last value was seen to be in `data`, the panel holds `width` values for each of its
                // `K`, and row `i` of the sums is `width` values from channel `first` of row `i` of `out`, or of
                // `edge`, which is made as large as that.
                unsafe {
                    let to = out.as_mut_ptr().add(rows.start * n + first);
                    if channels == width {
                        let sums = Sums { data: to, stride: n, init, relu };
                        multiply_panel(self.isa, left, rows.len(), weights.as_ptr(), width, true, sums);
                        continue;
                    }
                    let edge = at_least(edge, rows.len() * width).as_mut_ptr();
                    if matches!(init, Init::Accumulate) {
                        for row in 0..rows.len() {
                            core::ptr::copy_nonoverlapping(to.add(row * n), edge.add(row * width), channels);
                        }
                    }
                    let sums = Sums { data: edge, stride: width, init, relu };
                    multiply_panel(self.isa, left, rows.len(), weights.as_ptr(), width, true, sums);
                    for row in 0..rows.len() {
                        core::ptr::copy_nonoverlapping(edge.add(row * width), to.add(row * n), channels);
                    }
                }
            }
        }
    }
}

/// What a task keeps between units of work.
#[derive(Default)]
struct Scratch {
    /// Sums of the last panel where it has more lanes than there are features left.
    edge: AlignedVec,
    /// The rows of a block.
    packed: AlignedVec,
}

/// The first `len` values of `buffer`, made longer if need be.
fn at_least(buffer: &mut AlignedVec, len: usize) -> &mut [f32] {
    if buffer.as_slice().len() < len {
        *buffer = AlignedVec::zeros(len);
    }
    &mut buffer.as_mut_slice()[..len]
}
