//! 512-bit registers: 16 channels at a time.

use core::arch::x86_64::{__m512, _mm512_loadu_ps, _mm512_max_ps, _mm512_set1_ps, _mm512_storeu_ps};

use super::{
    FeatureMap,
    generic::{Edges, PoolRoi, Vector, pool_roi},
};
use crate::isa::Avx512;

// SAFETY: 512 bits are 16 f32.
unsafe impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the CPU has AVX512F, says the caller.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above, and 16 values are readable; no alignment is asked for.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above, and 16 values are writable; no alignment is asked for.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // MAXPS gives its second operand when either is NaN or both are zeros.
        // SAFETY: the CPU has AVX512F, says the caller.
        unsafe { _mm512_max_ps(value, self) }
    }
}

#[target_feature(enable = "avx512f")]
fn pool_roi_avx512(map: FeatureMap<'_>, edges: &Edges, out: &mut [f32]) {
    // SAFETY: this function is compiled for AVX512F, so its caller has seen to it.
    unsafe { pool_roi::<__m512>(map, edges, out) }
}

/// `None` when the CPU lacks AVX512F.
pub(super) fn kernel() -> Option<PoolRoi> {
    let _proof = Avx512::new()?;
    // SAFETY: the line above.
    Some(|map, edges, out| unsafe { pool_roi_avx512(map, edges, out) })
}
