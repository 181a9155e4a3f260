//! Which instructions compute a product.
//!
//! A sum is one chain of additions in the order of `K`: how work is shared among threads changes no bit. GEMV-like products
//! are summed in the same order, in f32.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{
    Bf16Isa,
    layout::{BLOCK, Columns, Line, Panel, Rows, STEP, Target},
};
#[cfg(target_arch = "x86_64")]
use crate::amx::Tiles;

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
                Self::Avx512Bf16 => {
                    debug_assert!(rows.lo.is_none(), "split weights are only packed for AMX");
                    avx512::multiply(rows, panel.lines, sums, stride, fresh);
                }
                Self::Amx(tiles) => match rows.lo {
                    Some(lo) => tiles.multiply_split(rows, lo, panel, sums, stride, fresh),
                    None => tiles.multiply(rows, panel, sums, stride, fresh),
                },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        match *self {}
    }

    /// The first [`GEMV_ROWS`] rows of sums of f32 features and a split panel, whose hi and lo halves are added up again:
    /// products are f32's. Added to what was there unless `fresh`. Rows of sums begin `stride` values apart.
    ///
    /// # Safety
    /// The panel is readable for each step, [`GEMV_ROWS`] rows of 32 sums writable.
    pub(super) unsafe fn gemv(
        &self,
        columns: &Columns,
        panel: *const Line,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        // SAFETY: the caller's promise; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::gemv(columns, panel, sums, stride, fresh);
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

    /// As [`Engine::round_planes`] for the 32 values from `from` on, of which `len` are read and the rest become 0. These
    /// are the hi halves; the lo halves, what rounding leaves, go to `lo` values behind.
    ///
    /// # Safety
    /// `len` values are readable, and 32 writable, also `lo` values on.
    pub(super) unsafe fn round_step(&self, from: *const f32, len: usize, to: *mut u16, lo: Option<usize>) {
        // SAFETY: the caller's promises; an engine is only made where the CPU has AVX512-BF16.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            avx512::round_step(from, len, to, lo);
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
