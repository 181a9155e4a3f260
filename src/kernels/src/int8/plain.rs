//! What the compiler makes of it for the instruction set it was told.

use super::tile::{Operands, Tile};
use crate::aligned::AlignedVec;

pub(super) struct Plain;

// SAFETY: the sizes are as asked for.
unsafe impl Tile for Plain {
    type Value = u8;
    type Weight = i8;
    type OfManyRows = Self;
    const ROWS: usize = 4;
    const PANEL: usize = 16;
    const LANES: usize = 4;
    const DEPTH: usize = 4;
    const STEP: usize = 4;

    #[inline(always)]
    unsafe fn new() -> Self {
        Self
    }

    #[inline(always)]
    unsafe fn weights(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn multiply(&self, m: usize, operands: Operands<u8, i8>) {
        let Operands { rows, stride, k, panel, width, sums } = operands;
        for row in 0..m {
            // SAFETY: the caller's promises.
            let (values, panel, sums) = unsafe {
                (
                    core::slice::from_raw_parts(rows.add(row * stride), k),
                    core::slice::from_raw_parts(panel, k * width),
                    core::slice::from_raw_parts_mut(sums.add(row * Self::PANEL), width),
                )
            };
            for (values, panel) in values.as_chunks::<4>().0.iter().zip(panel.chunks_exact(width * 4)) {
                for (sum, weights) in sums.iter_mut().zip(panel.as_chunks::<4>().0) {
                    let product = |i: usize| i32::from(values[i]) * i32::from(weights[i]);
                    *sum = sum.wrapping_add(product(0) + product(1) + product(2) + product(3));
                }
            }
        }
    }
}
