//! F(6x6, 3x3): 6 x 6 outputs from 8 x 8 inputs, the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity.
//!
//! 64 products instead of 324.
//!
//! ```text
//!       | 1    0 -21/4     0  21/4     0 -1 0 |        |    1      0     0 |
//!       | 0    1     1 -17/4 -17/4     1  1 0 |        | -2/9   -2/9  -2/9 |
//!       | 0   -1     1  17/4 -17/4    -1  1 0 |        | -2/9    2/9  -2/9 |
//! B^T = | 0  1/2   1/4  -5/2  -5/4     2  1 0 |    G = | 1/90   1/45  2/45 |
//!       | 0 -1/2   1/4   5/2  -5/4    -2  1 0 |        | 1/90  -1/45  2/45 |
//!       | 0    2     4  -5/2    -5   1/2  1 0 |        | 32/45 16/45  8/45 |
//!       | 0   -2     4   5/2    -5  -1/2  1 0 |        | 32/45 -16/45 8/45 |
//!       | 0   -1     0  21/4     0 -21/4  0 1 |        |    0      0     1 |
//!
//!       | 1 1  1  1   1    1     1 0 |
//!       | 0 1 -1  2  -2  1/2  -1/2 0 |
//! A^T = | 0 1  1  4   4  1/4   1/4 0 |
//!       | 0 1 -1  8  -8  1/8  -1/8 0 |
//!       | 0 1  1 16  16 1/16  1/16 0 |
//!       | 0 1 -1 32 -32 1/32 -1/32 1 |
//! ```

use super::nested::Transform;
use crate::simd::Vector;

pub(super) struct Weights;
pub(super) struct Input;
pub(super) struct Output;

impl Transform<3, 8> for Weights {
    #[inline(always)]
    unsafe fn apply<V: Vector>([g0, g1, g2]: [V; 3]) -> [V; 8] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let [p0, p1, p2, p3, p4, p5, p6] = at_points([g0, g1, g2, V::splat(0.0)]);
            [p0, p1, p2, p3, p4, p5, p6, g2]
        }
    }
}

impl Transform<8, 8> for Input {
    #[inline(always)]
    unsafe fn apply<V: Vector>([d0, d1, d2, d3, d4, d5, d6, d7]: [V; 8]) -> [V; 8] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let (half, quarter, four) = (V::splat(0.5), V::splat(0.25), V::splat(4.0));
            let (c17_4, c21_4) = (V::splat(-17.0 / 4.0), V::splat(21.0 / 4.0));
            let (c5_2, c5_4) = (V::splat(-5.0 / 2.0), V::splat(-5.0 / 4.0));
            // Rows 1 and 2, 3 and 4, 5 and 6 are the sum and the difference of an even and an odd half.
            let even_1 = c17_4.mul_add(d4, d2.add(d6));
            let odd_1 = c17_4.mul_add(d3, d1.add(d5));
            let even_2 = quarter.mul_add(d2, c5_4.mul_add(d4, d6));
            let odd_2 = half.mul_add(d1, c5_2.mul_add(d3, d5.add(d5)));
            let even_3 = four.mul_add(c5_4.mul_add(d4, d2), d6);
            let odd_3 = c5_2.mul_add(d3, half.mul_add(d5, d1.add(d1)));
            [
                c21_4.mul_add(d4.sub(d2), d0.sub(d6)),
                even_1.add(odd_1),
                even_1.sub(odd_1),
                even_2.add(odd_2),
                even_2.sub(odd_2),
                even_3.add(odd_3),
                even_3.sub(odd_3),
                c21_4.mul_add(d3.sub(d5), d7.sub(d1)),
            ]
        }
    }
}

impl Transform<8, 6> for Output {
    #[inline(always)]
    unsafe fn apply<V: Vector>([m0, m1, m2, m3, m4, m5, m6, m7]: [V; 8]) -> [V; 6] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let (sum_1, difference_1) = (m1.add(m2), m1.sub(m2));
            let (sum_2, difference_2) = (m3.add(m4), m3.sub(m4));
            let (sum_3, difference_3) = (m5.add(m6), m5.sub(m6));
            [
                m0.add(sum_1).add(sum_2.add(sum_3)),
                scaled(2.0, difference_2, 1.0 / 2.0, difference_3, difference_1),
                scaled(4.0, sum_2, 1.0 / 4.0, sum_3, sum_1),
                scaled(8.0, difference_2, 1.0 / 8.0, difference_3, difference_1),
                scaled(16.0, sum_2, 1.0 / 16.0, sum_3, sum_1),
                scaled(32.0, difference_2, 1.0 / 32.0, difference_3, difference_1.add(m7)),
            ]
        }
    }
}

/// `up * a + down * b + rest`.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn scaled<V: Vector>(up: f32, a: V, down: f32, b: V, rest: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { V::splat(up).mul_add(a, V::splat(down).mul_add(b, rest)) }
}

/// The polynomial of up to four taps at the seven points that are finite, each times its factor: rows of G.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn at_points<V: Vector>([g0, g1, g2, g3]: [V; 4]) -> [V; 7] {
    // SAFETY: the caller's promise.
    unsafe {
        let even_1 = V::splat(-2.0 / 9.0).mul(g0.add(g2));
        let odd_1 = V::splat(-2.0 / 9.0).mul(g1.add(g3));
        let even_2 = V::splat(1.0 / 90.0).mul_add(g0, V::splat(2.0 / 45.0).mul(g2));
        let odd_2 = V::splat(1.0 / 45.0).mul_add(g1, V::splat(4.0 / 45.0).mul(g3));
        let even_3 = V::splat(32.0 / 45.0).mul_add(g0, V::splat(8.0 / 45.0).mul(g2));
        let odd_3 = V::splat(16.0 / 45.0).mul_add(g1, V::splat(4.0 / 45.0).mul(g3));
        [
            g0,
            even_1.add(odd_1),
            even_1.sub(odd_1),
            even_2.add(odd_2),
            even_2.sub(odd_2),
            even_3.add(odd_3),
            even_3.sub(odd_3),
        ]
    }
}
