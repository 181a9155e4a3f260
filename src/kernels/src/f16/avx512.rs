//! x86-64 with AVX512-FP16.
//!
//! A tile's sums are a register for each row. A value of `K` is broadcast as it is read: the CPU does that on the way, so
//! that a product is one instruction.

use core::arch::x86_64::{
    _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_extract_epi16, _mm_max_epu16, _mm_minpos_epu16,
    _mm_set1_epi16, _mm_storeu_si128, _mm_xor_si128, _mm256_and_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_max_epu16, _mm256_set1_epi16, _mm512_castph_si512, _mm512_castsi512_ph,
    _mm512_castsi512_si256, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_extracti64x4_epi64, _mm512_fmadd_ph,
    _mm512_fmadd_ps, _mm512_loadu_epi16, _mm512_loadu_ps, _mm512_set1_epi16, _mm512_set1_ps,
    _mm512_setzero_ph, _mm512_storeu_ps,
};

use super::{
    engine::{PANEL, STEP, Sums, Tile},
    product,
};

/// As `Engine::multiply`.
///
/// # Safety
/// The CPU has the instructions. What `tile` describes is readable, and its sums are writable.
pub(super) unsafe fn multiply(tile: Tile<'_>, sums: Sums) {
    macro_rules! by_rows {
        ($($rows:literal)+) => {
            match tile.rows {
                // SAFETY: the caller's promises.
                $($rows => unsafe { multiply_rows::<$rows>(tile, sums) },)+
                _ => {}
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24);
}

/// # Safety
/// As [`multiply`], of a tile of `ROWS` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16")]
unsafe fn multiply_rows<const ROWS: usize>(tile: Tile<'_>, sums: Sums) {
    debug_assert!(tile.rows == ROWS && tile.run_steps > 0);
    let Tile { mut values, mut weights, steps, run_steps, inverses, .. } = tile;
    let Sums { to, stride, mut from, mut from_stride } = sums;
    let mut left = steps;
    while left > 0 {
        let run = left.min(run_steps);
        left -= run;
        let mut of_run = [_mm512_setzero_ph(); ROWS];
        for _ in 0..2 * run {
            // SAFETY: the caller's promise: a step has two times eight values of each row, and as many rows of weights.
            unsafe {
                for k in 0..8 {
                    let weights = _mm512_castsi512_ph(_mm512_loadu_epi16(weights.add(k * PANEL).cast()));
                    for (row, sum) in of_run.iter_mut().enumerate() {
                        let value = _mm512_set1_epi16(values.add(8 * row + k).cast::<i16>().read());
                        *sum = _mm512_fmadd_ph(_mm512_castsi512_ph(value), weights, *sum);
                    }
                }
                (values, weights) = (values.add(8 * ROWS), weights.add(8 * PANEL));
            }
        }
        for (row, (sum, &inverse)) in of_run.into_iter().zip(inverses).enumerate() {
            let (sum, inverse) = (_mm512_castph_si512(sum), _mm512_set1_ps(inverse));
            let halves = [
                _mm512_cvtph_ps(_mm512_castsi512_si256(sum)),
                _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(sum)),
            ];
            for (half, sum) in halves.into_iter().enumerate() {
                // SAFETY: the caller's promise: two times 16 sums of each row.
                unsafe {
                    let before = _mm512_loadu_ps(from.add(row * from_stride + half * 16));
                    _mm512_storeu_ps(to.add(row * stride + half * 16), _mm512_fmadd_ps(sum, inverse, before));
                }
            }
        }
        (from, from_stride) = (to.cast_const(), stride);
    }
}

/// As `Engine::relu`.
///
/// # Safety
/// The CPU has the instructions; the sums are readable and writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16")]
pub(super) unsafe fn relu(to: *mut f32, stride: usize, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe { product::relu(to, stride, rows) }
}

/// As `Engine::round_parts`.
///
/// # Safety
/// The CPU has the instructions; the steps are readable and writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512fp16")]
pub(super) unsafe fn round_parts(
    from: *const f32,
    parts: usize,
    to: *mut u16,
    part_len: usize,
    rows: usize,
    largest: u16,
) -> u16 {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let magnitude = _mm256_set1_epi16(0x7fff);
    let mut most = _mm256_set1_epi16(largest.cast_signed());
    for part in 0..parts {
        // SAFETY: the caller's promise: a turn reads a step and writes its two halves.
        unsafe {
            let bits = _mm512_cvtps_ph::<NEAREST>(_mm512_loadu_ps(from.add(part * STEP)));
            let to = to.add(part * part_len);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bits));
            _mm_storeu_si128(to.add(8 * rows).cast(), _mm256_extracti128_si256::<1>(bits));
            most = _mm256_max_epu16(most, _mm256_and_si256(bits, magnitude));
        }
    }
    let most = _mm_max_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256::<1>(most));
    // The instruction finds the least.
    let least = _mm_minpos_epu16(_mm_xor_si128(most, _mm_set1_epi16(-1)));
    !(_mm_extract_epi16::<0>(least) as u16)
}
