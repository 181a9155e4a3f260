//! Blocks of sums in AMX's tiles: registers of 16 rows of 64 bytes.
//!
//! ```text
//!   rows 0..16   tile 4 ┐             ┌ tile 0  tile 1 ┐
//!   rows 16..32  tile 5 ┘ x 6 | 7  -> └ tile 2  tile 3 ┘
//! ```
//!
//! Four loads of 1 KiB feed four products of 16 cycles each, half of what the first-level cache can give.

use core::arch::asm;

use super::block::{Line, Rows};

/// What TILECFG holds: the palette, and the bytes of a row and the rows of each tile.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles, of 16 rows of 64 bytes, configured on this thread for as long as this lives.
pub(super) struct Tiles {
    /// A thread's own: neither `Send` nor `Sync`.
    _thread: core::marker::PhantomData<*const ()>,
}

impl Tiles {
    /// # Safety
    /// [`Bf16Isa::Amx`](super::Bf16Isa) is available.
    pub(super) unsafe fn configure() -> Self {
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(16);
        // SAFETY: the caller's promise; LDTILECFG reads the 64 bytes of `config`.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags)) };
        Self { _thread: core::marker::PhantomData }
    }

    /// As [`Engine::multiply`](super::block::Engine::multiply).
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn multiply(
        &self,
        rows: Rows<'_>,
        panel: *const Line,
        sums: *mut f32,
        stride: usize,
        fresh: bool,
    ) {
        // SAFETY: the tiles are configured, and the instructions read and write what the caller promised: 32 rows of
        // 64 bytes for each step, 32 lines of the panel for each step, and 32 rows of 32 sums. The compiler itself
        // never uses tiles, which are clobbered here.
        unsafe {
            asm!(
                "test {fresh:e}, {fresh:e}",
                "jz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{sums} + {stride}]",
                "tileloadd tmm1, [{sums} + {stride} + 64]",
                "tileloadd tmm2, [{lower} + {stride}]",
                "tileloadd tmm3, [{lower} + {stride} + 64]",
                "3:",
                "test {steps}, {steps}",
                "jz 5f",
                "4:",
                "mov {at}, [{offset}]",
                "lea {at}, [{rows} + {at} * 2]",
                "tileloadd tmm4, [{at} + {row_bytes}]",
                "tileloadd tmm6, [{panel} + {line_bytes}]",
                "tileloadd tmm7, [{panel} + {line_bytes} + 1024]",
                "add {at}, {half_bytes}",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{at} + {row_bytes}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {panel}, 2048",
                "add {offset}, 8",
                "dec {steps}",
                "jnz 4b",
                "5:",
                "tilestored [{sums} + {stride}], tmm0",
                "tilestored [{sums} + {stride} + 64], tmm1",
                "tilestored [{lower} + {stride}], tmm2",
                "tilestored [{lower} + {stride} + 64], tmm3",
                fresh = in(reg) u32::from(fresh),
                sums = in(reg) sums,
                lower = in(reg) sums.add(16 * stride),
                stride = in(reg) stride * size_of::<f32>(),
                rows = in(reg) rows.data,
                row_bytes = in(reg) rows.stride * size_of::<u16>(),
                half_bytes = in(reg) rows.stride * size_of::<u16>() * 16,
                offset = inout(reg) rows.steps.as_ptr() => _,
                steps = inout(reg) rows.steps.len() => _,
                panel = inout(reg) panel => _,
                line_bytes = in(reg) size_of::<Line>(),
                at = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is AMX, or there would be no `Tiles`. Tiles in use would be saved at every switch of threads.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
