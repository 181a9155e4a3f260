//! How the operands of a bf16 product lie in memory.
//!
//! A product is computed in blocks of 32 x 32 sums, and `K` is cut into steps of 32 values:
//!
//! ```text
//!   sums [32, 32]  =  rows [32, K]  x  panel [K, 32]
//!
//!   a step of a panel            a line: 64 bytes, pairs of values of K for 16 channels
//!
//!     line  0   | 0 1, ch 0  | 0 1, ch 1  | ... | 0 1, ch 15  |     values 0 and 1 of the step
//!     line  1   | 2 3, ch 0  | 2 3, ch 1  | ... | 2 3, ch 15  |            2 and 3
//!      ...
//!     line 15   | 30 31, ch 0             | ... | 30 31, ch 15|            30 and 31
//!     line 16   | 0 1, ch 16 | 0 1, ch 17 | ... | 0 1, ch 31  |     the same of channels 16 to 31
//!      ...
//!     line 31   | 30 31, ch 16            | ... | 30 31, ch 31|
//!     line 32                                                       split-bf16 only: lines 0 to 31 were hi halves,
//!      ...                                                          these are the lo halves in the same order
//!     line 63
//!
//!   a panel: its steps one after the other. The packed weights: panel after panel, zeros for channels that are not there.
//! ```
//!
//! Pairs of values side by side (VNNI format) are what both AVX512-BF16 and AMX multiply at a time, and 16 lines are a tile
//! of AMX: one packing serves both.
//!
//! Rows of the left-hand side need not be contiguous, only their steps are, so that the windows of a convolution are rows
//! as they lie in a map.

use crate::aligned::Zeroed;

/// Rows and channels of a block.
pub(super) const BLOCK: usize = 32;
/// Values of `K` in a step.
pub(super) const STEP: usize = 32;
/// Most rows of a split-bf16 layer that are multiplied by a GEMV-like kernel: see [`Columns`].
pub(super) const GEMV_ROWS: usize = 12;

/// 32 bf16 values that begin on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; STEP]);

// SAFETY: u16 of zeros are 0.
unsafe impl Zeroed for Line {}

impl Line {
    /// Pairs of values in a step.
    pub(super) const PAIRS: usize = STEP / 2;
}

/// Lines of a step of a panel of bf16 values.
pub(super) const STEP_LINES: usize = 2 * Line::PAIRS;

/// Lines of a step of a panel; with lo halves if it is split.
pub(super) fn step_lines(split: bool) -> usize {
    if split { 2 * STEP_LINES } else { STEP_LINES }
}

/// A block of sums.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; BLOCK]; BLOCK]);

impl Sums {
    pub(super) const ZERO: Self = Self([[0.0; BLOCK]; BLOCK]);

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_flattened_mut().as_mut_ptr()
    }
}

/// The left-hand side: row `i` is, for each offset `o` of `steps` in turn, the 32 values from `data + i * stride + o`
/// on. Of split values those are the hi halves, and the lo halves lie `lo` values after them.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no engine to read them"))]
pub(super) struct Rows<'a> {
    pub(super) data: *const u16,
    pub(super) stride: usize,
    pub(super) steps: &'a [usize],
    pub(super) lo: Option<usize>,
    /// How many rows there are, 1 to 32; sums of others may hold anything.
    pub(super) count: usize,
}

/// The left-hand side of a GEMV-like product, in f32 and transposed: each value of `K` of all rows, in whole steps.
pub(super) type Columns = [[f32; GEMV_ROWS]];

/// The right-hand side: a panel, or from some step of it on.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no engine to read them"))]
pub(super) struct Panel {
    pub(super) lines: *const Line,
    /// What to prefetch while this is multiplied: from where on, and how many lines with each step, a multiple of 4. They
    /// need not be readable.
    pub(super) prefetch: *const Line,
    pub(super) prefetch_lines: usize,
}

impl Panel {
    /// One that stays in a cache.
    pub(super) fn cached(lines: *const Line) -> Self {
        Self { lines, prefetch: lines, prefetch_lines: 0 }
    }

    /// `steps` steps of `step_lines` lines each, which come from memory, for block `row_block` of `row_blocks` of rows.
    ///
    /// All row blocks meet this panel, then all meet the next one, `panel_lines` on. So the next one has come when each
    /// row block prefetches its share of it. A single row block is bound by memory (as GEMV is): it prefetches this
    /// panel's own steps, no farther ahead than memory takes to answer.
    pub(super) fn streamed(
        lines: *const Line,
        [steps, step_lines, panel_lines]: [usize; 3],
        [row_block, row_blocks]: [usize; 2],
    ) -> Self {
        if row_blocks == 1 {
            return Self { lines, prefetch: lines.wrapping_add(8 * step_lines), prefetch_lines: step_lines };
        }
        let share = step_lines.div_ceil(row_blocks.max(1)).next_multiple_of(4);
        let done = row_block * share;
        let prefetch_lines = if done < step_lines { share } else { 0 };
        Self { lines, prefetch: lines.wrapping_add(panel_lines + done * steps), prefetch_lines }
    }
}

/// Where rows of sums go once they are done.
#[derive(Clone, Copy)]
pub(super) enum Target {
    F32(*mut f32),
    Bf16(*mut u16),
}

impl Target {
    /// # Safety
    /// As `pointer::add`.
    pub(super) unsafe fn add(self, values: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32(data) => Self::F32(data.add(values)),
                Self::Bf16(data) => Self::Bf16(data.add(values)),
            }
        }
    }
}
