//! What computes in f16.

use super::F16Isa;
#[cfg(target_arch = "x86_64")]
use super::avx512;
#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(test)]
use super::plain;
#[cfg(any(test, not(target_arch = "x86_64")))]
use super::product;

/// Most rows of a tile. On aarch64 each takes a register of values and two of sums, on x86 one of sums.
pub(crate) const TILE: usize = if cfg!(target_arch = "x86_64") { 24 } else { 8 };
/// Columns of a tile, which are those of a panel of weights: two vectors on aarch64, one on x86.
pub(crate) const PANEL: usize = if cfg!(target_arch = "x86_64") { 32 } else { 16 };
/// Values of `K` are packed in whole steps, with zeros behind the last.
pub(crate) const STEP: usize = 16;
/// Most steps of a run, whose sums are f16, in layers by the definition.
pub(crate) const RUN_STEPS: usize = 8;

/// A proof that the CPU can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(test)]
    Plain,
}

/// The sums of a tile: rows of [`PANEL`] values, `stride` apart, and what products are added to.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) to: *mut f32,
    pub(super) stride: usize,
    /// As many rows, which may be the sums' own places, or one and the same.
    pub(super) from: *const f32,
    pub(super) from_stride: usize,
}

/// A tile of values, and what they meet.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// `[steps, 2, rows, 8]`: eight values of `K` of each row at a time.
    pub(super) values: *const u16,
    /// 1 to [`TILE`].
    pub(super) rows: usize,
    /// `[steps, STEP, PANEL]`.
    pub(super) weights: *const u16,
    /// At least 1.
    pub(super) steps: usize,
    /// Steps of each run but the last, which may have fewer; at least 1.
    pub(super) run_steps: usize,
    /// Sums of f16 of each row are multiplied by its own when they are widened.
    pub(super) inverses: &'a [f32; TILE],
}

/// Cuts `steps` steps into runs of at most `most`, as even as can be: the steps of each but the last, which may have fewer.
pub(super) fn run_steps(steps: usize, most: usize) -> usize {
    steps.div_ceil(steps.div_ceil(most.max(1)).max(1)).max(1)
}

impl Engine {
    /// `None` when the CPU lacks `isa`.
    pub(super) fn new(isa: F16Isa) -> Option<Self> {
        F16Isa::available().find(|&available| available == isa).and_then(|isa| match isa {
            #[cfg(test)]
            F16Isa::Plain => Some(Self::Plain),
            #[cfg(target_arch = "aarch64")]
            F16Isa::NeonFp16 => Some(Self::Neon),
            #[cfg(not(target_arch = "aarch64"))]
            F16Isa::NeonFp16 => None,
            #[cfg(target_arch = "x86_64")]
            F16Isa::Avx512Fp16 => Some(Self::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            F16Isa::Avx512Fp16 => None,
        })
    }

    /// Rounds `steps` steps of values of one row of a tile of `rows`, from `to` on: see [`Tile::values`]. Gives the larger of
    /// `largest` and of the bits of the largest magnitude, NaN being larger than all.
    ///
    /// # Safety
    /// The steps are readable and writable.
    #[inline(always)]
    pub(super) unsafe fn round(
        self,
        from: *const f32,
        steps: usize,
        to: *mut u16,
        rows: usize,
        largest: u16,
    ) -> u16 {
        // SAFETY: the caller's promise; an engine is only made where the CPU has its instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::round(from, steps, to, rows, largest),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::round_parts(from, steps, to, STEP * rows, rows, largest),
                #[cfg(test)]
                Self::Plain => plain::round(from, steps, to, rows, largest),
            }
        }
    }

    /// [`Engine::round`] of a step in each of `parts` parts, a step after the other, to places `part_len` apart.
    ///
    /// # Safety
    /// The steps are readable and writable.
    #[inline(always)]
    pub(crate) unsafe fn round_parts(
        self,
        from: *const f32,
        parts: usize,
        to: *mut u16,
        part_len: usize,
        rows: usize,
        largest: u16,
    ) -> u16 {
        // SAFETY: the caller's promise; an engine is only made where the CPU has its instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::round_parts(from, parts, to, part_len, rows, largest),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::round_parts(from, parts, to, part_len, rows, largest),
                #[cfg(test)]
                Self::Plain => (0..parts).fold(largest, |largest, part| {
                    plain::round(from.add(part * STEP), 1, to.add(part * part_len), rows, largest)
                }),
            }
        }
    }

    /// The sums of a tile and a panel: the products, added to what `sums` says.
    ///
    /// # Safety
    /// What `tile` and `sums` describe is readable, and the sums are writable.
    #[inline(always)]
    pub(super) unsafe fn multiply(self, tile: Tile<'_>, sums: Sums) {
        // SAFETY: the caller's promise; an engine is only made where the CPU has its instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::multiply(tile, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::multiply(tile, sums),
                #[cfg(test)]
                Self::Plain => plain::multiply(tile, sums),
            }
        }
    }
    /// ReLU of `rows` rows of [`PANEL`] sums, `stride` apart.
    ///
    /// # Safety
    /// They are readable and writable.
    #[inline(always)]
    pub(super) unsafe fn relu(self, to: *mut f32, stride: usize, rows: usize) {
        // SAFETY: the caller's promise; an engine is only made where the CPU has its instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::relu(to, stride, rows),
                #[cfg(any(test, not(target_arch = "x86_64")))]
                _ => product::relu(to, stride, rows),
            }
        }
    }
}
