//! Packing: both sides of a product in the order in which the micro-kernel reads them.

use super::{ROWS, Rows, Tiles, tiles, with_const};
use crate::simd::{Width, interleave};

/// Values of `k` rows of weights for `n` output channels, packed; saturates.
pub(crate) fn packed_len(k: usize, n: usize, width: Width) -> usize {
    k.saturating_mul(n.next_multiple_of(width.lanes))
}

/// Packs `k` rows of `n` channels into the panels of `packed`, zeros after the last channel.
pub(crate) fn pack<'a, T: Copy + Default + 'a>(
    k: usize,
    n: usize,
    width: Width,
    packed: &mut [T],
    row: impl Fn(usize) -> &'a [T],
) {
    let padded = n.next_multiple_of(width.lanes);
    for (panel, packed) in packed[..k * padded].chunks_mut((k * width.panel).max(1)).enumerate() {
        let first = panel * width.panel;
        let channels = width.panel.min(n - first);
        for (k, packed) in packed.chunks_exact_mut(width.panel.min(padded - first)).enumerate() {
            packed[..channels].copy_from_slice(&row(k)[first..][..channels]);
            packed[channels..].fill(T::default());
        }
    }
}

/// Packs `m` rows tile by tile, `[K, rows of the tile]` each: what a tile needs for one `k` lies together, and a tile is
/// one stream. Worth its while when several panels read the rows.
///
/// # Safety
/// What `a` describes is readable, and `packed` has room for `m` rows of its `K`.
pub(crate) unsafe fn pack_rows(a: Rows<'_>, m: usize, packed: *mut f32) {
    for Tiles { first, rows, count } in tiles(m, ROWS) {
        for row in (first..).step_by(rows).take(count) {
            // SAFETY: the caller's promise; tiles follow one another.
            unsafe {
                let (from, to) = (a.skip_rows(row), packed.add(row * a.k()));
                with_const!(rows, M in [1 2 3 4 5 6], pack_tile::<M>(from, to));
            }
        }
    }
}

/// # Safety
/// As [`pack_rows`], for `M` rows.
unsafe fn pack_tile<const M: usize>(a: Rows<'_>, mut to: *mut f32) {
    for &offset in a.segments {
        // SAFETY: the caller's promise; segments follow one another.
        unsafe {
            let from = a.data.add(offset);
            let done = interleave::<M>(from, a.stride, a.segment_len, to);
            for k in done..a.segment_len {
                for row in 0..M {
                    to.add(k * M + row).write(*from.add(row * a.stride + k));
                }
            }
        }
        to = to.wrapping_add(a.segment_len * M);
    }
}
