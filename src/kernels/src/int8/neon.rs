//! aarch64 without dot products (Cortex-A53, A72): both sides of a product are vectors of 16 values of `K`.
//!
//! ```text
//!   smull  v.8h, a.8b,  w.8b       8 products of values of a row and of a channel
//!   smlal2 v.8h, a.16b, w.16b      8 more, added: 2 * 128 * 127 still are 16 bits
//!   sadalp s.4s, v.8h              added up in pairs, to the sums
//!
//!   v0 to v3      sixteen values of each row
//!   v4 to v7      sixteen values of each of four channels
//!   v8 to v15     products
//!   v16 to v31    sums of four rows and four channels, each in four parts
//! ```
//!
//! A tile of 4 x 4 sums takes 5 loads for 48 instructions that compute. Its four parts are added up at the end.

use core::arch::asm;

use super::tile::{Operands, Tile};
use crate::aligned::AlignedVec;

pub(super) struct Neon;

/// The next 16 products of one or two rows and of each channel. Two rows give in-order cores enough to do until a product is
/// there.
macro_rules! products {
    ($($value:literal [$($products:literal)+] [$($sums:literal)+]),+) => {
        concat!(
            $(products!(@ "smull", ".8b", $value, [$($products)+]),)+
            $(products!(@ "smlal2", ".16b", $value, [$($products)+]),)+
            $($("sadalp v", $sums, ".4s, v", $products, ".8h\n",)+)+
        )
    };
    (@ $instruction:literal, $of:literal, $value:literal, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            products!(@ $instruction, $of, $value, $a, 4), products!(@ $instruction, $of, $value, $b, 5),
            products!(@ $instruction, $of, $value, $c, 6), products!(@ $instruction, $of, $value, $d, 7),
        )
    };
    (@ $instruction:literal, $of:literal, $value:literal, $products:literal, $weights:literal) => {
        concat!($instruction, " v", $products, ".8h, v", $value, $of, ", v", $weights, $of, "\n")
    };
}

/// Adds up the parts of a row's sums and adds them to what is there.
macro_rules! add_up {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ldr q8, [{sums}]\n",
            "addp v",
            $a,
            ".4s, v",
            $a,
            ".4s, v",
            $b,
            ".4s\n",
            "addp v",
            $c,
            ".4s, v",
            $c,
            ".4s, v",
            $d,
            ".4s\n",
            "addp v",
            $a,
            ".4s, v",
            $a,
            ".4s, v",
            $c,
            ".4s\n",
            "add v8.4s, v8.4s, v",
            $a,
            ".4s\n",
            "str q8, [{sums}], #64\n",
        )
    };
}

/// The sums of some rows and four channels. Said of each row: its register, its operand and its number, the registers of its
/// products and of its sums. Rows are grouped as [`products`] takes them.
macro_rules! four_channels {
    (
        $operands:ident,
        $([$($value:literal $row:ident $number:literal [$($products:literal)+] [$($sum:literal)+]),+])+
    ) => {{
        let Operands { rows, stride, k, panel, width, sums } = $operands;
        asm!(
            $($($(concat!("movi v", $sum, ".4s, #0"),)+)+)+
            "cbz {k}, 3f",
            "2:",
            "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{weights}], {step}",
            $($(concat!("ldr q", $value, ", [{", stringify!($row), "}], #16"),)+)+
            $(products!($($value [$($products)+] [$($sum)+]),+),)+
            "subs {k}, {k}, #16",
            "b.ne 2b",
            "3:",
            $($(add_up!($($sum)+),)+)+
            $($($row = inout(reg) rows.wrapping_add($number * stride) => _,)+)+
            weights = inout(reg) panel => _,
            step = in(reg) width * 16,
            sums = inout(reg) sums => _,
            k = inout(reg) k => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
            out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    }};
}

// SAFETY: the sizes are as asked for.
unsafe impl Tile for Neon {
    type Value = i8;
    type Weight = i8;
    type OfManyRows = Self;
    const ROWS: usize = 4;
    const PANEL: usize = 16;
    const LANES: usize = 4;
    const DEPTH: usize = 16;
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
        for first in (0..operands.width).step_by(4) {
            let panel = operands.panel.wrapping_add(first * Self::DEPTH);
            let four = Operands { panel, sums: operands.sums.wrapping_add(first), ..operands };
            // SAFETY: the caller's promises: the text reads `k` values of each row that it has a pointer to and of four
            // channels, and reads and writes four sums for each row. It says what it overwrites.
            unsafe {
                match m {
                    1 => four_channels!(four, [0 a0 0 [8 9 10 11] [16 17 18 19]]),
                    2 => four_channels!(
                        four, [0 a0 0 [8 9 10 11] [16 17 18 19], 1 a1 1 [12 13 14 15] [20 21 22 23]]
                    ),
                    3 => four_channels!(
                        four, [0 a0 0 [8 9 10 11] [16 17 18 19], 1 a1 1 [12 13 14 15] [20 21 22 23]]
                        [2 a2 2 [8 9 10 11] [24 25 26 27]]
                    ),
                    _ => four_channels!(
                        four, [0 a0 0 [8 9 10 11] [16 17 18 19], 1 a1 1 [12 13 14 15] [20 21 22 23]]
                        [2 a2 2 [8 9 10 11] [24 25 26 27], 3 a3 3 [12 13 14 15] [28 29 30 31]]
                    ),
                }
            }
        }
    }
}
