//! Quantising on aarch64. `FCVTNS` rounds to the nearest integer, and narrowing saturates: what the rule asks for.
//!
//! Products of neighbours are added up beside it: where the sum is finite, so are all of them.

use core::arch::aarch64::{
    float32x4_t, int16x8_t, vaddq_f32, vaddvq_f32, vcombine_s8, vcombine_s16, vcombine_u8, vcvtnq_s32_f32,
    vdupq_n_f32, vdupq_n_s16, vfmaq_f32, vld1q_f32, vmaxnmq_f32, vmulq_f32, vqaddq_s16, vqmovn_s16,
    vqmovn_s32, vqmovun_s16, vst1q_s8, vst1q_u8,
};

use super::quantization::Quantizer;

/// Values taken at a time.
const AT_ONCE: usize = 16;

/// Quantises whole vectors of `from`, less 128, as [`RowValue::quantize`](super::rows::RowValue::quantize). What it makes of NaN
/// is any value.
pub(super) fn quantize_less_128(quantizer: Quantizer, from: &[f32], to: &mut [i8]) -> (usize, bool) {
    let levels = Levels { quantizer, offset: 128 };
    let (from, to) = (from.as_chunks::<AT_ONCE>().0, to.as_chunks_mut::<AT_ONCE>().0);
    // SAFETY: NEON is what this is compiled for; a chunk is as many values as are read and written.
    unsafe {
        let mut sums = [vdupq_n_f32(0.0); 2];
        for (from, to) in from.iter().zip(to) {
            let [a, b] = levels.of(from, &mut sums, |steps| steps);
            vst1q_s8(to.as_mut_ptr(), vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)));
        }
        (from.len() * AT_ONCE, is_finite(sums))
    }
}

/// Quantises whole vectors of `from`, as [`RowValue::quantize`](super::rows::RowValue::quantize).
pub(super) fn quantize(quantizer: Quantizer, from: &[f32], to: &mut [u8]) -> (usize, bool) {
    let levels = Levels { quantizer, offset: 0 };
    let (from, to) = (from.as_chunks::<AT_ONCE>().0, to.as_chunks_mut::<AT_ONCE>().0);
    // SAFETY: as above.
    unsafe {
        let (mut sums, least) = ([vdupq_n_f32(0.0); 2], vdupq_n_f32(-f32::from(quantizer.zero_point)));
        for (from, to) in from.iter().zip(to) {
            // FMAXNM makes the number of a number and NaN.
            let [a, b] = levels.of(from, &mut sums, |steps| vmaxnmq_f32(steps, least));
            vst1q_u8(to.as_mut_ptr(), vcombine_u8(vqmovun_s16(a), vqmovun_s16(b)));
        }
        (from.len() * AT_ONCE, is_finite(sums))
    }
}

/// What makes steps of values.
#[derive(Clone, Copy)]
struct Levels {
    quantizer: Quantizer,
    /// What is taken from the zero point.
    offset: i16,
}

impl Levels {
    /// Steps from 0, each through `change`, rounded, plus the zero point. Adds products of the values to `sums`.
    ///
    /// # Safety
    /// The CPU has NEON.
    #[inline(always)]
    unsafe fn of(
        self,
        from: &[f32; AT_ONCE],
        sums: &mut [float32x4_t; 2],
        change: impl Fn(float32x4_t) -> float32x4_t,
    ) -> [int16x8_t; 2] {
        let Self { quantizer, offset } = self;
        // SAFETY: the caller's promise; four values are readable at each place.
        unsafe {
            let steps = |values: float32x4_t| {
                let steps = vmulq_f32(values, vdupq_n_f32(quantizer.inverse));
                vqmovn_s32(vcvtnq_s32_f32(change(steps)))
            };
            let zero_point = vdupq_n_s16(i16::from(quantizer.zero_point) - offset);
            let mut half = |i: usize| {
                let [a, b] = [0, 4].map(|lane| vld1q_f32(from.as_ptr().add(8 * i + lane)));
                sums[i] = vfmaq_f32(sums[i], a, b);
                vqaddq_s16(vcombine_s16(steps(a), steps(b)), zero_point)
            };
            [half(0), half(1)]
        }
    }
}

/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn is_finite([a, b]: [float32x4_t; 2]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { vaddvq_f32(vaddq_f32(a, b)).is_finite() }
}
