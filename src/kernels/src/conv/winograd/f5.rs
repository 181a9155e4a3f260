//! F(5x5, 4x4): 5 x 5 outputs from 8 x 8 inputs, with the points of F(6x6, 3x3) and so its transform of the input.
//!
//! 64 products instead of 400.
//!
//! ```text
//!     |    1      0     0      0  |
//!     | -2/9   -2/9  -2/9   -2/9  |
//!     | -2/9    2/9  -2/9    2/9  |          | 1 1  1  1   1    1     1 0 |
//! G = | 1/90   1/45  2/45   4/45  |          | 0 1 -1  2  -2  1/2  -1/2 0 |
//!     | 1/90  -1/45  2/45  -4/45  |    A^T = | 0 1  1  4   4  1/4   1/4 0 |
//!     | 32/45 16/45  8/45   4/45  |          | 0 1 -1  8  -8  1/8  -1/8 0 |
//!     | 32/45 -16/45 8/45  -4/45  |          | 0 1  1 16  16 1/16  1/16 1 |
//!     |    0      0     0      1  |
//! ```

use super::{
    f6::{at_points, scaled},
    nested::Transform,
};
use crate::simd::Vector;

pub(super) struct Weights;
pub(super) struct Output;

impl Transform<4, 8> for Weights {
    #[inline(always)]
    unsafe fn apply<V: Vector>([g0, g1, g2, g3]: [V; 4]) -> [V; 8] {
        // SAFETY: the instruction set is the caller's promise.
        unsafe {
            let [p0, p1, p2, p3, p4, p5, p6] = at_points([g0, g1, g2, g3]);
            [p0, p1, p2, p3, p4, p5, p6, g3]
        }
    }
}

impl Transform<8, 5> for Output {
    #[inline(always)]
    unsafe fn apply<V: Vector>([m0, m1, m2, m3, m4, m5, m6, m7]: [V; 8]) -> [V; 5] {
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
                scaled(16.0, sum_2, 1.0 / 16.0, sum_3, sum_1.add(m7)),
            ]
        }
    }
}
