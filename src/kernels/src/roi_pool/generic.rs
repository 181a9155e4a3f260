//! The algorithm, once, over any vector of f32 lanes.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use frcnn_core::Roi;

use super::FeatureMap;

/// A register of f32 lanes.
///
/// # Safety
/// `LANES` is the number of f32 that `load` reads and `store` writes.
pub(super) unsafe trait Vector: Copy {
    const LANES: usize;

    /// # Safety
    /// The CPU has the instruction set of `Self`.
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// The CPU has the instruction set of `Self`, and `LANES` values are readable at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// The CPU has the instruction set of `Self`, and `LANES` values are writable at `to`.
    unsafe fn store(self, to: *mut f32);

    /// In each lane `value` if `value > self`, otherwise `self`: also when either is NaN, and for two zeros.
    ///
    /// # Safety
    /// The CPU has the instruction set of `Self`.
    unsafe fn max(self, value: Self) -> Self;
}

// SAFETY: one lane, one value.
unsafe impl Vector for f32 {
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: readable, says the caller.
        unsafe { from.read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: writable, says the caller.
        unsafe { to.write(self) }
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        if value > self { value } else { self }
    }
}

/// The cells that each row and each column of bins covers, for one RoI at a time; always inside the map.
#[derive(Clone)]
pub(super) struct Edges {
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Edges {
    pub(super) fn new([rows, columns]: [usize; 2]) -> Self {
        Self { rows: vec![0..0; rows], columns: vec![0..0; columns] }
    }

    pub(super) fn set(&mut self, roi: &Roi, map: FeatureMap<'_>) {
        set_axis(&mut self.rows, roi.y1, roi.y2, map.height);
        set_axis(&mut self.columns, roi.x1, roi.x2, map.width);
    }
}

fn set_axis(bins: &mut [Range<usize>], first: i32, last: i32, len: usize) {
    let (first, last) = (i64::from(first), i64::from(last));
    let width = (last - first + 1).max(1) as f32;
    let bin = width / bins.len() as f32;
    let clip = |cell: f32| usize::try_from(cell as i64 + first).unwrap_or(0).min(len);
    for (p, range) in bins.iter_mut().enumerate() {
        *range = clip(libm::floorf(p as f32 * bin))..clip(libm::ceilf((p + 1) as f32 * bin));
    }
}

/// Pools one RoI, given its edges, into `out`, `[Ph, Pw, C]` with `C > 0`.
pub(super) type PoolRoi = fn(FeatureMap<'_>, &Edges, &mut [f32]);

/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn pool_roi<V: Vector>(map: FeatureMap<'_>, edges: &Edges, out: &mut [f32]) {
    let bins = edges.rows.iter().flat_map(|rows| edges.columns.iter().map(move |columns| (rows, columns)));
    for ((rows, columns), out) in bins.zip(out.chunks_exact_mut(map.channels)) {
        if rows.is_empty() || columns.is_empty() {
            out.fill(0.0);
        } else {
            // SAFETY: the instruction set is the caller's promise.
            unsafe { pool_bin::<V>(map, rows, columns, out) };
        }
    }
}

/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn pool_bin<V: Vector>(
    map: FeatureMap<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    out: &mut [f32],
) {
    assert!(rows.end <= map.height && columns.end <= map.width && out.len() == map.channels);
    let channels = map.channels;
    let mut c = 0;
    // SAFETY: the bin lies in the map and `out` has the map's channels, asserted above; every block ends at or
    // before `channels`.
    unsafe {
        while c + 8 * V::LANES <= channels {
            max_of_bin::<V, 8>(map, rows, columns, c, out);
            c += 8 * V::LANES;
        }
        while c + V::LANES <= channels {
            max_of_bin::<V, 1>(map, rows, columns, c, out);
            c += V::LANES;
        }
        if c < channels && V::LANES <= channels {
            // The last whole vector, some of whose lanes were done before: the same values again.
            max_of_bin::<V, 1>(map, rows, columns, channels - V::LANES, out);
            c = channels;
        }
        while c < channels {
            max_of_bin::<f32, 1>(map, rows, columns, c, out);
            c += 1;
        }
    }
}

/// Maximum of a bin in the `N` vectors of channels from channel `c` on.
///
/// # Safety
/// The CPU has the instruction set of `V`; `rows` and `columns` are inside `map`;
/// `c + N * V::LANES <= map.channels == out.len()`.
#[inline(always)]
unsafe fn max_of_bin<V: Vector, const N: usize>(
    map: FeatureMap<'_>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    c: usize,
    out: &mut [f32],
) {
    // SAFETY: cell (y, x) of the map starts at `(y * width + x) * channels` and channels `c..c + N * LANES` of it
    // exist, in the map as in `out`.
    unsafe {
        let mut max = [V::splat(-f32::MAX); N];
        for y in rows.clone() {
            let row = map.data.as_ptr().add((y * map.width + columns.start) * map.channels + c);
            for x in 0..columns.len() {
                let cell = row.add(x * map.channels);
                for (i, max) in max.iter_mut().enumerate() {
                    *max = max.max(V::load(cell.add(i * V::LANES)));
                }
            }
        }
        for (i, max) in max.into_iter().enumerate() {
            max.store(out.as_mut_ptr().add(c + i * V::LANES));
        }
    }
}

pub(super) fn pool_roi_scalar(map: FeatureMap<'_>, edges: &Edges, out: &mut [f32]) {
    // SAFETY: an f32 needs no instruction set but the one compiled for.
    unsafe { pool_roi::<f32>(map, edges, out) }
}
