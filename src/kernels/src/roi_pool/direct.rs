//! Pooling that looks at every cell of every bin.

use core::ops::Range;

use super::{FeatureMap, cell::Cell, edges::Edges};
use crate::simd::{Kernel, Vector};

/// One RoI's maxima in a range of channels, bin `b` of them to `out + b * bin_stride`.
pub(super) struct PoolRoi<'a, T> {
    pub(super) map: FeatureMap<'a, T>,
    pub(super) edges: &'a [Edges],
    pub(super) channels: Range<usize>,
    pub(super) out: *mut T,
    pub(super) bin_stride: usize,
    /// What an empty bin has in each channel.
    pub(super) empty: T,
}

impl<T: Cell> Kernel for PoolRoi<'_, T> {
    type Output = ();

    /// # Safety
    /// Also: the places in `out` are writable.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { map, edges, channels, out, bin_stride, empty } = self;
        assert!(channels.start <= channels.end && channels.end <= map.channels);
        let bins = edges.iter().flat_map(|grid| {
            grid.rows.iter().flat_map(|rows| grid.columns.iter().map(move |columns| (rows, columns)))
        });
        for (bin, (rows, columns)) in bins.enumerate() {
            assert!(rows.end <= map.height && columns.end <= map.width);
            // SAFETY: writable, says the caller; the bin and the channels lie in the map, asserted above.
            unsafe {
                let out = out.add(bin * bin_stride);
                if rows.is_empty() || columns.is_empty() {
                    (0..channels.len()).for_each(|channel| out.add(channel).write(empty));
                } else {
                    T::max_of_bin::<V, false>(map, rows, columns, channels.clone(), out);
                }
            }
        }
    }
}

/// [`Cell::max_of_bin`] of f32.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn max_of_bin<V: Vector, const PREPARED: bool>(
    map: FeatureMap<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    channels: Range<usize>,
    out: *mut f32,
) {
    let Range { start, end } = channels;
    let mut c = start;
    // SAFETY: the caller's promises; every block ends at or before `end`.
    unsafe {
        // One after another, as long as there are so many: a slab of 16 channels is four vectors of NEON's, two of AVX2's.
        c = max_of_blocks::<V, 8, PREPARED>(map, rows, columns, c..end, out.add(c - start));
        c = max_of_blocks::<V, 4, PREPARED>(map, rows, columns, c..end, out.add(c - start));
        c = max_of_blocks::<V, 2, PREPARED>(map, rows, columns, c..end, out.add(c - start));
        c = max_of_blocks::<V, 1, PREPARED>(map, rows, columns, c..end, out.add(c - start));
        if c < end && V::LANES <= end - start {
            // The last whole vector, some of whose lanes were done before: the same values again.
            max_of_vectors::<V, 1, PREPARED>(
                map,
                rows,
                columns,
                end - V::LANES,
                out.add(end - V::LANES - start),
            );
            c = end;
        }
        while c < end {
            let mut max = -f32::MAX;
            for y in rows.clone() {
                for x in columns.clone() {
                    let value = *map.data.as_ptr().add((y * map.width + x) * map.channels + c);
                    max = if value > max { value } else { max };
                }
            }
            out.add(c - start).write(max);
            c += 1;
        }
    }
}

/// Maximum of a bin in as many whole blocks of `N` vectors as there are in `channels`; the first channel that is left.
///
/// # Safety
/// As [`max_of_bin`].
#[inline(always)]
unsafe fn max_of_blocks<V: Vector, const N: usize, const PREPARED: bool>(
    map: FeatureMap<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    channels: Range<usize>,
    out: *mut f32,
) -> usize {
    let Range { start, end } = channels;
    let mut c = start;
    while c + N * V::LANES <= end {
        // SAFETY: the caller's promises; the block ends at or before `end`.
        unsafe { max_of_vectors::<V, N, PREPARED>(map, rows, columns, c, out.add(c - start)) };
        c += N * V::LANES;
    }
    c
}

/// Maximum of a bin in the `N` vectors of channels from channel `c` on.
///
/// # Safety
/// As [`max_of_bin`], for channels `c..c + N * V::LANES`.
#[inline(always)]
unsafe fn max_of_vectors<V: Vector, const N: usize, const PREPARED: bool>(
    map: FeatureMap<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    c: usize,
    out: *mut f32,
) {
    // SAFETY: cell (y, x) of the map starts at `(y * width + x) * channels`.
    unsafe {
        let mut max = [V::splat(-f32::MAX); N];
        for y in rows.clone() {
            let row = map.data.as_ptr().add((y * map.width + columns.start) * map.channels + c);
            for x in 0..columns.len() {
                let cell = row.add(x * map.channels);
                for (i, max) in max.iter_mut().enumerate() {
                    let value = V::load(cell.add(i * V::LANES));
                    *max = if PREPARED { max.max_of_numbers(value) } else { max.max(value) };
                }
            }
        }
        for (i, max) in max.into_iter().enumerate() {
            max.store(out.add(i * V::LANES));
        }
    }
}
