//! Rows interleaved: the first value of each, then the second of each, and so on.

use core::arch::aarch64::{
    float32x4_t, float32x4x2_t, float32x4x3_t, float32x4x4_t, vld1q_f32, vreinterpretq_f32_f64,
    vreinterpretq_f64_f32, vst1q_f32, vst1q_lane_f32, vst1q_lane_f64, vst2q_f32, vst3q_f32, vst4q_f32,
    vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64, vzip1q_f32, vzip2q_f32,
};

/// Four values of each of `M` rows, `stride` apart, as `[4, M]`.
///
/// # Safety
/// The CPU has NEON, `M` is 1 to 6, four values of each row are readable at `from` and `4 * M` are writable at `to`.
#[inline(always)]
pub(crate) unsafe fn interleave_four<const M: usize>(from: *const f32, stride: usize, to: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        let row = |i: usize| vld1q_f32(from.add(i * stride));
        match M {
            1 => vst1q_f32(to, row(0)),
            2 => vst2q_f32(to, float32x4x2_t(row(0), row(1))),
            3 => vst3q_f32(to, float32x4x3_t(row(0), row(1), row(2))),
            4 => vst4q_f32(to, float32x4x4_t(row(0), row(1), row(2), row(3))),
            5 => interleave_five([row(0), row(1), row(2), row(3), row(4)], to),
            _ => interleave_six([row(0), row(1), row(2), row(3), row(4), row(5)], to),
        }
    }
}

/// # Safety
/// The CPU has NEON, and 20 values are writable at `to`.
#[inline(always)]
unsafe fn interleave_five([a, b, c, d, e]: [float32x4_t; 5], to: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        for (k, four) in transposed([a, b, c, d]).into_iter().enumerate() {
            vst1q_f32(to.add(5 * k), four);
        }
        vst1q_lane_f32::<0>(to.add(4), e);
        vst1q_lane_f32::<1>(to.add(9), e);
        vst1q_lane_f32::<2>(to.add(14), e);
        vst1q_lane_f32::<3>(to.add(19), e);
    }
}

/// # Safety
/// The CPU has NEON, and 24 values are writable at `to`.
#[inline(always)]
unsafe fn interleave_six([a, b, c, d, e, f]: [float32x4_t; 6], to: *mut f32) {
    // SAFETY: the caller's promises. Pairs are stored as an f64 has room for them, of which no alignment is asked.
    unsafe {
        for (k, four) in transposed([a, b, c, d]).into_iter().enumerate() {
            vst1q_f32(to.add(6 * k), four);
        }
        let (low, high) = (vreinterpretq_f64_f32(vzip1q_f32(e, f)), vreinterpretq_f64_f32(vzip2q_f32(e, f)));
        vst1q_lane_f64::<0>(to.add(4).cast(), low);
        vst1q_lane_f64::<1>(to.add(10).cast(), low);
        vst1q_lane_f64::<0>(to.add(16).cast(), high);
        vst1q_lane_f64::<1>(to.add(22).cast(), high);
    }
}

/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn transposed([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let pairs = |a, b| (vreinterpretq_f64_f32(vtrn1q_f32(a, b)), vreinterpretq_f64_f32(vtrn2q_f32(a, b)));
        let ((ab_even, ab_odd), (cd_even, cd_odd)) = (pairs(a, b), pairs(c, d));
        [
            vtrn1q_f64(ab_even, cd_even),
            vtrn1q_f64(ab_odd, cd_odd),
            vtrn2q_f64(ab_even, cd_even),
            vtrn2q_f64(ab_odd, cd_odd),
        ]
        .map(|four| vreinterpretq_f32_f64(four))
    }
}
