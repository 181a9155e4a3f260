//! Quantising on aarch64. `FCVTNS` rounds to the nearest integer and makes 0 of NaN, and narrowing saturates: what the rule
//! asks for.

use core::arch::aarch64::{
    int16x8_t, vcombine_s16, vcvtnq_s32_f32, vdupq_n_f32, vdupq_n_s16, vld1q_f32, vmaxnmq_f32, vmulq_f32,
    vqaddq_s16, vqmovn_s16, vqmovn_s32, vqmovun_s16, vst1_s8, vst1_u8,
};

use super::quantization::{NanAs, Quantizer};

/// Values taken at a time.
const AT_ONCE: usize = 8;

/// Quantises whole vectors of `from`, less 128, and gives the number of values that it took.
pub(super) fn quantize_less_128(quantizer: Quantizer, from: &[f32], to: &mut [i8]) -> usize {
    let zero_point = i16::from(quantizer.zero_point) - 128;
    let (from, to) = (from.as_chunks::<AT_ONCE>().0, to.as_chunks_mut::<AT_ONCE>().0);
    for (from, to) in from.iter().zip(to) {
        // SAFETY: NEON is what this is compiled for; a chunk is as many values as are written.
        unsafe { vst1_s8(to.as_mut_ptr(), vqmovn_s16(levels(quantizer, zero_point, from))) };
    }
    from.len() * AT_ONCE
}

/// Quantises whole vectors of `from`, and gives the number of values that it took.
pub(super) fn quantize(quantizer: Quantizer, from: &[f32], to: &mut [u8]) -> usize {
    let zero_point = i16::from(quantizer.zero_point);
    let (from, to) = (from.as_chunks::<AT_ONCE>().0, to.as_chunks_mut::<AT_ONCE>().0);
    for (from, to) in from.iter().zip(to) {
        // SAFETY: as above.
        unsafe { vst1_u8(to.as_mut_ptr(), vqmovun_s16(levels(quantizer, zero_point, from))) };
    }
    from.len() * AT_ONCE
}

/// Steps from 0, rounded, plus `zero_point`.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn levels(quantizer: Quantizer, zero_point: i16, from: &[f32; AT_ONCE]) -> int16x8_t {
    // SAFETY: the caller's promise; four values are readable at either place.
    unsafe {
        let steps = |values: *const f32| {
            let steps = vmulq_f32(vld1q_f32(values), vdupq_n_f32(quantizer.inverse));
            let steps = match quantizer.nan {
                NanAs::Zero => steps,
                // FMAXNM makes the number of a number and NaN.
                NanAs::Least => vmaxnmq_f32(steps, vdupq_n_f32(-f32::from(quantizer.zero_point))),
            };
            vqmovn_s32(vcvtnq_s32_f32(steps))
        };
        let steps = vcombine_s16(steps(from.as_ptr()), steps(from.as_ptr().add(4)));
        vqaddq_s16(steps, vdupq_n_s16(zero_point))
    }
}
