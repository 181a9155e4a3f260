//! Fully connected layers on int8 values.
//!
//! ```text
//!   for each group of parts of K whose rows stay in L2:
//!     pack the rows: quantised, one after the other
//!     for each panel, for each tile of rows:                 `Product::run`
//!       sums += rows[tile, K] panel[K, width]
//! ```
//!
//! Between groups the sums lie, as `i32`, where the output will be. A row with a value that is not finite becomes NaN at the end.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Int8Isa, Int8Weights, Quantization,
    panels::Panels,
    product::{End, Product},
    quantization::Quantizer,
    rows::{RowValue, Source},
    tile::{Layout, Tile, Work, run_on},
};
use crate::{
    CacheInfo, KOrder,
    aligned::{AlignedVec, at_least},
    blocking::{LINEAR_K, int8_rows_bytes},
    k_order::{KBlock, KPart, slab_blocks, slabs},
    linear_units::{Unit, Units, row_block},
    sync_ptr::SyncPtr,
    tasks,
};

/// Channels in a slab of RoI-pooled bytes: a cache line of them.
pub(crate) const BYTE_SLAB: usize = 64;

/// A fully connected layer's int8 weights, packed for one order of its input features.
#[derive(Clone, Debug)]
pub(crate) struct Int8Linear {
    panels: Panels,
    /// The parts of `K`, as they lie in a row of all features.
    blocks: Vec<KBlock>,
    /// Where each block begins in `K` as it is packed, and where the last ends.
    edges: Vec<usize>,
}

impl Int8Linear {
    /// Packs weights, which were checked.
    pub(crate) fn new(
        isa: Int8Isa,
        weights: Int8Weights<'_>,
        [in_features, out_features]: [usize; 2],
        order: KOrder,
        threads: usize,
    ) -> Self {
        let blocks = blocks(order, in_features);
        let step = Layout::of(isa).step;
        let (mut edges, mut rows) = (alloc::vec![0], Vec::new());
        for block in &blocks {
            rows.extend(block.values().map(Some));
            rows.resize(rows.len().next_multiple_of(step), None);
            edges.push(rows.len());
        }
        let panels = Panels::new(isa, weights, out_features, &rows, threads);
        Self { panels, blocks, edges }
    }

    pub(crate) fn isa(&self) -> Int8Isa {
        self.panels.isa
    }

    pub(crate) fn input(&self) -> Quantization {
        self.panels.input
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        self.panels.weight_bytes()
    }

    /// `out[rows, N] = x[rows, K] w`, and what follows. Lengths were checked.
    pub(crate) fn run(&self, x: &[f32], end: End<'_>, rows: usize, threads: usize, out: &mut [f32]) {
        let stride = x.len().checked_div(rows).unwrap_or(0);
        let parts: Vec<_> = self.blocks.iter().map(|block| KPart { data: x, stride, block }).collect();
        self.accumulate(&parts, true, Some(end), rows, threads, out);
    }

    /// Adds the products of `parts`, which follow one another in `K`. What the sums start from is there already unless they are
    /// the `first`; they become the output at the `end`, and are `i32` until then. f32 are given in one call. Lengths were checked.
    pub(crate) fn accumulate<S: Source>(
        &self,
        parts: &[KPart<'_, S>],
        first: bool,
        end: Option<End<'_>>,
        rows: usize,
        threads: usize,
        out: &mut [f32],
    ) {
        let n = self.panels.out_channels;
        assert!(rows.saturating_mul(n) <= out.len());
        let tasks = tasks::task_count(threads);
        let out = SyncPtr::new(out);
        Units::new(rows, row_block(rows), self.panels.count(), tasks, 4).share_out(
            tasks,
            |scratch: &mut Scratch, unit| {
                let linear = self;
                run_on(self.panels.isa, UnitOf { linear, parts, first, end, unit, scratch, out });
            },
        );
    }
}

/// The parts of `K` that are packed one after the other, each in whole steps.
fn blocks(order: KOrder, in_features: usize) -> Vec<KBlock> {
    match order {
        KOrder::Natural => {
            let pieces = in_features.div_ceil(LINEAR_K).max(1);
            let len = in_features.div_ceil(pieces).next_multiple_of(64);
            let block = |first| KBlock {
                first_k: first,
                segments: alloc::vec![first],
                segment_len: len.min(in_features - first),
            };
            (0..in_features).step_by(len.max(1)).map(block).collect()
        }
        KOrder::ChannelSlabs { bins, channels } => slabs(channels, BYTE_SLAB)
            .flat_map(|slab| slab_blocks(bins, slab.clone(), channels, slab.start))
            .collect(),
    }
}

/// What a task keeps between units.
#[derive(Default)]
struct Scratch {
    /// Rows of quantised features.
    rows: AlignedVec<u8>,
    /// A panel of weights.
    panel: AlignedVec<u8>,
    /// Rows of the unit that have a value that is not finite.
    not_finite: Vec<usize>,
}

/// A unit of work of a layer.
struct UnitOf<'a, S> {
    linear: &'a Int8Linear,
    parts: &'a [KPart<'a, S>],
    first: bool,
    end: Option<End<'a>>,
    unit: Unit,
    scratch: &'a mut Scratch,
    out: SyncPtr,
}

impl<S: Source> Work for UnitOf<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<T: Tile>(self) {
        let Self { linear, parts, first, end, unit: Unit { rows, panels }, scratch, out } = self;
        let quantizer = Quantizer::new(linear.panels.input);
        let out_stride = linear.panels.out_channels;
        scratch.not_finite.clear();
        for group in linear.groups(parts, rows.len()) {
            let edges = linear.edges(&parts[group.clone()]);
            let k = edges.len();
            let values = values_of::<T::Value>(&mut scratch.rows, rows.len() * k);
            for (row, values) in rows.clone().zip(values.chunks_exact_mut(k.max(1))) {
                if !linear.pack_row(&parts[group.clone()], row, quantizer, values) {
                    scratch.not_finite.push(row);
                }
            }
            let product = Product {
                panels: &linear.panels,
                first_k: edges.start,
                k,
                first: first && group.start == 0,
                end: end.filter(|_| group.end == parts.len()),
                out: out.offset(rows.start * out_stride).as_mut_ptr(),
                out_stride,
            };
            // SAFETY: the CPU has the instructions, says the caller; `values` are `k` of each row; `accumulate` has seen that
            // `out` has all rows, and units have different rows or panels.
            unsafe { product.run::<T>(values.as_ptr(), k, rows.len(), panels.clone(), &mut scratch.panel) };
        }
        for &row in &scratch.not_finite {
            let channels = linear.panels.channels(panels.clone());
            // SAFETY: as above: the row's channels of these panels are this unit's.
            unsafe {
                let out = out.as_mut_ptr().add(row * out_stride + channels.start);
                core::slice::from_raw_parts_mut(out, channels.len()).fill(f32::NAN);
            }
        }
    }
}

impl Int8Linear {
    /// The parts that are packed together: as many as stay in L2 with that many rows, at least one; one group of none where
    /// there are none.
    fn groups<S>(&self, parts: &[KPart<'_, S>], rows: usize) -> impl Iterator<Item = Range<usize>> + use<S> {
        let part = parts.first().map_or(0, |part| part.block.len()) * self.panels.layout.value_bytes;
        let at_once = (int8_rows_bytes(CacheInfo::detect()) / (part * rows).max(1)).max(1);
        let count = parts.len();
        (0..count.max(1)).step_by(at_once).map(move |first| first..count.min(first + at_once))
    }

    /// Which of `K`, as it is packed, some parts are.
    fn edges<S>(&self, parts: &[KPart<'_, S>]) -> Range<usize> {
        let Some(first) = parts.first() else { return 0..0 };
        let position = self.blocks.partition_point(|block| block.first_k < first.block.first_k);
        self.edges[position]..self.edges[position + parts.len()]
    }

    /// Writes what a row has of some parts, each in whole steps, and says whether all of it is finite.
    #[inline(always)]
    fn pack_row<S: Source, V: RowValue>(
        &self,
        parts: &[KPart<'_, S>],
        row: usize,
        quantizer: Quantizer,
        mut to: &mut [V],
    ) -> bool {
        let mut finite = true;
        for part in parts {
            for segment in &part.block.segments {
                let from = &part.data[row * part.stride + segment..][..part.block.segment_len];
                let to = to.split_off_mut(..from.len()).unwrap_or_default();
                finite &= S::convert(quantizer, from, to);
            }
            let rest = part.block.len().next_multiple_of(self.panels.layout.step) - part.block.len();
            // Their weights are 0.
            to.split_off_mut(..rest).unwrap_or_default().fill(V::of(0));
        }
        finite
    }
}

/// Room for so many values.
fn values_of<V: RowValue>(room: &mut AlignedVec<u8>, len: usize) -> &mut [V] {
    let bytes = at_least(room, len * size_of::<V>());
    // SAFETY: of integers every pattern is valid, and the buffer begins on a cache line.
    unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) }
}
