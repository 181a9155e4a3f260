//! Tiles of sums in which values are lanes: one load brings four values, and `fmla v.4s, v.4s, v.s[lane]` multiplies a
//! vector of weights by one of them. A tile of 5 x 4 vectors so takes 5 loads of values for 80 FMAs, and not 20.
//!
//! ```text
//!   v0 to v23    sums, four vectors for each of up to six rows
//!   v24 to v27   values; with five rows v23, too
//!   v28 to v31   weights of one `k`
//! ```
//!
//! It is assembly because the compiler undoes the plan: it loads early, has too few registers then, and moves sums through
//! memory. Loads stand together where they can, for in-order cores (Cortex-A53, A55) wait for each group of them once.
//! Sums are added up in the order of `k`, as everywhere. `targets/cycles` says how long a turn of the loops takes.

use core::arch::{aarch64::float32x4_t, asm};

/// Values of `K` that are multiplied at a time: the lanes of a vector. A turn of the loops is two times as many.
pub(super) const AT_ONCE: usize = 4;

/// Weights, four vectors for each `k`, and what is needed after them.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) data: *const f32,
    /// Prefetched into L2, a line with each turn. Need not be readable.
    pub(super) next: *const f32,
}

/// A vector of weights times each row's value, a register and a lane of it, added to the first of these sums.
macro_rules! column {
    ($weights:literal, [$sum:literal $($sums:literal)*], $value:literal $lane:literal $($rest:literal)*) => {
        concat!(
            "fmla v", $sum, ".4s, v", $weights, ".4s, v", $value, ".s[", $lane, "]\n",
            column!($weights, [$($sums)*], $($rest)*),
        )
    };
    ($weights:literal, [$($sums:literal)*],) => { "" };
}

/// One `k`: the next four vectors of weights times each row's value.
macro_rules! step {
    ($($value:literal)+) => {
        concat!(
            "ld1 {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{weights}], #64\n",
            column!(28, [0 4 8 12 16 20], $($value)+),
            column!(29, [1 5 9 13 17 21], $($value)+),
            column!(30, [2 6 10 14 18 22], $($value)+),
            column!(31, [3 7 11 15 19 23], $($value)+),
        )
    };
}

/// Four `k` of rows, which are the lanes of each row's register.
macro_rules! four_of_rows {
    ($($value:literal $row:literal),+) => {
        concat!(
            $("ldr q", $value, ", [{a", $row, "}], #16\n",)+
            step!($($value 0)+), step!($($value 1)+), step!($($value 2)+), step!($($value 3)+),
        )
    };
}

/// The same of rows whose registers one text loads.
macro_rules! four_of_vectors {
    ($load:literal; $($value:literal)+) => {
        concat!($load, "\n", step!($($value 0)+), step!($($value 1)+), step!($($value 2)+), step!($($value 3)+))
    };
}

/// The products of `k` values, a multiple of four, by a text for four of them. Said of it: how many rows it has, which
/// registers it overwrites besides sums and weights, and its operands.
macro_rules! multiply {
    (1 row, $($rest:tt)*) => { multiply!(@ ["v0" 0 "v1" 1 "v2" 2 "v3" 3] $($rest)*) };
    (2 rows, $($rest:tt)*) => { multiply!(1 row, @ ["v4" 4 "v5" 5 "v6" 6 "v7" 7] $($rest)*) };
    (3 rows, $($rest:tt)*) => { multiply!(2 rows, @ ["v8" 8 "v9" 9 "v10" 10 "v11" 11] $($rest)*) };
    (4 rows, $($rest:tt)*) => { multiply!(3 rows, @ ["v12" 12 "v13" 13 "v14" 14 "v15" 15] $($rest)*) };
    (5 rows, $($rest:tt)*) => { multiply!(4 rows, @ ["v16" 16 "v17" 17 "v18" 18 "v19" 19] $($rest)*) };
    (6 rows, $($rest:tt)*) => { multiply!(5 rows, @ ["v20" 20 "v21" 21 "v22" 22 "v23" 23] $($rest)*) };
    (@ [$($a:tt)*] @ [$($b:tt)*] $($rest:tt)*) => { multiply!(@ [$($a)* $($b)*] $($rest)*) };
    (
        @ [$($register:tt $i:literal)*] $sums:ident, $k:ident, $weights:ident,
        [$($overwritten:tt)*], [$($operands:tt)*], $($text:expr),+ $(,)?
    ) => {
        asm!(
            "cbz {left}, 3f",
            "2:",
            $($text,)+
            $($text,)+
            "prfm pldl2keep, [{next}, {left}]",
            "adds {left}, {left}, #64",
            "b.ne 2b",
            "3:",
            "tbz {k}, #2, 4f",
            $($text,)+
            "4:",
            k = in(reg) $k,
            weights = inout(reg) $weights.data => _,
            // One past the lines to prefetch, one for each turn, and minus the bytes up to there.
            next = in(reg) $weights.next.wrapping_byte_add($k / 8 * 64),
            left = inout(reg) ($k / 8 * 64).wrapping_neg() => _,
            $($operands)*
            $(inout($register) *$sums.add($i),)*
            $(out($overwritten) _,)*
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, readonly),
        )
    };
}

/// Adds the products of `k` values, a multiple of [`AT_ONCE`], of each of `M` rows, `stride` apart, to `M * 4` vectors of sums.
///
/// # Safety
/// `M` is 1 to 5. Values and weights are readable, sums writable.
#[inline(always)]
pub(super) unsafe fn multiply_rows<const M: usize>(
    sums: *mut float32x4_t,
    a: *const f32,
    stride: usize,
    k: usize,
    weights: Weights,
) {
    let row = |i: usize| a.wrapping_add(i * stride);
    // SAFETY: the caller's promise. Each text reads four values of the rows that it has pointers to and as many rows of
    // weights, moves the pointers on, and says what it overwrites.
    unsafe {
        match M {
            1 => multiply!(
                1 row, sums, k, weights, ["v24"],
                [a0 = inout(reg) row(0) => _,],
                four_of_rows!(24 0)
            ),
            2 => multiply!(
                2 rows, sums, k, weights, ["v24" "v25"],
                [a0 = inout(reg) row(0) => _, a1 = inout(reg) row(1) => _,],
                four_of_rows!(24 0, 25 1)
            ),
            3 => multiply!(
                3 rows, sums, k, weights, ["v24" "v25" "v26"],
                [a0 = inout(reg) row(0) => _, a1 = inout(reg) row(1) => _, a2 = inout(reg) row(2) => _,],
                four_of_rows!(24 0, 25 1, 26 2)
            ),
            4 => multiply!(
                4 rows, sums, k, weights, ["v24" "v25" "v26" "v27"],
                [
                    a0 = inout(reg) row(0) => _, a1 = inout(reg) row(1) => _, a2 = inout(reg) row(2) => _,
                    a3 = inout(reg) row(3) => _,
                ],
                four_of_rows!(24 0, 25 1, 26 2, 27 3)
            ),
            _ => multiply!(
                5 rows, sums, k, weights, ["v23" "v24" "v25" "v26" "v27"],
                [
                    a0 = inout(reg) row(0) => _, a1 = inout(reg) row(1) => _, a2 = inout(reg) row(2) => _,
                    a3 = inout(reg) row(3) => _, a4 = inout(reg) row(4) => _,
                ],
                four_of_rows!(24 0, 25 1, 26 2, 27 3, 23 4)
            ),
        }
    }
}

/// The same of rows that are interleaved vector by vector, `[k / 4, M, 4]`: the registers of all rows are one load or two.
///
/// # Safety
/// As [`multiply_rows`].
#[inline(always)]
pub(super) unsafe fn multiply_vectors<const M: usize>(
    sums: *mut float32x4_t,
    a: *const f32,
    k: usize,
    weights: Weights,
) {
    // SAFETY: as above.
    unsafe {
        match M {
            1 => multiply!(
                1 row, sums, k, weights, ["v24"], [a = inout(reg) a => _,],
                four_of_vectors!("ldr q24, [{a}], #16"; 24)
            ),
            2 => multiply!(
                2 rows, sums, k, weights, ["v24" "v25"], [a = inout(reg) a => _,],
                four_of_vectors!("ldp q24, q25, [{a}], #32"; 24 25)
            ),
            3 => multiply!(
                3 rows, sums, k, weights, ["v24" "v25" "v26"], [a = inout(reg) a => _,],
                four_of_vectors!("ld1 {{v24.4s, v25.4s, v26.4s}}, [{a}], #48"; 24 25 26)
            ),
            4 => multiply!(
                4 rows, sums, k, weights, ["v24" "v25" "v26" "v27"], [a = inout(reg) a => _,],
                four_of_vectors!("ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{a}], #64"; 24 25 26 27)
            ),
            _ => multiply!(
                5 rows, sums, k, weights, ["v23" "v24" "v25" "v26" "v27"], [a = inout(reg) a => _,],
                four_of_vectors!(
                    "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{a}], #64\nldr q23, [{a}], #16"; 24 25 26 27 23
                )
            ),
        }
    }
}

/// Adds the products of `k` values, a multiple of [`AT_ONCE`], of each of `M` rows, packed as `[k, M]`, to `M * 4` vectors of
/// sums.
///
/// # Safety
/// As [`multiply_rows`], but `M` may be 6.
#[inline(always)]
pub(super) unsafe fn multiply_packed<const M: usize>(
    sums: *mut float32x4_t,
    a: *const f32,
    k: usize,
    weights: Weights,
) {
    // SAFETY: as above.
    unsafe {
        match M {
            1 => multiply!(
                1 row, sums, k, weights, ["v24"], [a = inout(reg) a => _,],
                "ldr q24, [{a}], #16",
                step!(24 0), step!(24 1), step!(24 2), step!(24 3),
            ),
            2 => multiply!(
                2 rows, sums, k, weights, ["v24" "v25"], [a = inout(reg) a => _,],
                "ldp q24, q25, [{a}], #32",
                step!(24 0 24 1), step!(24 2 24 3), step!(25 0 25 1), step!(25 2 25 3),
            ),
            3 => multiply!(
                3 rows, sums, k, weights, ["v24" "v25" "v26"], [a = inout(reg) a => _,],
                "ld1 {{v24.4s, v25.4s, v26.4s}}, [{a}], #48",
                step!(24 0 24 1 24 2), step!(24 3 25 0 25 1), step!(25 2 25 3 26 0), step!(26 1 26 2 26 3),
            ),
            4 => multiply!(
                4 rows, sums, k, weights, ["v24" "v25" "v26" "v27"], [a = inout(reg) a => _,],
                "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{a}], #64",
                step!(24 0 24 1 24 2 24 3), step!(25 0 25 1 25 2 25 3),
                step!(26 0 26 1 26 2 26 3), step!(27 0 27 1 27 2 27 3),
            ),
            5 => multiply!(
                5 rows, sums, k, weights, ["v23" "v24" "v25" "v26" "v27"], [a = inout(reg) a => _,],
                "ld1 {{v24.4s, v25.4s, v26.4s, v27.4s}}, [{a}], #64",
                "ldr q23, [{a}], #16",
                step!(24 0 24 1 24 2 24 3 25 0), step!(25 1 25 2 25 3 26 0 26 1),
                step!(26 2 26 3 27 0 27 1 27 2), step!(27 3 23 0 23 1 23 2 23 3),
            ),
            _ => multiply!(
                6 rows, sums, k, weights, ["v24" "v25" "v26"], [a = inout(reg) a => _,],
                "ld1 {{v24.4s, v25.4s, v26.4s}}, [{a}], #48",
                step!(24 0 24 1 24 2 24 3 25 0 25 1), step!(25 2 25 3 26 0 26 1 26 2 26 3),
                "ld1 {{v24.4s, v25.4s, v26.4s}}, [{a}], #48",
                step!(24 0 24 1 24 2 24 3 25 0 25 1), step!(25 2 25 3 26 0 26 1 26 2 26 3),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};
    use core::arch::aarch64::vdupq_n_f32;

    use super::*;
    use crate::test_random::Random;

    /// Every sum is a chain of FMAs in the order of `k`, bit for bit; what lies behind the values and weights is NaN.
    fn check<const M: usize>(random: &mut Random) {
        for k in (0..32).step_by(AT_ONCE) {
            let stride = k + 3;
            let (mut a, mut weights) = (random.values(M * stride), random.values(k * 16));
            a.iter_mut().skip(k).step_by(stride).for_each(|behind| *behind = f32::NAN);
            weights.extend([f32::NAN; 16]);
            let mut packed: Vec<f32> = (0..k * M).map(|i| a[i % M * stride + i / M]).collect();
            packed.push(f32::NAN);
            let mut expected = vec![1.0f32; M * 16];
            for (i, sum) in expected.iter_mut().enumerate() {
                for k in 0..k {
                    *sum = a[i / 16 * stride + k].mul_add(weights[k * 16 + i % 16], *sum);
                }
            }
            let weights = Weights { data: weights.as_ptr(), next: core::ptr::null() };
            // SAFETY: aarch64 has NEON; a vector is four values; `a`, `packed` and `weights` have `k` rows.
            unsafe {
                let values = |sums: [[float32x4_t; 4]; M]| {
                    core::slice::from_raw_parts(sums.as_ptr().cast::<f32>(), M * 16).to_vec()
                };
                let mut sums = [[vdupq_n_f32(1.0); 4]; M];
                multiply_packed::<M>(sums.as_mut_ptr().cast(), packed.as_ptr(), k, weights);
                assert_eq!(values(sums), expected, "{M} packed rows, {k} values");
                if M < 6 {
                    let mut vectors: Vec<f32> =
                        (0..k * M).map(|i| a[i / 4 % M * stride + i / (4 * M) * 4 + i % 4]).collect();
                    vectors.push(f32::NAN);
                    let mut sums = [[vdupq_n_f32(1.0); 4]; M];
                    multiply_vectors::<M>(sums.as_mut_ptr().cast(), vectors.as_ptr(), k, weights);
                    assert_eq!(values(sums), expected, "{M} rows of vectors, {k} values");
                    let mut sums = [[vdupq_n_f32(1.0); 4]; M];
                    multiply_rows::<M>(sums.as_mut_ptr().cast(), a.as_ptr(), stride, k, weights);
                    assert_eq!(values(sums), expected, "{M} rows, {k} values");
                }
            }
        }
    }

    #[test]
    fn sums_are_chains_of_fma() {
        let random = &mut Random::new(19);
        check::<1>(random);
        check::<2>(random);
        check::<3>(random);
        check::<4>(random);
        check::<5>(random);
        check::<6>(random);
    }
}
