//! Products of bf16 matrices in blocks of 32 x 32 sums, whatever the instructions.
//!
//! ```text
//!                                       panel of 32 channels, for each step of 32 values of K:
//!    a [32 rows, K]  x                   16 lines of channels 0..16    line p: of each channel
//!     a row is a list of steps           16 lines of channels 16..32           values 2p and 2p + 1
//!     of 32 values each
//! ```
//!
//! 1. Rows need not be contiguous, only their steps, so that the windows of a convolution are rows as they lie.
//! 2. A step is a row of an AMX tile, and pairs of values are what both AMX and AVX512-BF16 multiply at a time: one
//!    packing serves both.
//! 3. A sum is one chain of additions in the order of `K`: how work is shared among threads changes no bit. Halves that
//!    meet [`GEMV_ROWS`] rows or less are multiplied in f32, in the same order.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{bf16_from_f32, bf16_to_f32};

use super::Bf16Isa;
#[cfg(target_arch = "x86_64")]
use super::{amx::Tiles, avx512};
use crate::{
    aligned::{Zeroed, zeroed_lines},
    isa::{Loop, vectorized},
    tasks,
};

/// Rows and channels of a block.
pub(super) const BLOCK: usize = 32;
/// Values of `K` in a step.
pub(super) const STEP: usize = 32;

/// 32 bf16 values that begin on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; STEP]);

// SAFETY: u16 of zeros are 0.
unsafe impl Zeroed for Line {}

impl Line {
    /// Pairs of values of one channel in a step.
    pub(super) const PAIRS: usize = STEP / 2;
}

/// Lines of a panel for each step.
pub(super) const STEP_LINES: usize = 2 * Line::PAIRS;

/// A block of sums.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; BLOCK]; BLOCK]);

impl Sums {
    pub(super) const ZERO: Self = Self([[0.0; BLOCK]; BLOCK]);
}

/// The left-hand side: row `i` is, for each offset `o` of `steps` in turn, the 32 values from `data + i * stride + o`
/// on. Of split values those are the high halves, and the low ones lie `low` values after them.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no engine to read them"))]
pub(super) struct Rows<'a> {
    pub(super) data: *const u16,
    pub(super) stride: usize,
    pub(super) steps: &'a [usize],
    pub(super) low: Option<usize>,
    /// How many rows there are, 1 to 32; sums of others may hold anything.
    pub(super) count: usize,
}

/// Rows in a block of [`Engine::gemv`].
pub(super) const GEMV_ROWS: usize = 12;

/// The right-hand side: a panel, or from some step of it on.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no engine to read them"))]
pub(super) struct Panel {
    pub(super) lines: *const Line,
    /// Where lines are that will be wanted soon, and how many to ask for at each step, a multiple of 4. They need not be
    /// readable.
    pub(super) ahead: *const Line,
    pub(super) ahead_lines: usize,
}

impl Panel {
    /// `steps` of a panel as they meet block `visit` of `visits` blocks of rows: while they do, a share of the same steps
    /// of the next panel, `panel_lines` on, comes closer. A single block has the panel's own next steps come.
    pub(super) fn at_visit(
        lines: *const Line,
        [steps, step_lines, panel_lines]: [usize; 3],
        [visit, visits]: [usize; 2],
    ) -> Self {
        if visits == 1 {
            // Nothing but memory holds it up: there is no use in more than what memory takes to answer.
            return Self { lines, ahead: lines.wrapping_add(8 * step_lines), ahead_lines: step_lines };
        }
        let ahead_lines = step_lines.div_ceil(visits.max(1)).next_multiple_of(4);
        let asked = visit * ahead_lines;
        let ahead_lines = if asked < step_lines { ahead_lines } else { 0 };
        Self { lines, ahead: lines.wrapping_add(panel_lines + asked * steps), ahead_lines }
    }
}

/// A weight as it comes: a bf16 value, or an f32 one that is split into two of them.
pub(crate) trait Weight: Copy + Default + Sync {
    const SPLIT: bool;

    /// The bits of the high half and of the low one, which is 0 of a bf16 value.
    fn halves(self) -> [u16; 2];
}

impl Weight for u16 {
    const SPLIT: bool = false;

    #[inline(always)]
    fn halves(self) -> [u16; 2] {
        [self, 0]
    }
}

impl Weight for f32 {
    const SPLIT: bool = true;

    #[inline(always)]
    fn halves(self) -> [u16; 2] {
        let high = bf16_from_f32(self);
        let rest = self - bf16_to_f32(high);
        // What is infinite or NaN has no rest.
        [high, if rest.is_finite() { bf16_from_f32(rest) } else { 0 }]
    }
}

/// Lines of a panel for each step, with low halves or without.
pub(super) fn step_lines(split: bool) -> usize {
    if split { 2 * STEP_LINES } else { STEP_LINES }
}

/// Packs rows of weights for `n` channels each: panel after panel, zeros after the last channel. Value `value` of step
/// `step` meets row `row(step, value)` of `weights`, or none. The low halves of a step follow its high ones.
pub(super) fn pack<W: Weight>(
    weights: &[W],
    n: usize,
    steps: usize,
    threads: usize,
    row: impl Fn(usize, usize) -> Option<usize> + Sync,
) -> Vec<Line> {
    let step_lines = step_lines(W::SPLIT);
    let panel_lines = steps.saturating_mul(step_lines);
    let mut lines: Vec<Line> = zeroed_lines(panel_lines.saturating_mul(n.div_ceil(BLOCK)));
    let mut tasks = alloc::vec![(); tasks::task_count(threads)];
    let panels_at_once = n.div_ceil(BLOCK).div_ceil(tasks.len()).max(1);
    let parts = lines.chunks_mut((panels_at_once * panel_lines).max(1)).enumerate();
    tasks::for_each_item(&mut tasks, parts, |(), (part, lines)| {
        // Step by step through all panels, or rows of weights would be read in bits.
        for step in 0..steps {
            for (panel, lines) in lines.chunks_exact_mut(panel_lines).enumerate() {
                let first = (part * panels_at_once + panel) * BLOCK;
                let lines = &mut lines[step * step_lines..][..step_lines];
                pack_step(lines, first..n.min(first + BLOCK), |value| {
                    Some(&weights[row(step, value)? * n..])
                });
            }
        }
    });
    lines
}

/// Packs a step of the panel of `channels`; value `value` of it meets `row(value)`, or none.
fn pack_step<'a, W: Weight + 'a>(
    lines: &mut [Line],
    channels: Range<usize>,
    row: impl Fn(usize) -> Option<&'a [W]>,
) {
    let none = [W::default(); Line::PAIRS];
    let mut aside = [none; 2];
    for (half, pair) in (0..2).flat_map(|half| (0..Line::PAIRS).map(move |pair| (half, pair))) {
        let first = channels.start + half * Line::PAIRS;
        let [even, odd] = &mut aside;
        let values = [(0, even), (1, odd)].map(|(part, aside)| {
            let row = row(2 * pair + part);
            let values = row.and_then(|row| row.get(first..channels.end)).unwrap_or_default();
            values.first_chunk().unwrap_or_else(|| {
                *aside = none;
                aside.iter_mut().zip(values).for_each(|(to, &from)| *to = from);
                aside
            })
        });
        vectorized(PackLine { values, lines, at: half * Line::PAIRS + pair });
    }
}

/// Interleaves the values of two rows into line `at` of a step, and their low halves into the line that those have.
struct PackLine<'a, W> {
    values: [&'a [W; Line::PAIRS]; 2],
    lines: &'a mut [Line],
    at: usize,
}

impl<W: Weight> Loop for PackLine<'_, W> {
    #[inline(always)]
    fn run(self) {
        let [even, odd] = self.values;
        for half in 0..if W::SPLIT { 2 } else { 1 } {
            let line = &mut self.lines[half * STEP_LINES + self.at];
            for ((pair, even), odd) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                // As one number: the compiler then sees whole vectors.
                let both = u32::from(even.halves()[half]) | u32::from(odd.halves()[half]) << 16;
                *pair = [both as u16, (both >> 16) as u16];
            }
        }
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

/// What computes blocks on this thread: a proof that the CPU can.
pub(super) enum Engine {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Amx(Tiles),
}

#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "there is no engine to use them"))]
impl Engine {
    /// `None` when the CPU lacks `isa`.
    pub(super) fn new(isa: Bf16Isa) -> Option<Self> {
        if !Bf16Isa::available().any(|available| available == isa) {
            return None;
        }
        #[cfg(target_arch = "x86_64")]
        return Some(match isa {
            Bf16Isa::Avx512Bf16 => Self::Avx512Bf16,
            // SAFETY: it is available.
            Bf16Isa::Amx => Self::Amx(unsafe { Tiles::configure() }),
        });
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// `sums[32, 32] = rows[32, K] panel[K, 32]`, added to what was there unless `fresh`. Rows of sums begin `stride`
    /// values apart.
    ///
    /// # Safety
    /// 32 rows and the panel are readable for each step, 32 rows of 32 sums writable; they do not overlap.
    pub(super) unsafe fn multiply(
        &self,
        rows: Rows<'_>,
        panel: Panel,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        // SAFETY: the caller's promises, and that an engine is only made where the CPU has its instructions.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match self {
                Self::Avx512Bf16 => avx512::multiply(rows, panel.lines, sums, stride, fresh),
                Self::Amx(tiles) => match rows.low {
                    Some(low) => tiles.multiply_split(rows, low, panel, sums, stride, fresh),
                    None => tiles.multiply(rows, panel, sums, stride, fresh),
                },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }

    /// The first [`GEMV_ROWS`] rows of sums of f32 features and a panel of halves, which are put together again: products are
    /// f32's. `columns` has each feature of all rows, in whole steps. Added to what was there unless `fresh`.
    ///
    /// # Safety
    /// The panel is readable for each step.
    pub(super) unsafe fn gemv(
        &self,
        columns: &[[f32; GEMV_ROWS]],
        panel: *const Line,
        sums: &mut Sums,
        fresh: bool,
    ) {
        // SAFETY: the caller's promise; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::gemv(columns, panel, sums, fresh);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }

    /// Writes `from`, rounded to bf16, to `to`: the nearest value, ties to even, denormals to 0. A row of pixels of
    /// `planes` planes each, 32 channels a time, goes to rows of planes that are `plane_len` apart; a single plane is
    /// rounded as it lies, whatever its channels.
    pub(super) fn round_planes(&self, from: &[f32], planes: usize, plane_len: usize, to: &mut [u16]) {
        let cells = if planes == 1 { 1 } else { from.len() / (planes * STEP) };
        let cell = from.len() / (cells * planes).max(1);
        assert!(planes * cells == 0 || (planes - 1) * plane_len + cells * cell <= to.len());
        // SAFETY: `from` is `cells` times `planes` runs of `cell` values, and the last of them has a place in `to`. An
        // engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::round_planes(from.as_ptr(), [cells, planes, cell], plane_len, to.as_mut_ptr());
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }

    /// As [`Engine::round_planes`] for the 32 values from `from` on, of which `len` are read and the rest become 0. What
    /// rounding leaves goes, rounded, to `low` values behind.
    ///
    /// # Safety
    /// `len` values are readable, and 32 writable, also `low` values on.
    pub(super) unsafe fn round_step(&self, from: *const f32, len: usize, to: *mut u16, low: Option<usize>) {
        // SAFETY: the caller's promises; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::round_step(from, len, to, low);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }

    /// Adds the bias to `count` rows of sums, [`BLOCK`] apart, applies ReLU, and writes the first `channels` of each
    /// to `target`, where rows begin `stride` values apart. ReLU keeps NaN.
    ///
    /// # Safety
    /// `count` rows of 32 sums are readable, as many of `channels` values writable.
    #[expect(clippy::too_many_arguments, reason = "sums, what is done to them, and where they go")]
    pub(super) unsafe fn finish(
        &self,
        sums: *const f32,
        count: usize,
        bias: &[f32; BLOCK],
        relu: bool,
        channels: usize,
        target: Target,
        stride: usize,
    ) {
        // SAFETY: the caller's promises; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::finish(sums, count, bias, relu, channels, target, stride);
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }
}
