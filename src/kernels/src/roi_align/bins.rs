//! The bins of one RoI, in blocks of channels that stay in registers while the cells of a bin go by.

use core::ops::Range;

use super::axis::{Axis, Tap};
use crate::{
    k_order::SLAB,
    simd::{Kernel, Vector},
    sync_ptr::SyncPtr,
};

/// Where the bins of an RoI go: channels in slabs of [`SLAB`].
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) data: SyncPtr,
    pub(super) bin_stride: usize,
    pub(super) slab_stride: usize,
    /// Whether they are written past the caches, where they lie so that they can be.
    pub(super) stream: bool,
}

impl Places {
    /// Bin after bin, with all their channels.
    pub(super) fn contiguous(data: SyncPtr, channels: usize, stream: bool) -> Self {
        let aligned = data.as_mut_ptr().addr().is_multiple_of(64) && channels.is_multiple_of(SLAB);
        Self { data, bin_stride: channels, slab_stride: SLAB, stream: stream && aligned }
    }

    /// Where a channel of a bin goes, counted from the first that is computed.
    ///
    /// # Safety
    /// There is such a place.
    #[inline(always)]
    unsafe fn of(self, bin: usize, channel: usize) -> *mut f32 {
        let at = bin * self.bin_stride + channel / SLAB * self.slab_stride + channel % SLAB;
        // SAFETY: the caller's promise.
        unsafe { self.data.as_mut_ptr().add(at) }
    }

    /// # Safety
    /// There are such places, which no one else touches.
    pub(super) unsafe fn fill(self, bins: usize, channels: Range<usize>, value: f32) {
        for bin in 0..bins {
            for channel in 0..channels.len() {
                // SAFETY: the caller's promise.
                unsafe { self.of(bin, channel).write(value) };
            }
        }
    }
}

/// Aligns some channels of an RoI.
///
/// # Safety of running it
/// Also: `places` are there for these channels of all bins, and no one else touches them.
pub(super) struct AlignBins<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: &'a Axis,
    pub(super) columns: &'a Axis,
    pub(super) channels: Range<usize>,
    pub(super) places: Places,
}

/// The cells of a bin, from some channel on.
#[derive(Clone, Copy)]
struct Cells<'a> {
    data: *const f32,
    rows: &'a [Tap],
    columns: &'a [Tap],
}

impl Kernel for AlignBins<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { data, rows, columns, channels, places } = self;
        assert!(
            channels.is_empty()
                || data.is_empty()
                || rows.last() + columns.last() + channels.end <= data.len()
        );
        let bins = rows.bins().flat_map(|rows| columns.bins().map(move |columns| (rows, columns)));
        for (bin, (rows, columns)) in bins.enumerate() {
            let (mut c, count) = (0, channels.len());
            // SAFETY: the caller's promises. Of a map without values there are no taps; otherwise the last cell has the
            // channels, as asserted, and every block ends at or before the last of them. A vector lies in one slab, whose
            // channels are a multiple of its lanes.
            unsafe {
                let cells = |c| Cells { data: data.as_ptr().wrapping_add(channels.start + c), rows, columns };
                while c + 8 * V::LANES <= count {
                    mean_of_vectors::<V, 8>(cells(c), places, bin, c);
                    c += 8 * V::LANES;
                }
                while c + 2 * V::LANES <= count {
                    mean_of_vectors::<V, 2>(cells(c), places, bin, c);
                    c += 2 * V::LANES;
                }
                while c + V::LANES <= count {
                    mean_of_vectors::<V, 1>(cells(c), places, bin, c);
                    c += V::LANES;
                }
                while c < count {
                    places.of(bin, c).write(mean(cells(c)));
                    c += 1;
                }
            }
        }
        if places.stream {
            V::fence();
        }
    }
}

/// Mean of a bin in the `N` vectors of channels from channel `c` on.
///
/// # Safety
/// The CPU has the instruction set of `V`; that many values are readable at each cell, and there are places for them.
#[inline(always)]
unsafe fn mean_of_vectors<V: Vector, const N: usize>(cells: Cells<'_>, places: Places, bin: usize, c: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [V::splat(0.0); N];
        for row in cells.rows {
            for column in cells.columns {
                let cell = cells.data.add(row.at + column.at);
                let weight = V::splat(row.weight * column.weight);
                for (i, sum) in sums.iter_mut().enumerate() {
                    // Not `mul_add`, which some instruction sets round once and others twice.
                    *sum = sum.add(V::load(cell.add(i * V::LANES)).mul(weight));
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let to = places.of(bin, c + i * V::LANES);
            if places.stream { sum.stream(to) } else { sum.store(to) }
        }
    }
}

/// The same in one channel.
///
/// # Safety
/// A value is readable at each cell.
#[inline(always)]
unsafe fn mean(cells: Cells<'_>) -> f32 {
    let mut sum = 0.0;
    for row in cells.rows {
        for column in cells.columns {
            // SAFETY: the caller's promise.
            sum += unsafe { *cells.data.add(row.at + column.at) } * (row.weight * column.weight);
        }
    }
    sum
}
