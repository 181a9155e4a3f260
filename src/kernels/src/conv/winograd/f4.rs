//! F(4x4, 3x3): 4 x 4 outputs from 6 x 6 inputs, the points 0, 1, -1, 2, -2 and infinity.
//!
//! 36 products instead of 144.
//!
//! ```text
//!       | 4  0 -5  0 1 0 |        |  1/4     0     0  |
//!       | 0 -4 -4  1 1 0 |        | -1/6  -1/6  -1/6  |         | 1 1  1 1  1 0 |
//! B^T = | 0  4 -4 -1 1 0 |    G = | -1/6   1/6  -1/6  |   A^T = | 0 1 -1 2 -2 0 |
//!       | 0 -2 -1  2 1 0 |        | 1/24  1/12   1/6  |         | 0 1  1 4  4 0 |
//!       | 0  2 -1 -2 1 0 |        | 1/24 -1/12   1/6  |         | 0 1 -1 8 -8 1 |
//!       | 0  4  0 -5 0 1 |        |   0     0     1   |
//! ```

use super::nested::Transform;
use crate::simd::Vector;

pub(super) struct Weights;
pub(super) struct Input;
pub(super) struct Output;

impl Transform<3, 6> for Weights {
    #[inline(always)]
    unsafe fn apply<V: Vector>([g0, g1, g2]: [V; 3]) -> [V; 6] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let even_1 = V::splat(-1.0 / 6.0).mul(g0.add(g2));
            let odd_1 = V::splat(-1.0 / 6.0).mul(g1);
            let even_2 = V::splat(1.0 / 24.0).mul_add(g0, V::splat(1.0 / 6.0).mul(g2));
            let odd_2 = V::splat(1.0 / 12.0).mul(g1);
            let first = V::splat(1.0 / 4.0).mul(g0);
            [first, even_1.add(odd_1), even_1.sub(odd_1), even_2.add(odd_2), even_2.sub(odd_2), g2]
        }
    }
}

impl Transform<6, 6> for Input {
    #[inline(always)]
    unsafe fn apply<V: Vector>([d0, d1, d2, d3, d4, d5]: [V; 6]) -> [V; 6] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let (two, four) = (V::splat(2.0), V::splat(4.0));
            let (minus_four, minus_five) = (V::splat(-4.0), V::splat(-5.0));
            // Rows 1 and 2, and 3 and 4, are the sum and the difference of an even and an odd half.
            let even_1 = minus_four.mul_add(d2, d4);
            let odd_1 = minus_four.mul_add(d1, d3);
            let even_2 = d4.sub(d2);
            let odd_2 = d3.sub(d1);
            [
                four.mul_add(d0, minus_five.mul_add(d2, d4)),
                even_1.add(odd_1),
                even_1.sub(odd_1),
                two.mul_add(odd_2, even_2),
                V::splat(-2.0).mul_add(odd_2, even_2),
                four.mul_add(d1, minus_five.mul_add(d3, d5)),
            ]
        }
    }
}

impl Transform<6, 4> for Output {
    #[inline(always)]
    unsafe fn apply<V: Vector>([m0, m1, m2, m3, m4, m5]: [V; 6]) -> [V; 4] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let (sum_1, difference_1) = (m1.add(m2), m1.sub(m2));
            let (sum_2, difference_2) = (m3.add(m4), m3.sub(m4));
            [
                m0.add(sum_1).add(sum_2),
                V::splat(2.0).mul_add(difference_2, difference_1),
                V::splat(4.0).mul_add(sum_2, sum_1),
                V::splat(8.0).mul_add(difference_2, difference_1.add(m5)),
            ]
        }
    }
}
