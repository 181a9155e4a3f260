//! aarch64 with dot products. `sdot v.4s, v.16b, v.4b[lane]` multiplies four values of each of four channels by four values
//! of a row, which are a lane, and adds them up.
//!
//! ```text
//!   v0 to v19    sums, four vectors for each of up to five rows
//!   v23 to v27   sixteen values of each row
//!   v28 to v31   four values of each of sixteen channels
//! ```
//!
//! It is assembly because the instruction's intrinsic is not stable, and for the reasons that `simd::neon::lanes` gives.

use core::arch::asm;

use super::tile::{Operands, Tile};
use crate::aligned::AlignedVec;

pub(super) struct DotProd;

/// A vector of weights times a lane of each row's register, added to the first of these sums.
macro_rules! column {
    ($weights:literal, [$sum:literal $($sums:literal)*], $lane:literal, $value:literal $($rest:literal)*) => {
        concat!(
            "sdot v", $sum, ".4s, v", $weights, ".16b, v", $value, ".4b[", $lane, "]\n",
            column!($weights, [$($sums)*], $lane, $($rest)*),
        )
    };
    ($weights:literal, [$($sums:literal)*], $lane:literal,) => { "" };
}

/// Four values of `K`: a lane.
macro_rules! step {
    ($lane:literal, $($value:literal)+) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{weights}], #64\n",
            column!(28, [0 4 8 12 16], $lane, $($value)+),
            column!(29, [1 5 9 13 17], $lane, $($value)+),
            column!(30, [2 6 10 14 18], $lane, $($value)+),
            column!(31, [3 7 11 15 19], $lane, $($value)+),
        )
    };
}

/// The sums of some rows, plus the products of all of `K`, 16 values at a time. Said of each row: the register of its values,
/// its operand and its number, and the registers of its sums.
macro_rules! dots {
    ($operands:ident, $($value:literal $row:ident $number:literal [$($sum:literal)+]),+) => {{
        let Operands { rows, stride, k, panel, sums, .. } = $operands;
        asm!(
            $(dots!(@ "ld1", $($sum)+),)+
            "cbz {k}, 3f",
            "2:",
            $(concat!("ldr q", $value, ", [{", stringify!($row), "}], #16"),)+
            step!(0, $($value)+),
            step!(1, $($value)+),
            step!(2, $($value)+),
            step!(3, $($value)+),
            "subs {k}, {k}, #16",
            "b.ne 2b",
            "3:",
            "mov {sums}, {first}",
            $(dots!(@ "st1", $($sum)+),)+
            $($row = inout(reg) rows.wrapping_add($number * stride) => _,)+
            weights = inout(reg) panel => _,
            first = in(reg) sums,
            sums = inout(reg) sums => _,
            k = inout(reg) k => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v23") _, out("v24") _,
            out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    }};
    (@ $instruction:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            $instruction, " {{v", $a, ".4s, v", $b, ".4s, v", $c, ".4s, v", $d, ".4s}}, [{sums}], #64"
        )
    };
}

// SAFETY: the sizes are as asked for.
unsafe impl Tile for DotProd {
    type Value = i8;
    type Weight = i8;
    type OfManyRows = Self;
    const ROWS: usize = 5;
    const PANEL: usize = 16;
    const LANES: usize = 16;
    const DEPTH: usize = 4;
    const STEP: usize = 16;

    #[inline(always)]
    unsafe fn new() -> Self {
        Self
    }

    #[inline(always)]
    unsafe fn weights(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn multiply(&self, m: usize, operands: Operands<i8, i8>) {
        // SAFETY: the caller's promises: the text reads `k` values of each row that it has a pointer to, as many rows of 16
        // weights, and reads and writes 16 sums for each row. It says what it overwrites.
        unsafe {
            match m {
                1 => dots!(operands, 24 a0 0 [0 1 2 3]),
                2 => dots!(operands, 24 a0 0 [0 1 2 3], 25 a1 1 [4 5 6 7]),
                3 => dots!(operands, 24 a0 0 [0 1 2 3], 25 a1 1 [4 5 6 7], 26 a2 2 [8 9 10 11]),
                4 => dots!(
                    operands, 24 a0 0 [0 1 2 3], 25 a1 1 [4 5 6 7], 26 a2 2 [8 9 10 11], 27 a3 3 [12 13 14 15]
                ),
                _ => dots!(
                    operands, 24 a0 0 [0 1 2 3], 25 a1 1 [4 5 6 7], 26 a2 2 [8 9 10 11],
                    27 a3 3 [12 13 14 15], 23 a4 4 [16 17 18 19]
                ),
            }
        }
    }
}
