//! Tiles as a thread configures them.

use core::{arch::asm, cell::Cell, marker::PhantomData};

/// Rows of sums that two tiles have, one below the other.
pub(crate) const ROWS: usize = 32;

/// What TILECFG holds: the palette, and the bytes of a row and the rows of each tile.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles, of rows of 64 bytes, configured on this thread for as long as this lives.
pub(crate) struct Tiles {
    /// Rows of sums, of 32, that tiles are configured for: products of fewer take less time.
    rows: Cell<usize>,
    /// A thread's own: neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

impl Tiles {
    /// # Safety
    /// A [`Feature`](super::Feature) is available.
    pub(crate) unsafe fn configure() -> Self {
        let tiles = Self { rows: Cell::new(0), _thread: PhantomData };
        tiles.hold(ROWS);
        tiles
    }

    /// Configures tiles for `rows` rows of sums, 1 to 32. No tile can have none: where there are up to 16, those of the
    /// lower half have one.
    pub(crate) fn hold(&self, rows: usize) {
        if self.rows.replace(rows) == rows {
            return;
        }
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        let [upper, lower] = [rows.clamp(1, 16), rows.clamp(17, 32) - 16].map(|rows| rows as u8);
        config.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, 16, 16]);
        // SAFETY: there is AMX, or there would be no `Tiles`; LDTILECFG reads the 64 bytes of `config`.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags)) };
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is AMX, or there would be no `Tiles`. Tiles in use would be saved at every switch of threads.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
