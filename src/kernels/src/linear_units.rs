//! Units of work of a fully connected layer: which rows and panels of the output a task computes at a time, and from what.

use alloc::vec::Vec;
use core::ops::Range;

use crate::{CacheInfo, blocking::linear_rows, init::Init, k_order::KPart, sync_ptr::SyncPtr, tasks};

/// A run of a layer, or of some of its `K`: `out = init` plus the products of `parts`, which follow one another in `K`; then
/// ReLU if `relu`.
pub(crate) struct LinearRun<'a> {
    pub(crate) parts: &'a [KPart<'a>],
    pub(crate) init: Init<&'a [f32]>,
    pub(crate) relu: bool,
    /// `[rows, N]`.
    pub(crate) out: SyncPtr,
}

impl<'a> LinearRun<'a> {
    /// What the sums of some parts start from, and whether ReLU follows: later parts are added to what earlier ones gave.
    pub(crate) fn ends(&self, parts: Range<usize>) -> (Init<&'a [f32]>, bool) {
        let init = if parts.start == 0 { self.init } else { Init::Accumulate };
        (init, self.relu && parts.end == self.parts.len())
    }
}

/// Some rows of the output, and of them the columns of some panels.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) rows: Range<usize>,
    pub(crate) panels: Range<usize>,
}

/// Rows that a task takes at a time, of so many.
pub(crate) fn row_block(rows: usize) -> usize {
    let block = linear_rows(CacheInfo::detect());
    if rows >= 2 * block { block } else { rows }
}

/// How the rows and panels of a product are cut into units.
pub(crate) struct Units {
    rows: usize,
    row_block: usize,
    panels: usize,
    /// In how many ranges the panels are cut.
    shares: usize,
}

impl Units {
    /// Blocks of rows when there are `enough` of them for each task, otherwise a share of the panels, too: no more shares
    /// than tasks, for each packs the rows anew.
    pub(crate) fn new(rows: usize, row_block: usize, panels: usize, tasks: usize, enough: usize) -> Self {
        let row_block = row_block.max(1);
        let shares = if rows.div_ceil(row_block) >= enough * tasks { 1 } else { panels.min(tasks) };
        Self { rows, row_block, panels, shares }
    }

    /// Calls `work` with each unit, on `tasks` tasks with what each keeps between units.
    pub(crate) fn share_out<S: Default + Send>(&self, tasks: usize, work: impl Fn(&mut S, Unit) + Sync) {
        let Self { rows, row_block, panels, shares } = *self;
        let mut kept: Vec<S> = (0..tasks).map(|_| S::default()).collect();
        // A task's units follow one another: those of one share read the same panels.
        let blocks = rows.div_ceil(row_block);
        tasks::for_each_index(&mut kept, blocks * shares, |kept, unit| {
            let (share, block) = (unit / blocks, unit % blocks);
            let rows = block * row_block..rows.min((block + 1) * row_block);
            work(kept, Unit { rows, panels: share * panels / shares..(share + 1) * panels / shares });
        });
    }
}
