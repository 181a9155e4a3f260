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
//! 3. A sum is one chain of additions in the order of `K`: how work is cut into blocks, or shared among threads,
//!    changes no bit.

use alloc::vec::Vec;

use super::Bf16Isa;
#[cfg(target_arch = "x86_64")]
use super::{amx::Tiles, avx512};
use crate::tasks;

/// Rows and channels of a block.
pub(super) const BLOCK: usize = 32;
/// Values of `K` in a step.
pub(super) const STEP: usize = 32;

/// 32 bf16 values that begin on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; STEP]);

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
/// on.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is no engine to read them"))]
pub(super) struct Rows<'a> {
    pub(super) data: *const u16,
    pub(super) stride: usize,
    pub(super) steps: &'a [usize],
}

/// Packs rows of weights for `n` channels each: panel after panel, zeros after the last channel. Value `value` of step
/// `step` meets row `row(step, value)` of `weights`, or none.
pub(super) fn pack(
    weights: &[u16],
    n: usize,
    steps: usize,
    threads: usize,
    row: impl Fn(usize, usize) -> Option<usize> + Sync,
) -> Vec<Line> {
    let panel_lines = steps.saturating_mul(STEP_LINES);
    let mut lines = alloc::vec![Line([0; STEP]); panel_lines.saturating_mul(n.div_ceil(BLOCK))];
    let panels = lines.chunks_exact_mut(panel_lines.max(1)).enumerate();
    let mut tasks = alloc::vec![(); tasks::task_count(threads)];
    tasks::for_each_item(&mut tasks, panels, |(), (panel, lines)| {
        for (i, line) in lines.iter_mut().enumerate() {
            let (step, half, pair) = (i / STEP_LINES, i / Line::PAIRS % 2, i % Line::PAIRS);
            let first = (panel * BLOCK + half * Line::PAIRS).min(n);
            for part in 0..2 {
                let Some(row) = row(step, 2 * pair + part) else { continue };
                let values = &weights[row * n + first..row * n + n.min(first + Line::PAIRS)];
                for (pair, &value) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                    pair[part] = value;
                }
            }
        }
    });
    lines
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
        panel: *const Line,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        // SAFETY: the caller's promises, and that an engine is only made where the CPU has its instructions.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match self {
                Self::Avx512Bf16 => avx512::multiply(rows, panel, sums, stride, fresh),
                Self::Amx(tiles) => tiles.multiply(rows, panel, sums, stride, fresh),
            }
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

    /// As [`Engine::round_planes`] for the 32 values from `from` on, of which `len` are read and the rest become 0.
    ///
    /// # Safety
    /// `len` values are readable, and 32 writable.
    pub(super) unsafe fn round_step(&self, from: *const f32, len: usize, to: *mut u16) {
        // SAFETY: the caller's promises; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::round_step(from, len, to);
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
