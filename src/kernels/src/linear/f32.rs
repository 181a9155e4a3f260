//! Weights of a fully connected layer that are multiplied in f32, pre-packed, and their product with some rows.
//!
//! ```text
//!   for each part of K:
//!     pack the rows, if more than two panels meet them
//!     for each panel:                                      `Product::panel`
//!       out[rows, panel] += rows[rows, K] panel[K, width]      tile by tile: see `product`
//! ```

use alloc::vec::Vec;
use core::{mem::MaybeUninit, ops::Range};

use crate::{
    Isa,
    aligned::{AlignedVec, Value, at_least},
    init::Init,
    k_order::{KBlock, KPart},
    linear_units::{LinearRun, Unit},
    packed::{Packed, Packing, Weights},
    product::{Left, MAX_PANEL, Rows, Sums, multiply_panel, pack, pack_rows, packed_len},
    simd::Width,
    sync_ptr::SyncPtr,
    tasks,
};

/// A layer's weights, packed for one order of its input features: block of `K` after block, in each panel after panel.
#[derive(Clone, Debug)]
pub(super) struct F32Weights {
    isa: Isa,
    width: Width,
    in_features: usize,
    out_features: usize,
    packed: Packed,
}

impl F32Weights {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`.
    pub(super) fn new(
        isa: Isa,
        weights: Weights<'_>,
        [in_features, out_features]: [usize; 2],
        blocks: &[KBlock],
        threads: usize,
    ) -> Self {
        let width = Width::of(isa);
        let packed =
            Packed::new(weights, &LinearPacking { width, in_features, out_features, blocks, threads });
        Self { isa, width, in_features, out_features, packed }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Channels and the zeros behind the last of them, in whole vectors.
    fn padded(&self) -> usize {
        self.out_features.next_multiple_of(self.width.lanes)
    }

    pub(super) fn panels(&self) -> usize {
        self.padded().div_ceil(self.width.panel)
    }

    /// Computes a unit of `run`.
    ///
    /// # Safety
    /// `run.out` has `out_features` values for each row up to the last of the unit, of which no one else touches the unit's.
    pub(super) unsafe fn multiply(&self, run: &LinearRun<'_>, unit: Unit, scratch: &mut Scratch) {
        let Unit { rows, panels } = unit;
        let Scratch { edge, packed, widened } = scratch;
        assert!(rows.start <= rows.end && self.width.panel <= MAX_PANEL);
        for (i, part) in run.parts.iter().enumerate() {
            assert!(rows.is_empty() || part.end(rows.end - 1) <= part.data.len());
            assert!(part.block.first_k + part.block.len() <= self.in_features);
            // SAFETY: the last value of the rows was seen to be in `data`.
            let left = unsafe { left(part, rows.clone(), panels.len(), packed) };
            let (init, relu) = run.ends(i..i + 1);
            let (block, rows, out) = (part.block, rows.clone(), run.out);
            let product = Product { weights: self, left, block, init, relu, rows, out };
            for panel in panels.clone() {
                // SAFETY: the caller's promise; the rows and the part of `K` were seen to exist.
                unsafe { product.panel(panel, edge, widened) };
            }
        }
    }
}

/// Block of `K` after block, in each panel after panel.
struct LinearPacking<'a> {
    width: Width,
    in_features: usize,
    out_features: usize,
    blocks: &'a [KBlock],
    threads: usize,
}

impl Packing for LinearPacking<'_> {
    fn pack<T: Value>(&self, weights: &[T]) -> AlignedVec<T> {
        let Self { width, in_features, out_features, blocks, threads } = *self;
        let mut packed = AlignedVec::<T>::zeros(packed_len(in_features, out_features, width));
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
        packed
    }
}

/// Some rows of a part: as they lie, or packed if more than two panels read them.
///
/// # Safety
/// The part has these rows.
unsafe fn left<'a>(part: &KPart<'a>, rows: Range<usize>, panels: usize, packed: &mut AlignedVec) -> Left<'a> {
    let (k, KBlock { segments, segment_len, .. }) = (part.block.len(), part.block);
    let data = part.data.as_ptr().wrapping_add(rows.start * part.stride);
    let as_they_lie = Rows { data, stride: part.stride, segments, segment_len: *segment_len };
    if panels <= 2 {
        return Left::Rows(as_they_lie);
    }
    let packed = at_least(packed, rows.len() * k);
    // SAFETY: the caller's promise; `packed` is as long as the rows are.
    unsafe { pack_rows(as_they_lie, rows.len(), packed.as_mut_ptr()) };
    Left::Packed { data: packed.as_ptr(), k }
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

/// A panel's output channels.
#[derive(Clone, Copy)]
struct PanelChannels {
    first: usize,
    count: usize,
    /// `count`, in whole vectors.
    lanes: usize,
}

impl Product<'_> {
    /// One panel's channels of all rows: `init`, the products, then ReLU. The last panel may have more lanes than there are
    /// channels left: its sums are computed in `edge`.
    ///
    /// # Safety
    /// `left` is readable and of `rows` rows and the `K` of `block`, which the weights have; `out` has these rows, of which
    /// the panel's channels are the caller's alone.
    unsafe fn panel(&self, panel: usize, edge: &mut AlignedVec, widened: &mut AlignedVec<MaybeUninit<f32>>) {
        let channels = self.channels(panel);
        let PanelChannels { first, count, lanes } = channels;
        let (n, rows) = (self.weights.out_features, self.rows.len());
        // SAFETY: the caller's promise; `edge` is made as large as all rows of the panel.
        unsafe {
            let place = self.out.as_mut_ptr().add(self.rows.start * n + first);
            if count == lanes {
                self.multiply(channels, widened, place, n);
                return;
            }
            let edge = at_least(edge, rows * lanes).as_mut_ptr();
            if self.init == Init::Accumulate {
                copy_rows(place, n, edge, lanes, [rows, count]);
            }
            self.multiply(channels, widened, edge, lanes);
            copy_rows(edge, lanes, place, n, [rows, count]);
        }
    }

    fn channels(&self, panel: usize) -> PanelChannels {
        let weights = self.weights;
        let first = panel * weights.width.panel;
        let lanes = weights.width.panel.min(weights.padded() - first);
        PanelChannels { first, count: lanes.min(weights.out_features - first), lanes }
    }

    /// The sums of a panel's lanes, row `i` of them at `to + i * stride`.
    ///
    /// # Safety
    /// As [`Product::panel`]; the sums are writable.
    unsafe fn multiply(
        &self,
        channels: PanelChannels,
        widened: &mut AlignedVec<MaybeUninit<f32>>,
        to: *mut f32,
        stride: usize,
    ) {
        let PanelChannels { first, count, lanes } = channels;
        let (weights, k) = (self.weights, self.block.len());
        let mut bias_lanes = [0.0; MAX_PANEL];
        let init = self.init.map(|bias| {
            bias_lanes[..count].copy_from_slice(&bias[first..][..count]);
            bias_lanes.as_ptr()
        });
        let before = self.block.first_k * weights.padded() + first * k;
        let in_place = weights.packed.in_place();
        let room = at_least(widened, if in_place { 0 } else { k * lanes });
        let panel = weights.packed.values(weights.isa, before..before + k * lanes, room);
        let sums = Sums { data: to, stride, init, relu: self.relu };
        // SAFETY: the caller's promise; the panel holds `lanes` values for each of its `K`, and so does `bias_lanes`.
        unsafe {
            multiply_panel(weights.isa, self.left, self.rows.len(), panel.as_ptr(), lanes, in_place, sums)
        };
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
    /// A panel of weights.
    widened: AlignedVec<MaybeUninit<f32>>,
}
