//! 128-bit registers: 4 lanes.

mod interleave;
mod lanes;

use core::arch::{
    aarch64::{
        float32x4_t, vaddq_f32, vbslq_f32, vcgtq_f32, vcltq_f32, vcltzq_f32, vdupq_n_f32, vfmaq_f32,
        vld1_u16, vld1q_f32, vmaxq_f32, vmulq_f32, vreinterpretq_f32_u32, vshll_n_u16, vst1q_f32, vsubq_f32,
    },
    asm,
};

use super::Vector;
use crate::product::ROWS;
#[cfg(target_feature = "neon")]
pub(super) use interleave::interleave_four;

// SAFETY: 128 bits are 4 f32. That the CPU has NEON is what each caller promises.
unsafe impl Vector for float32x4_t {
    const LANES: usize = 4;
    const PANEL: usize = 4;
    // A vector of values for each of six rows would leave two registers for weights, which takes more loads and more waiting.
    const STRIDED_ROWS: usize = 5;
    const INTERLEAVED: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; 4 values are readable.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u16) -> Self {
        // FCVTL is part of NEON, but its intrinsic asks for arithmetic in f16.
        // SAFETY: the caller's promise; 4 values are readable. Nothing but the named registers is touched.
        unsafe {
            let values: float32x4_t;
            asm!("fcvtl {values:v}.4s, {bits:v}.4h", values = lateout(vreg) values, bits = in(vreg) vld1_u16(from),
                options(pure, nomem, nostack, preserves_flags));
            values
        }
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u16) -> Self {
        // SAFETY: the caller's promise; 4 values are readable.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise; 4 values are writable.
        unsafe { vst1q_f32(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vmulq_f32(self, factor) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vfmaq_f32(addend, self, factor) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // FMAX would give NaN for NaN and +0 for two zeros: compare and select instead.
        // SAFETY: the caller's promise.
        unsafe { vbslq_f32(vcgtq_f32(value, self), value, self) }
    }

    #[inline(always)]
    unsafe fn max_of_numbers(self, value: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vmaxq_f32(self, value) }
    }

    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        // As `max`.
        // SAFETY: the caller's promise.
        unsafe { vbslq_f32(vcltq_f32(value, self), value, self) }
    }

    #[inline(always)]
    unsafe fn positive(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { vbslq_f32(vcltzq_f32(self), vdupq_n_f32(0.0), self) }
    }

    #[inline(always)]
    unsafe fn multiply_rows<const M: usize, const N: usize>(
        sums: &mut [[Self; N]; M],
        a: *const f32,
        stride: usize,
        k: usize,
        weights: *const f32,
        next: *const f32,
    ) -> usize {
        let k = k / lanes::AT_ONCE * lanes::AT_ONCE;
        if N != 4 || M > Self::STRIDED_ROWS || k == 0 {
            return 0;
        }
        let weights = lanes::Weights { data: weights, next };
        // SAFETY: the caller's promise, and the conditions above.
        unsafe { lanes::multiply_rows::<M>(sums.as_mut_ptr().cast(), a, stride, k, weights) };
        k
    }

    #[inline(always)]
    unsafe fn multiply_packed<const M: usize, const N: usize>(
        sums: &mut [[Self; N]; M],
        a: *const f32,
        k: usize,
        weights: *const f32,
        next: *const f32,
    ) -> usize {
        let k = k / lanes::AT_ONCE * lanes::AT_ONCE;
        if N != 4 || M > ROWS || k == 0 {
            return 0;
        }
        let weights = lanes::Weights { data: weights, next };
        // SAFETY: as above.
        unsafe { lanes::multiply_packed::<M>(sums.as_mut_ptr().cast(), a, k, weights) };
        k
    }

    #[inline(always)]
    unsafe fn multiply_vectors<const M: usize, const N: usize>(
        sums: &mut [[Self; N]; M],
        a: *const f32,
        k: usize,
        weights: *const f32,
        next: *const f32,
    ) -> usize {
        let k = k / lanes::AT_ONCE * lanes::AT_ONCE;
        if N != 4 || M > Self::STRIDED_ROWS || k == 0 {
            return 0;
        }
        let weights = lanes::Weights { data: weights, next };
        // SAFETY: as above.
        unsafe { lanes::multiply_vectors::<M>(sums.as_mut_ptr().cast(), a, k, weights) };
        k
    }
}
