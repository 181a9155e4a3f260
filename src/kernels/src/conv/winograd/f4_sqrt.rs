//! F(4x4, 3x3) with the points 0, 1/√2, -1/√2, √2, -√2 and infinity, for sums in f16.
//!
//! With 0, 1, -1, 2 and -2 constants go up to 8, and a tile's outputs are differences of sums far larger than they. Points whose
//! magnitudes are each other's inverses keep all three matrices near 1: rounding then moves outputs by less than half as much.
//!
//! ```text
//!       | 1   0  -5/2   0   1  0 |        |   1     0     0  |
//!       | 0 -√2   -2   1/√2 1  0 |        | -2/3 -√2/3  -1/3 |         | 1   1     1     1    1   0 |
//! B^T = | 0  √2   -2  -1/√2 1  0 |    G = | -2/3  √2/3  -1/3 |   A^T = | 0  1/√2 -1/√2   √2  -√2  0 |
//!       | 0 -1/√2 -1/2  √2  1  0 |        |  1/6  √2/6   1/3 |         | 0  1/2   1/2    2    2   0 |
//!       | 0  1/√2 -1/2 -√2  1  0 |        |  1/6 -√2/6   1/3 |         | 0  √2/4 -√2/4  2√2 -2√2  1 |
//!       | 0   1    0  -5/2  0  1 |        |   0     0     1  |
//! ```

use core::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

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
            let even_1 = V::splat(-2.0 / 3.0).mul_add(g0, V::splat(-1.0 / 3.0).mul(g2));
            let even_2 = V::splat(1.0 / 6.0).mul_add(g0, V::splat(1.0 / 3.0).mul(g2));
            let (odd_1, odd_2) = (V::splat(-SQRT_2 / 3.0).mul(g1), V::splat(SQRT_2 / 6.0).mul(g1));
            [g0, even_1.add(odd_1), even_1.sub(odd_1), even_2.add(odd_2), even_2.sub(odd_2), g2]
        }
    }
}

impl Transform<6, 6> for Input {
    #[inline(always)]
    unsafe fn apply<V: Vector>([d0, d1, d2, d3, d4, d5]: [V; 6]) -> [V; 6] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let minus_two_and_a_half = V::splat(-2.5);
            let even_1 = V::splat(-2.0).mul_add(d2, d4);
            let odd_1 = V::splat(-2.0).mul_add(d1, d3);
            let even_2 = V::splat(-0.5).mul_add(d2, d4);
            let odd_2 = V::splat(-0.5).mul_add(d1, d3);
            [
                minus_two_and_a_half.mul_add(d2, d0.add(d4)),
                V::splat(FRAC_1_SQRT_2).mul_add(odd_1, even_1),
                V::splat(-FRAC_1_SQRT_2).mul_add(odd_1, even_1),
                V::splat(SQRT_2).mul_add(odd_2, even_2),
                V::splat(-SQRT_2).mul_add(odd_2, even_2),
                minus_two_and_a_half.mul_add(d3, d1.add(d5)),
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
                V::splat(SQRT_2).mul_add(difference_2, V::splat(FRAC_1_SQRT_2).mul(difference_1)),
                V::splat(2.0).mul_add(sum_2, V::splat(0.5).mul(sum_1)),
                V::splat(2.0 * SQRT_2)
                    .mul_add(difference_2, V::splat(SQRT_2 / 4.0).mul_add(difference_1, m5)),
            ]
        }
    }
}
