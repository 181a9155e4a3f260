//! 256-bit registers: 8 channels at a time.

use core::arch::x86_64::{__m256, _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps, _mm256_storeu_ps};

use super::{
    FeatureMap,
    generic::{Edges, PoolRoi, Vector, pool_roi},
};
use crate::isa::Avx2;

// SAFETY: 256 bits are 8 f32.
unsafe impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the CPU has AVX2, says the caller.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above, and 8 values are readable; no alignment is asked for.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above, and 8 values are writable; no alignment is asked for.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // MAXPS gives its second operand when either is NaN or both are zeros.
        // SAFETY: the CPU has AVX2, says the caller.
        unsafe { _mm256_max_ps(value, self) }
    }
}

#[target_feature(enable = "avx2")]
fn pool_roi_avx2(map: FeatureMap<'_>, edges: &Edges, out: &mut [f32]) {
    // SAFETY: this function is compiled for AVX2, so its caller has seen to it.
    unsafe { pool_roi::<__m256>(map, edges, out) }
}

/// `None` when the CPU lacks AVX2.
pub(super) fn kernel() -> Option<PoolRoi> {
    let _proof = Avx2::new()?;
    // SAFETY: the line above.
    Some(|map, edges, out| unsafe { pool_roi_avx2(map, edges, out) })
}
