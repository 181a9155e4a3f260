//! 256-bit registers: 8 lanes.

use core::arch::x86_64::{
    __m256, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm256_add_ps,
    _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps, _mm256_stream_ps, _mm256_sub_ps,
};

use super::Vector;

// SAFETY: 256 bits are 8 f32. That the CPU has AVX2, FMA and F16C is what each caller promises.
unsafe impl Vector for __m256 {
    const LANES: usize = 8;
    const PANEL: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; 8 values are readable, and no alignment is asked for.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u16) -> Self {
        // SAFETY: the caller's promise; 8 values are readable, and no alignment is asked for.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise; 8 values are writable, and no alignment is asked for.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's promise; 8 values are writable, at an aligned address.
        unsafe { _mm256_stream_ps(to, self) }
    }

    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: part of SSE, which every x86-64 has; it is a hint and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_far(from: *const f32) {
        // SAFETY: part of SSE, which every x86-64 has; it is a hint and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn fence() {
        // SAFETY: part of SSE, which every x86-64 has.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_ps(self, factor) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // MAXPS gives its second operand when either is NaN or both are zeros.
        // SAFETY: the caller's promise.
        unsafe { _mm256_max_ps(value, self) }
    }

    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        // MINPS gives its second operand when either is NaN or both are zeros.
        // SAFETY: the caller's promise.
        unsafe { _mm256_min_ps(value, self) }
    }

    #[inline(always)]
    unsafe fn positive(self) -> Self {
        // NaN and -0 come second: see `max`.
        // SAFETY: the caller's promise.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), self) }
    }
}
