//! aarch64 with I8MM. `smmla v.4s, a.16b, w.16b` adds the products of eight values of each of two rows and of each of two
//! channels to 2 x 2 sums.
//!
//! ```text
//!   v0 to v23     2 x 2 sums of each of up to three pairs of rows and eight pairs of channels
//!   v24 to v26    eight values of each pair of rows
//!   v28 to v31    eight values of each of four pairs of channels
//! ```
//!
//! It is assembly for the reasons that `dotprod` gives.

use core::arch::asm;

use super::tile::{MAX_ROWS, Operands, Tile};
use crate::aligned::AlignedVec;

pub(super) struct I8mm;

/// Four pairs of channels times each pair of rows. Said of each: the register of its values and those of its sums.
macro_rules! four_pairs {
    ($($value:literal [$a:literal $b:literal $c:literal $d:literal])+) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{weights}], #64\n",
            $("smmla v", $a, ".4s, v", $value, ".16b, v28.16b\n",)+
            $("smmla v", $b, ".4s, v", $value, ".16b, v29.16b\n",)+
            $("smmla v", $c, ".4s, v", $value, ".16b, v30.16b\n",)+
            $("smmla v", $d, ".4s, v", $value, ".16b, v31.16b\n",)+
        )
    };
}

/// Adds sums of a pair of rows and of four channels, 2 x 2 in each register, to those of the rows.
macro_rules! add_to_rows {
    ($a:literal $b:literal) => {
        concat!(
            "ldr q28, [{sums}]\n",
            "ldr q29, [{sums}, #64]\n",
            "zip1 v30.2d, v",
            $a,
            ".2d, v",
            $b,
            ".2d\n",
            "zip2 v31.2d, v",
            $a,
            ".2d, v",
            $b,
            ".2d\n",
            "add v28.4s, v28.4s, v30.4s\n",
            "add v29.4s, v29.4s, v31.4s\n",
            "str q29, [{sums}, #64]\n",
            "str q28, [{sums}], #16\n",
        )
    };
}

/// The sums of pairs of rows. Said of each pair: the register of its values, the operand and number of either row, and the
/// registers of its sums. A second row that is not there is the first one again.
macro_rules! pairs {
    (
        $operands:ident, $m:ident, $($value:literal $first:ident $first_number:literal $second:ident $second_number:literal
        [$($four:literal)+] [$($more:literal)+]),+
    ) => {{
        let Operands { rows, stride, k, panel, sums, .. } = $operands;
        let row = |number: usize| rows.wrapping_add(number.min($m - 1) * stride);
        asm!(
            $($(concat!("movi v", $four, ".4s, #0"),)+ $(concat!("movi v", $more, ".4s, #0"),)+)+
            "cbz {k}, 3f",
            "2:",
            $(
                concat!("ldr d", $value, ", [{", stringify!($first), "}], #8"),
                concat!("ld1 {{v", $value, ".d}}[1], [{", stringify!($second), "}], #8"),
            )+
            four_pairs!($($value [$($four)+])+),
            four_pairs!($($value [$($more)+])+),
            "subs {k}, {k}, #8",
            "b.ne 2b",
            "3:",
            $(pairs!(@ $($four)+), pairs!(@ $($more)+), "add {sums}, {sums}, #64",)+
            $(
                $first = inout(reg) row($first_number) => _,
                $second = inout(reg) row($second_number) => _,
            )+
            weights = inout(reg) panel => _,
            sums = inout(reg) sums => _,
            k = inout(reg) k => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nostack),
        )
    }};
    (@ $a:literal $b:literal $c:literal $d:literal) => { concat!(add_to_rows!($a $b), add_to_rows!($c $d)) };
}

// SAFETY: the sizes are as asked for.
unsafe impl Tile for I8mm {
    type Value = i8;
    type Weight = i8;
    type OfManyRows = Self;
    const ROWS: usize = 6;
    const PANEL: usize = 16;
    const LANES: usize = 16;
    const DEPTH: usize = 8;
    const STEP: usize = 8;

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
        const { assert!(Self::ROWS.is_multiple_of(2) && Self::ROWS <= MAX_ROWS) };
        // SAFETY: the caller's promises: the text reads `k` values of each row that it has a pointer to, as many of 16 channels,
        // and reads and writes 16 sums for each row, or for one more, for which there is room. It says what it overwrites.
        unsafe {
            match m {
                1 | 2 => pairs!(operands, m, 24 a0 0 a1 1 [0 1 2 3] [4 5 6 7]),
                3 | 4 => pairs!(
                    operands, m, 24 a0 0 a1 1 [0 1 2 3] [4 5 6 7], 25 a2 2 a3 3 [8 9 10 11] [12 13 14 15]
                ),
                _ => pairs!(
                    operands, m, 24 a0 0 a1 1 [0 1 2 3] [4 5 6 7], 25 a2 2 a3 3 [8 9 10 11] [12 13 14 15],
                    26 a4 4 a5 5 [16 17 18 19] [20 21 22 23]
                ),
            }
        }
    }
}
