//! The arithmetic of `engine` without its instructions, bit for bit.

use frcnn_core::{f16_from_f32, f16_to_f32};

use super::engine::{PANEL, STEP, Sums, Tile};

/// `a b + c`, rounded once.
pub(super) fn mul_add(a: u16, b: u16, c: u16) -> u16 {
    let [a, b, c] = [a, b, c].map(|bits| f64::from(f16_to_f32(bits)));
    // The product is exact. What the sum leaves out is exact, too (Knuth's TwoSum).
    let product = a * b;
    let sum = product + c;
    let of_c = sum - product;
    let rest = (product - (sum - of_c)) + (c - of_c);
    // Rounded to odd in between, it is rounded but once in effect (Boldo and Melquiond, 2008).
    let bits = sum.to_bits();
    let odd = match rest {
        rest if rest == 0.0 || !rest.is_finite() => sum,
        rest if (rest > 0.0) == (sum > 0.0) => f64::from_bits(bits | 1),
        _ => f64::from_bits((bits - 1) | 1),
    };
    let narrow = odd as f32;
    let narrow = match f64::from(narrow) {
        widened if widened == odd || !widened.is_finite() => narrow,
        widened if widened.abs() < odd.abs() => f32::from_bits(narrow.to_bits() | 1),
        _ => f32::from_bits((narrow.to_bits() - 1) | 1),
    };
    f16_from_f32(narrow)
}

/// # Safety
/// As `Engine::round`.
pub(super) unsafe fn round(
    from: *const f32,
    steps: usize,
    to: *mut u16,
    rows: usize,
    mut largest: u16,
) -> u16 {
    for k in 0..steps * STEP {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = f16_from_f32(*from.add(k));
            to.add(k / 8 * 8 * rows + k % 8).write(bits);
            largest = largest.max(bits & 0x7fff);
        }
    }
    largest
}

/// # Safety
/// As `Engine::multiply`.
pub(super) unsafe fn multiply(tile: Tile<'_>, sums: Sums) {
    let Tile { values, rows, weights, steps, run_steps, inverses } = tile;
    for (row, column) in (0..rows * PANEL).map(|i| (i / PANEL, i % PANEL)) {
        // SAFETY: the caller's promise.
        unsafe {
            let product = |sum, k| {
                let value = *values.add((k / 8 * rows + row) * 8 + k % 8);
                mul_add(value, *weights.add(k * PANEL + column), sum)
            };
            let end = steps * STEP;
            let run_len = run_steps * STEP;
            let runs =
                (0..end).step_by(run_len).map(|first| (first..end.min(first + run_len)).fold(0, product));
            let from = *sums.from.add(row * sums.from_stride + column);
            let sum = runs.fold(from, |sum, run| libm::fmaf(f16_to_f32(run), inverses[row], sum));
            sums.to.add(row * sums.stride + column).write(sum);
        }
    }
}
