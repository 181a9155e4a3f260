//! Blocks of sums in AMX's tiles, as [`crate::amx`] draws them.
//!
//! Four loads of 1 KiB feed four products of 16 cycles each, half of what the first-level cache can give.

use core::arch::asm;

use super::layout::{Line, Panel, Rows};
use crate::amx::Tiles;

/// Sums into tiles: zeros if they are fresh, which `at` says.
macro_rules! begin {
    () => {
        "
        test {at}, {at}
        jz 2f
        tilezero tmm0
        tilezero tmm1
        tilezero tmm2
        tilezero tmm3
        jmp 3f
        2:
        mov {at}, {stride}
        shl {at}, 4
        add {at}, {sums}
        tileloadd tmm0, [{sums} + {stride}]
        tileloadd tmm1, [{sums} + {stride} + 64]
        tileloadd tmm2, [{at} + {stride}]
        tileloadd tmm3, [{at} + {stride} + 64]
        3:
        test {steps}, {steps}
        jz 5f
        4:
        mov {at}, [{offset}]
        lea {at}, [{rows} + {at} * 2]"
    };
}

/// On to the next step, with some lines of what comes later prefetched; then sums out of tiles.
macro_rules! end {
    () => {
        "
        mov {at}, {groups}
        test {at}, {at}
        jz 7f
        6:
        prefetcht1 [{ahead}]
        prefetcht1 [{ahead} + 64]
        prefetcht1 [{ahead} + 128]
        prefetcht1 [{ahead} + 192]
        add {ahead}, 256
        dec {at}
        jnz 6b
        7:
        add {offset}, 8
        dec {steps}
        jnz 4b
        5:
        mov {at}, {stride}
        shl {at}, 4
        add {at}, {sums}
        tilestored [{sums} + {stride}], tmm0
        tilestored [{sums} + {stride} + 64], tmm1
        tilestored [{at} + {stride}], tmm2
        tilestored [{at} + {stride} + 64], tmm3"
    };
}

/// The sums of a block, to which `$step`, in instructions, adds a step of products.
macro_rules! multiply {
    ($rows:ident, $panel:ident, $sums:ident, $stride:ident, $fresh:ident, $($step:literal,)*
        $(; $($operands:tt)*)?) => {
        asm!(
            begin!(),
            $($step,)*
            end!(),
            sums = in(reg) $sums,
            stride = in(reg) $stride * size_of::<f32>(),
            rows = in(reg) $rows.data,
            row_bytes = in(reg) $rows.stride * size_of::<u16>(),
            offset = inout(reg) $rows.steps.as_ptr() => _,
            steps = inout(reg) $rows.steps.len() => _,
            panel = inout(reg) $panel.lines => _,
            line_bytes = in(reg) size_of::<Line>(),
            ahead = inout(reg) $panel.prefetch => _,
            groups = in(reg) $panel.prefetch_lines / 4,
            at = inout(reg) u64::from($fresh) => _,
            $($($operands)*,)?
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tiles {
    /// As [`Engine::multiply`](super::engine::Engine::multiply).
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn multiply(
        &self,
        rows: Rows<'_>,
        panel: Panel,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        self.hold(rows.count);
        // SAFETY: the tiles are configured, and the instructions read and write what the caller promised: 32 rows of
        // 64 bytes for each step, 32 lines of the panel for each step, and 32 rows of 32 sums. Prefetching
        // faults on no address. The compiler itself never uses tiles, which are clobbered here.
        unsafe {
            multiply!(
                rows,
                panel,
                sums,
                stride,
                fresh,
                "tileloadd tmm4, [{at} + {row_bytes}]",
                "tileloadd tmm6, [{panel} + {line_bytes}]",
                "tileloadd tmm7, [{panel} + {line_bytes} + 1024]",
                "lea {at}, [{at} + {row_bytes} * 8]",
                "lea {at}, [{at} + {row_bytes} * 8]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{at} + {row_bytes}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {panel}, 2048",
            );
        }
    }

    /// [`Tiles::multiply`] of split values (bf16x3): lo times hi, hi times hi and hi times lo. The rows' lo halves are
    /// `lo` values after the hi halves, the panel's after the hi halves of each step.
    ///
    /// Eight loads feed twelve products.
    ///
    /// # Safety
    /// As [`Engine::multiply`](super::engine::Engine::multiply).
    pub(super) unsafe fn multiply_split(
        &self,
        rows: Rows<'_>,
        lo: usize,
        panel: Panel,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        self.hold(rows.count);
        // SAFETY: as above, with rows readable `lo` values on, too, and 64 lines of the panel for each step.
        unsafe {
            multiply!(
                rows, panel, sums, stride, fresh,
                "lea {at_low}, [{at} + {low}]",
                "tileloadd tmm6, [{panel} + {line_bytes}]",
                "tileloadd tmm4, [{at_low} + {row_bytes}]",
                "tileloadd tmm7, [{panel} + {line_bytes} + 1024]",
                "lea {at_low}, [{at_low} + {row_bytes} * 8]",
                "lea {at_low}, [{at_low} + {row_bytes} * 8]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{at_low} + {row_bytes}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm4, [{at} + {row_bytes}]",
                "lea {at}, [{at} + {row_bytes} * 8]",
                "lea {at}, [{at} + {row_bytes} * 8]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm5, [{at} + {row_bytes}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm6, [{panel} + {line_bytes} + 2048]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm7, [{panel} + {line_bytes} + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {panel}, 4096",
                ; low = in(reg) lo * size_of::<u16>(), at_low = out(reg) _
            );
        }
    }
}
