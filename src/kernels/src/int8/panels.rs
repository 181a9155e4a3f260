//! A layer's weights as products read them, and what makes its output of exact sums.
//!
//! ```text
//!   out = (sum of q w  -  zero_point * sum of w) * factor + bias, then ReLU
//! ```
//!
//! A sum starts from what is to be taken away, which is known beforehand. All of that is exact: sums may pass what an `i32`
//! holds on the way, for they wrap around, and end where they belong.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::{Int8Isa, Int8Weights, Quantization, tile::Layout};
use crate::{aligned::AlignedVec, sync_ptr::SyncPtr, tasks};

/// Weights, panel after panel, each `[K / depth, width, depth]`.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    pub(super) isa: Int8Isa,
    pub(super) layout: Layout,
    pub(super) input: Quantization,
    pub(super) out_channels: usize,
    /// `K`, with zeros to whole steps.
    pub(super) k: usize,
    values: AlignedVec<i8>,
    /// What the sums of each channel start from; zeros behind the last.
    pub(super) starts: Vec<i32>,
    /// What 1 of a sum stands for in each channel.
    pub(super) factors: Vec<f32>,
}

impl Panels {
    /// Packs weights, which were checked. `rows` says which row of `values` each of `K` is, `None` where there is none; they are
    /// whole steps.
    pub(super) fn new(
        isa: Int8Isa,
        weights: Int8Weights<'_>,
        out_channels: usize,
        rows: &[Option<usize>],
        threads: usize,
    ) -> Self {
        let layout = Layout::of(isa);
        let (k, n) = (rows.len(), out_channels);
        let padded = n.next_multiple_of(layout.lanes);
        let mut values = AlignedVec::<i8>::zeros(k.saturating_mul(padded));
        let mut starts = vec![0i32; padded];
        let (packed, shared_starts) = (SyncPtr::new(values.as_mut_slice()), SyncPtr::new(&mut starts));
        let mut tasks = vec![(); tasks::task_count(threads)];
        tasks::for_each_index(&mut tasks, padded.div_ceil(layout.panel), |(), panel| {
            let first = panel * layout.panel;
            let width = layout.panel.min(padded - first);
            let count = layout.panel.min(n - first);
            // SAFETY: all panels before this one are whole; no other task touches it or its channels.
            let (packed, starts) = unsafe {
                (
                    core::slice::from_raw_parts_mut(packed.as_mut_ptr().add(first * k), width * k),
                    core::slice::from_raw_parts_mut(shared_starts.as_mut_ptr().add(first), count),
                )
            };
            for (k, row) in rows.iter().enumerate() {
                let Some(row) = row else { continue };
                let at = k / layout.depth * layout.depth * width + k % layout.depth;
                let lanes = packed[at..].iter_mut().step_by(layout.depth);
                let weights = &weights.values[row * n + first..][..count];
                for ((to, sum), &weight) in lanes.zip(&mut *starts).zip(weights) {
                    *to = weight;
                    *sum += i32::from(weight);
                }
            }
            let zero = layout.offset - i32::from(weights.input.zero_point);
            // |sum of w| is below 2^31 / 255.
            starts.iter_mut().for_each(|sum| *sum *= zero);
        });
        let factors = weights.scales.iter().map(|scale| weights.input.scale * scale).collect();
        Self { isa, layout, input: weights.input, out_channels, k, values, starts, factors }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        size_of_val(self.values.as_slice()) + size_of_val(&self.starts[..]) + size_of_val(&self.factors[..])
    }

    pub(super) fn count(&self) -> usize {
        self.out_channels.div_ceil(self.layout.panel)
    }

    /// Channels of a panel, with those that fill its last vector.
    pub(super) fn width(&self, panel: usize) -> usize {
        self.layout.panel.min(self.starts.len() - panel * self.layout.panel)
    }

    /// The channels of some panels.
    pub(super) fn channels(&self, panels: Range<usize>) -> Range<usize> {
        let first = |panel: usize| (panel * self.layout.panel).min(self.out_channels);
        first(panels.start)..first(panels.end)
    }

    /// A panel from value `k` of each channel on.
    pub(super) fn panel(&self, panel: usize, k: usize) -> &[i8] {
        let first = panel * self.layout.panel;
        let width = self.width(panel);
        &self.values.as_slice()[first * self.k..][..width * self.k][k * width..]
    }
}
