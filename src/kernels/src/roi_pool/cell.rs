//! What maps are made of: f32, or bytes that are quantised f32.

use core::ops::Range;

use super::{FeatureMap, direct};
use crate::{
    pooled::Feature,
    simd::{Loop, Vector, vectorized},
};

/// Most channels of a slab.
pub(super) const MAX_SLAB: usize = 64;

/// A map's values, of which a slab of channels is a cache line. A maximum is taken of them as [`roi_pool`](super) says.
pub(super) trait Cell: Feature + Default {
    /// Replaces what never wins by the least value; says whether maxima are the same in whatever order values come. Values
    /// are called prepared if they are.
    fn prepare(cells: &mut [Self]) -> bool;

    /// `out = max(a, b)`, of one length, a multiple of [`Feature::SLAB`]; of prepared values.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`.
    unsafe fn max_into<V: Vector>(a: &[Self], b: &[Self], out: &mut [Self]);

    /// Maximum of four cells of a slab of prepared values. With `stream`, written past the caches.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`; [`Feature::SLAB`] values are readable at each of `cells` and writable at `out`.
    unsafe fn max_of_four<V: Vector>(cells: [*const Self; 4], out: *mut Self, stream: bool);

    /// Maximum of a bin, which is not empty, in some channels. `PREPARED`: of prepared values.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`; `rows`, `columns` and `channels` are inside `map`; `out` takes as many
    /// values as there are channels.
    unsafe fn max_of_bin<V: Vector, const PREPARED: bool>(
        map: FeatureMap<'_, Self>,
        rows: &Range<usize>,
        columns: &Range<usize>,
        channels: Range<usize>,
        out: *mut Self,
    );
}

impl Cell for f32 {
    fn prepare(cells: &mut [f32]) -> bool {
        /// Replaces NaN and infinitely little by the least maximum; counts -0.
        struct Prepare<'a> {
            cells: &'a mut [f32],
            negative_zeros: &'a mut u32,
        }
        impl Loop for Prepare<'_> {
            #[inline(always)]
            fn run(self) {
                let mut negative_zeros = 0;
                for value in self.cells {
                    negative_zeros |= u32::from(value.to_bits() == (-0.0f32).to_bits());
                    // That of NaN and a number is the number.
                    *value = value.max(-f32::MAX);
                }
                *self.negative_zeros = negative_zeros;
            }
        }
        let mut negative_zeros = 0;
        vectorized(Prepare { cells, negative_zeros: &mut negative_zeros });
        negative_zeros == 0
    }

    #[inline(always)]
    unsafe fn max_into<V: Vector>(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((a, b), out) in
            a.chunks_exact(V::LANES).zip(b.chunks_exact(V::LANES)).zip(out.chunks_exact_mut(V::LANES))
        {
            // SAFETY: chunks of as many values as a vector has; the instruction set is the caller's promise.
            unsafe { V::load(a.as_ptr()).max_of_numbers(V::load(b.as_ptr())).store(out.as_mut_ptr()) };
        }
    }

    #[inline(always)]
    unsafe fn max_of_four<V: Vector>([a, b, c, d]: [*const f32; 4], out: *mut f32, stream: bool) {
        for lane in (0..Self::SLAB).step_by(V::LANES) {
            // SAFETY: the caller's promises; `LANES` divides `SLAB`.
            unsafe {
                let load = |cell: *const f32| V::load(cell.add(lane));
                let max = load(a).max_of_numbers(load(b)).max_of_numbers(load(c).max_of_numbers(load(d)));
                if stream { max.stream(out.add(lane)) } else { max.store(out.add(lane)) }
            }
        }
    }

    #[inline(always)]
    unsafe fn max_of_bin<V: Vector, const PREPARED: bool>(
        map: FeatureMap<'_>,
        rows: &Range<usize>,
        columns: &Range<usize>,
        channels: Range<usize>,
        out: *mut f32,
    ) {
        // SAFETY: the caller's promises.
        unsafe { direct::max_of_bin::<V, PREPARED>(map, rows, columns, channels, out) };
    }
}

/// Quantised values: a greater value never has a lesser byte, so that the maximum of bytes is the byte of the maximum. What
/// never wins is 0. The compiler makes vectors of the loops.
impl Cell for u8 {
    fn prepare(_: &mut [u8]) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn max_into<V: Vector>(a: &[u8], b: &[u8], out: &mut [u8]) {
        a.iter().zip(b).zip(out).for_each(|((a, b), out)| *out = *a.max(b));
    }

    #[inline(always)]
    unsafe fn max_of_four<V: Vector>(cells: [*const u8; 4], out: *mut u8, _: bool) {
        // SAFETY: the caller's promises; an array of bytes is aligned as one is.
        unsafe {
            let [a, b, c, d] = cells.map(|cell| cell.cast::<[u8; Self::SLAB]>().read());
            out.cast::<[u8; Self::SLAB]>().write(max(max(a, b), max(c, d)));
        }
    }

    #[inline(always)]
    unsafe fn max_of_bin<V: Vector, const PREPARED: bool>(
        map: FeatureMap<'_, u8>,
        rows: &Range<usize>,
        columns: &Range<usize>,
        channels: Range<usize>,
        out: *mut u8,
    ) {
        let Range { start, end } = channels;
        let mut c = start;
        // SAFETY: the caller's promises; every block ends at or before `end`.
        unsafe {
            while c + Self::SLAB <= end {
                max_of_bytes::<{ Self::SLAB }>(map, rows, columns, c, out.add(c - start));
                c += Self::SLAB;
            }
            while c + 16 <= end {
                max_of_bytes::<16>(map, rows, columns, c, out.add(c - start));
                c += 16;
            }
            while c < end {
                max_of_bytes::<1>(map, rows, columns, c, out.add(c - start));
                c += 1;
            }
        }
    }
}

#[inline(always)]
fn max<const N: usize>(mut a: [u8; N], b: [u8; N]) -> [u8; N] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = b.max(*a));
    a
}

/// Maximum of a bin in `N` channels from channel `c` on.
///
/// # Safety
/// As [`Cell::max_of_bin`], for these channels.
#[inline(always)]
unsafe fn max_of_bytes<const N: usize>(
    map: FeatureMap<'_, u8>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    c: usize,
    out: *mut u8,
) {
    // SAFETY: cell (y, x) of the map starts at `(y * width + x) * channels`.
    unsafe {
        let mut greatest = [0; N];
        for y in rows.clone() {
            for x in columns.clone() {
                let cell = map.data.as_ptr().add((y * map.width + x) * map.channels + c);
                greatest = max(greatest, cell.cast::<[u8; N]>().read());
            }
        }
        out.cast::<[u8; N]>().write(greatest);
    }
}
