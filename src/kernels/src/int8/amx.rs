//! x86-64 with AMX-INT8: `TDPBUSD` adds to 16 x 16 sums the products of 64 values of each of 16 rows and of each of 16 channels.
//!
//! Tiles lie as [`crate::amx`] draws them. Four loads of 1 KiB feed four products of 16 cycles each.

use core::arch::asm;

use super::{
    tile::{Operands, Tile},
    x86::{self, Avx512Vnni},
};
use crate::{aligned::AlignedVec, amx::Tiles, product::with_const};

/// A few rows, for which tiles would mostly wait for weights: by AVX512-VNNI.
pub(super) struct FewRows;
/// 32 rows and 32 channels in tiles.
pub(super) struct ManyRows(Tiles);

/// Channels of a panel: two tiles.
const PANEL: usize = 32;
/// Values of a row that a tile holds.
const STEP: usize = 64;

// SAFETY: the sizes are as asked for.
unsafe impl Tile for FewRows {
    type Value = u8;
    type Weight = i8;
    type OfManyRows = ManyRows;
    const MANY_ROWS: usize = 4;
    const ROWS: usize = 6;
    const PANEL: usize = PANEL;
    const LANES: usize = 16;
    const DEPTH: usize = 4;
    const STEP: usize = STEP;

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
        let vectors = operands.width / Self::LANES;
        // SAFETY: the caller's promises.
        unsafe {
            with_const!(m, M in [1 2 3 4 5 6], with_const!(vectors, N in [1 2], {
                x86::multiply::<Avx512Vnni, M, N>(operands, PANEL);
            }));
        }
    }
}

// SAFETY: the sizes are as asked for.
unsafe impl Tile for ManyRows {
    type Value = u8;
    type Weight = i8;
    type OfManyRows = Self;
    const ROWS: usize = 32;
    const PANEL: usize = PANEL;
    const LANES: usize = 16;
    const DEPTH: usize = 4;
    const STEP: usize = STEP;

    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the CPU has AMX-INT8, says the caller.
        Self(unsafe { Tiles::configure() })
    }

    #[inline(always)]
    unsafe fn weights(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn multiply(&self, m: usize, operands: Operands<u8, i8>) {
        let Operands { rows, stride, k, panel, width, sums } = operands;
        self.0.hold(m);
        // Tiles of the lower half have a row in any case, and those to the right all channels: where there are none, they hold
        // again what the others do, and their sums are in nobody's way.
        let lower = rows.wrapping_add(if m > 16 { 16 * stride } else { 0 });
        let right = if width > 16 { 64 } else { 0 };
        // SAFETY: the tiles are configured, and the instructions read and write what the caller promised: 64 values of each row
        // and 16 rows of weights for each step, and 32 rows of 32 sums. The compiler itself never uses tiles, which are
        // clobbered here.
        unsafe {
            asm!(
                "tileloadd tmm0, [{sums} + {sums_bytes}]",
                "tileloadd tmm1, [{sums} + {sums_bytes} + 64]",
                "tileloadd tmm2, [{lower_sums} + {sums_bytes}]",
                "tileloadd tmm3, [{lower_sums} + {sums_bytes} + 64]",
                "test {k}, {k}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{rows} + {row_bytes}]",
                "tileloadd tmm6, [{left} + {line_bytes}]",
                "tileloadd tmm7, [{right} + {line_bytes}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{lower} + {row_bytes}]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {rows}, 64",
                "add {lower}, 64",
                "add {left}, {step_bytes}",
                "add {right}, {step_bytes}",
                "sub {k}, 64",
                "jnz 2b",
                "3:",
                "tilestored [{sums} + {sums_bytes}], tmm0",
                "tilestored [{sums} + {sums_bytes} + 64], tmm1",
                "tilestored [{lower_sums} + {sums_bytes}], tmm2",
                "tilestored [{lower_sums} + {sums_bytes} + 64], tmm3",
                sums = in(reg) sums,
                lower_sums = in(reg) sums.wrapping_add(16 * PANEL),
                sums_bytes = in(reg) PANEL * size_of::<i32>(),
                rows = inout(reg) rows => _,
                lower = inout(reg) lower => _,
                row_bytes = in(reg) stride,
                left = inout(reg) panel => _,
                right = inout(reg) panel.wrapping_add(right) => _,
                line_bytes = in(reg) width * 4,
                step_bytes = in(reg) width * STEP,
                k = inout(reg) k => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
