//! 128-bit registers: 4 channels at a time.

use core::arch::aarch64::{float32x4_t, vbslq_f32, vcgtq_f32, vdupq_n_f32, vld1q_f32, vst1q_f32};

use super::{
    FeatureMap,
    generic::{Edges, PoolRoi, Vector, pool_roi},
};
use crate::isa::Neon;

// SAFETY: 128 bits are 4 f32.
unsafe impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the CPU has NEON, says the caller.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above, and 4 values are readable.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above, and 4 values are writable.
        unsafe { vst1q_f32(to, self) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // FMAX would give NaN for NaN and +0 for two zeros: compare and select instead.
        // SAFETY: the CPU has NEON, says the caller.
        unsafe { vbslq_f32(vcgtq_f32(value, self), value, self) }
    }
}

#[target_feature(enable = "neon")]
fn pool_roi_neon(map: FeatureMap<'_>, edges: &Edges, out: &mut [f32]) {
    // SAFETY: this function is compiled for NEON, so its caller has seen to it.
    unsafe { pool_roi::<float32x4_t>(map, edges, out) }
}

/// `None` when the CPU lacks NEON.
pub(super) fn kernel() -> Option<PoolRoi> {
    let _proof = Neon::new()?;
    // SAFETY: the line above.
    Some(|map, edges, out| unsafe { pool_roi_neon(map, edges, out) })
}
