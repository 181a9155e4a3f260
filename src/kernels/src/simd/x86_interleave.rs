//! Rows interleaved on x86-64: the first value of each, then the second of each, and so on. With the instructions that every such
//! CPU has: it is stores that count, and a vector of four rows is one.

use core::arch::x86_64::{
    __m128, _mm_castps_pd, _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_shuffle_ps, _mm_store_sd,
    _mm_store_ss, _mm_storeh_pd, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
};

/// Four values of each of `M` rows, `stride` apart, as `[4, M]`.
///
/// # Safety
/// `M` is 1 to 6, four values of each row are readable at `from` and `4 * M` are writable at `to`.
#[inline(always)]
pub(super) unsafe fn interleave_four<const M: usize>(from: *const f32, stride: usize, to: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        let row = |i: usize| _mm_loadu_ps(from.add(i * stride));
        match M {
            1 => _mm_storeu_ps(to, row(0)),
            2 => two::<2>([row(0), row(1)], to),
            3 => {
                two::<3>([row(0), row(1)], to);
                one::<3>(row(2), to.add(2));
            }
            4 => four::<4>([row(0), row(1), row(2), row(3)], to),
            5 => {
                four::<5>([row(0), row(1), row(2), row(3)], to);
                one::<5>(row(4), to.add(4));
            }
            _ => {
                four::<6>([row(0), row(1), row(2), row(3)], to);
                two::<6>([row(4), row(5)], to.add(4));
            }
        }
    }
}

/// Four values of a row, `STEP` apart.
///
/// # Safety
/// They are writable.
#[inline(always)]
unsafe fn one<const STEP: usize>(a: __m128, to: *mut f32) {
    // SAFETY: the caller's promise; every x86-64 has SSE2.
    unsafe {
        let high = _mm_movehl_ps(a, a);
        _mm_store_ss(to, a);
        _mm_store_ss(to.add(STEP), _mm_shuffle_ps::<1>(a, a));
        _mm_store_ss(to.add(2 * STEP), high);
        _mm_store_ss(to.add(3 * STEP), _mm_shuffle_ps::<1>(high, high));
    }
}

/// Pairs of values of two rows, `STEP` apart.
///
/// # Safety
/// As [`one`].
#[inline(always)]
unsafe fn two<const STEP: usize>([a, b]: [__m128; 2], to: *mut f32) {
    // SAFETY: the caller's promise. A pair has the room of an f64, of which no alignment is asked.
    unsafe {
        let (low, high) = (_mm_castps_pd(_mm_unpacklo_ps(a, b)), _mm_castps_pd(_mm_unpackhi_ps(a, b)));
        _mm_store_sd(to.cast(), low);
        _mm_storeh_pd(to.add(STEP).cast(), low);
        _mm_store_sd(to.add(2 * STEP).cast(), high);
        _mm_storeh_pd(to.add(3 * STEP).cast(), high);
    }
}

/// Values of four rows, `STEP` apart.
///
/// # Safety
/// As [`one`].
#[inline(always)]
unsafe fn four<const STEP: usize>([a, b, c, d]: [__m128; 4], to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        _mm_storeu_ps(to, _mm_movelh_ps(ab, cd));
        _mm_storeu_ps(to.add(STEP), _mm_movehl_ps(cd, ab));
        let (ab, cd) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        _mm_storeu_ps(to.add(2 * STEP), _mm_movelh_ps(ab, cd));
        _mm_storeu_ps(to.add(3 * STEP), _mm_movehl_ps(cd, ab));
    }
}
