//! Weights of a fully connected layer in f32, pre-packed, and their product with some rows.
//!
//! ```text
//!   for each part of K:
//!     pack the rows, if more than two panels meet them
//!     for each panel:                                      `Product::panel`
//!       out[rows, panel] += rows[rows, K] panel[K, width]      tile by tile: see `product`
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use crate::{
    Isa,
    aligned::AlignedVec,
    init::Init,
    k_order::{KBlock, KPart},
    product::{Left, Rows, Sums, multiply_panel, pack, pack_rows, packed_len},
    simd::{MAX_LANES, Width},
    sync_ptr::SyncPtr,
    tasks,
};

/// Most values in a row of a panel.
const MAX_PANEL: usize = 4 * MAX_LANES;

/// A layer's weights, packed for one order of its input features: block of `K` after block, in each panel after panel.
#[derive(Clone, Debug)]
pub(super) struct F32Weights {
    isa: Isa,
    width: Width,
    in_features: usize,
    out_features: usize,
    packed: AlignedVec,
}

impl F32Weights {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`.
    pub(super) fn new(
        isa: Isa,
        weights: &[f32],
        [in_features, out_features]: [usize; 2],
        blocks: &[KBlock],
        threads: usize,
    ) -> Self {
        let width = Width::of(isa);
        let mut packed = AlignedVec::zeros(packed_len(in_features, out_features, width));
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
        Self { isa, width, in_features, out_features, packed }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        size_of_val(self.packed.as_slice())
    }

    /// Channels and the zeros behind the last of them, in whole vectors.
    fn padded(&self) -> usize {
        self.out_features.next_multiple_of(self.width.lanes)
    }

    pub(super) fn panels(&self) -> usize {
        self.padded().div_ceil(self.width.panel)
    }

    /// As `PreparedLinear::accumulate`, for some rows and panels.
    ///
    /// # Safety
    /// `out` has `out_features` values for each row up to the last of `rows`, of which no one else touches those of
    /// `rows` and `panels`.
    #[expect(clippy::too_many_arguments, reason = "a unit of work is its operands and their ranges")]
    pub(super) unsafe fn multiply(
        &self,
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: Range<usize>,
        panels: Range<usize>,
        Scratch { edge, packed }: &mut Scratch,
        out: SyncPtr,
    ) {
        assert!(rows.start <= rows.end && self.width.panel <= MAX_PANEL);
        for (i, part) in parts.iter().enumerate() {
            let block_k = part.block.len();
            assert!(rows.is_empty() || part.end(rows.end - 1) <= part.data.len());
            assert!(part.block.first_k + block_k <= self.in_features);
            let as_they_lie = Rows {
                data: part.data.as_ptr().wrapping_add(rows.start * part.stride),
                stride: part.stride,
                segments: &part.block.segments,
                segment_len: part.block.segment_len,
            };
            let left = if panels.len() > 2 {
                let packed = at_least(packed, rows.len() * block_k);
                // SAFETY: the last value of the rows was seen to be in `data`; `packed` is as long as they are.
                unsafe { pack_rows(as_they_lie, rows.len(), packed.as_mut_ptr()) };
                Left::Packed { data: packed.as_ptr(), k: block_k }
            } else {
                Left::Rows(as_they_lie)
            };
            let product = Product {
                weights: self,
                left,
                block: part.block,
                init: if i == 0 { init } else { Init::Accumulate },
                relu: relu && i + 1 == parts.len(),
                rows: rows.clone(),
                out,
            };
            for panel in panels.clone() {
                // SAFETY: the caller's promise; the rows and the part of `K` were seen to exist.
                unsafe { product.panel(panel, edge) };
            }
        }
    }
}

/// The product of some rows' part of `K` and the weights' same part.
struct Product<'a> {
    weights: &'a F32Weights,
    left: Left<'a>,
    block: &'a KBlock,
    init: Init<&'a [f32]>,
    relu: bool,
    /// Which rows of the output.
    rows: Range<usize>,
    out: SyncPtr,
}

impl Product<'_> {
    /// One panel's channels of all rows: `init`, the products, then ReLU. The last panel may have more lanes than there are
    /// channels left: its sums are computed in `edge`.
    ///
    /// # Safety
    /// `left` is readable and of `rows` rows and the `K` of `block`, which the weights have; `out` has these rows, of which
    /// the panel's channels are the caller's alone.
    unsafe fn panel(&self, panel: usize, edge: &mut AlignedVec) {
        let Self { weights, left, block, init, relu, ref rows, out } = *self;
        let (n, padded, block_k) = (weights.out_features, weights.padded(), block.len());
        let first = panel * weights.width.panel;
        let lanes = weights.width.panel.min(padded - first);
        let channels = lanes.min(n - first);
        let mut bias_lanes = [0.0; MAX_PANEL];
        let init = match init {
            Init::Bias(bias) => {
                bias_lanes[..channels].copy_from_slice(&bias[first..first + channels]);
                Init::Bias(bias_lanes.as_ptr())
            }
            Init::Zero => Init::Zero,
            Init::Accumulate => Init::Accumulate,
        };
        let right = &weights.packed.as_slice()[block.first_k * padded + first * block_k..][..block_k * lanes];
        // SAFETY: the caller's promise; the panel holds `lanes` values for each of its `K`, and row `i` of the sums is
        // `lanes` values from channel `first` of row `i` of `out`, or of `edge`, which is made as large as that.
        unsafe {
            let to = out.as_mut_ptr().add(rows.start * n + first);
            let multiply = |data: *mut f32, stride: usize| {
                let sums = Sums { data, stride, init, relu };
                multiply_panel(weights.isa, left, rows.len(), right.as_ptr(), lanes, true, sums);
            };
            if channels == lanes {
                multiply(to, n);
                return;
            }
            let edge = at_least(edge, rows.len() * lanes).as_mut_ptr();
            if matches!(init, Init::Accumulate) {
                copy_rows(to, n, edge, lanes, [rows.len(), channels]);
            }
            multiply(edge, lanes);
            copy_rows(edge, lanes, to, n, [rows.len(), channels]);
        }
    }
}

/// Copies `rows` rows of `values` values.
///
/// # Safety
/// They are readable and writable, and do not overlap.
unsafe fn copy_rows(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    [rows, values]: [usize; 2],
) {
    for row in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            core::ptr::copy_nonoverlapping(from.add(row * from_stride), to.add(row * to_stride), values);
        }
    }
}

/// What a task keeps between units of work.
#[derive(Default)]
pub(super) struct Scratch {
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
