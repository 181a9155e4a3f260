//! Weights in panels, as `engine` reads them.

use alloc::vec::Vec;

use frcnn_core::f16_to_f32;

use super::{
    F16Isa,
    engine::{Engine, PANEL, STEP, run_steps},
    scale::Scales,
};
use crate::{aligned::AlignedVec, len_of, sync_ptr::SyncPtr, tasks};

/// `K x N` weights, `K` in blocks.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    isa: F16Isa,
    engine: Engine,
    /// Block after block, in each panel after panel: `[steps, STEP, PANEL]`, with zeros behind the last of `K` and of the
    /// columns.
    values: AlignedVec<u16>,
    columns: usize,
    /// Where each block begins, in steps, and the end.
    first_steps: Vec<usize>,
    /// Most steps of a run.
    run: usize,
    scales: Scales,
}

impl Panels {
    /// Packs `weights`, `[K, columns]`; `blocks` are the rows of each block in their order, summed in runs of at most `run`
    /// steps. `None` where the CPU lacks `isa`.
    pub(crate) fn new(
        isa: F16Isa,
        weights: &[u16],
        columns: usize,
        blocks: &[Vec<usize>],
        run: usize,
        threads: usize,
    ) -> Option<Self> {
        let engine = Engine::new(isa)?;
        let mut first_steps = alloc::vec![0];
        first_steps.extend(blocks.iter().scan(0, |steps, rows| {
            // One of zeros where a layer reads nothing.
            *steps += rows.len().div_ceil(STEP).max(1);
            Some(*steps)
        }));
        let padded = columns.next_multiple_of(PANEL);
        let steps = first_steps.last().copied().unwrap_or(0);
        let mut values = AlignedVec::<u16>::zeros(len_of(&[steps, STEP, padded]));
        let shared = SyncPtr::new(values.as_mut_slice());
        let mut largest = alloc::vec![0f32; tasks::task_count(threads)];
        tasks::for_each_index(&mut largest, blocks.len(), |largest, i| {
            let steps = first_steps[i + 1] - first_steps[i];
            // SAFETY: blocks follow one another, each of as many steps; together they are as long as the buffer.
            let block = unsafe {
                let first = shared.as_mut_ptr().add(first_steps[i] * STEP * padded);
                core::slice::from_raw_parts_mut(first, steps * STEP * padded)
            };
            let panels = block.chunks_exact_mut((steps * STEP * PANEL).max(1));
            for (panel, first) in panels.zip((0..columns).step_by(PANEL)) {
                let count = PANEL.min(columns - first);
                for (row, to) in blocks[i].iter().zip(panel.chunks_exact_mut(PANEL)) {
                    to[..count].copy_from_slice(&weights[row * columns + first..][..count]);
                }
                for run in panel.chunks(run_steps(steps, run) * STEP * PANEL) {
                    *largest = largest.max(largest_sum(run));
                }
            }
        });
        let scales = Scales::new(largest.into_iter().fold(0.0, f32::max));
        Some(Self { isa, engine, values, columns, first_steps, run, scales })
    }

    pub(crate) fn isa(&self) -> F16Isa {
        self.isa
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// Of rows that meet the weights.
    pub(crate) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Rounds what will meet the weights, as [`Engine::round_parts`].
    ///
    /// # Safety
    /// The steps are readable and writable.
    #[inline(always)]
    pub(crate) unsafe fn round_parts(
        &self,
        from: *const f32,
        parts: usize,
        to: *mut u16,
        part_len: usize,
        rows: usize,
        largest: u16,
    ) -> u16 {
        // SAFETY: the caller's promise.
        unsafe { self.engine.round_parts(from, parts, to, part_len, rows, largest) }
    }

    /// Steps of each run of a block but the last, which may have fewer.
    pub(super) fn run_steps(&self, block: usize) -> usize {
        run_steps(self.steps(block), self.run)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }

    /// How many panels a block has.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Columns of a panel: its first one, and how many there are.
    pub(crate) fn columns(&self, panel: usize) -> (usize, usize) {
        let first = panel * PANEL;
        (first, PANEL.min(self.columns - first))
    }

    /// Steps of a block.
    pub(super) fn steps(&self, block: usize) -> usize {
        self.first_steps[block + 1] - self.first_steps[block]
    }

    /// A panel of a block.
    pub(super) fn panel(&self, block: usize, panel: usize) -> &[u16] {
        let panel_len = self.steps(block) * STEP * PANEL;
        let first = self.first_steps[block] * STEP * self.columns.next_multiple_of(PANEL) + panel * panel_len;
        &self.values.as_slice()[first..][..panel_len]
    }
}

/// The largest sum of magnitudes in a column of a run. What is not finite counts as the largest f16 does.
fn largest_sum(run: &[u16]) -> f32 {
    let mut sums = [0f32; PANEL];
    for row in run.chunks_exact(PANEL) {
        for (sum, &bits) in sums.iter_mut().zip(row) {
            *sum += f16_to_f32((bits & 0x7fff).min(0x7bff));
        }
    }
    sums.into_iter().fold(0.0, f32::max)
}
