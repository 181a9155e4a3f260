//! RoI max pooling: whatever its size, each RoI becomes `Ph x Pw` bins, the maximum of a bin in each channel.
//!
//! ```text
//!   map [H, W, C]                        an RoI of 5 x 4 cells at x1 = 1, y1 = 1, in 2 x 2 bins
//!   . . . . . . .                        bin width 5 / 2 = 2.5: columns [0, 3) and [2, 5) of the RoI
//!   . a a# b b .                         bin height 4 / 2 = 2:  rows [0, 2) and [2, 4)
//!   . a a# b b .      #: in both bins
//!   . c c# d d .
//!   . c c# d d .
//! ```
//!
//! For an RoI `x1..=x2` along an axis with `P` bins, in f32:
//!
//! ```text
//! w     = max(x2 - x1 + 1, 1)           an inverted RoI is one cell
//! bin   = w / P
//! start = floor(p * bin) + x1           both clipped to [0, W]
//! end   = ceil((p + 1) * bin) + x1
//! ```
//!
//! The products are rounded to f32 on purpose: trained models have seen them so. At P = 7, widths 57, 114 and 121 get
//! a cell more in their last bin than exact arithmetic would give.
//!
//! An empty bin gives 0. Any other gives its maximum, starting from `-f32::MAX` and replaced only by a greater value:
//! NaN is skipped, a bin of nothing but NaN gives `-f32::MAX`, and of +0 and -0 the first wins. Every instruction set
//! gives exactly the bits of [`roi_pool_reference`].
//!
//! Several grids of bins, the levels of SPPnet's spatial pyramid, are pooled in one call: the bins of a grid follow those
//! of the grid before. A level, in this module, is always that of an RoI: the map, of several scales, that it is on.
//!
//! How the time goes down:
//! 1. the edges of an RoI's bins are computed once, not once for each bin;
//! 2. `direct`: channels are contiguous, so a cell is a few vector loads, and a block of channels stays in registers
//!    while the cells of a bin go by;
//! 3. `table`: where RoIs overlap as proposals do, each cell of the map lies in hundreds of bins. Maxima of windows are
//!    then made once for all grids, a slab of 16 channels at a time, and a bin is the maximum of four of them; where bins
//!    have few cells, the slab is only copied, so that its cells are neighbours;
//! 4. `fused`: a fully connected layer takes in each slab while it is in cache. The pooled tensor, 200 MB for 2000 RoIs
//!    of VGG16, is never written, and the layer's weights are read once.

mod cell;
mod direct;
mod edges;
mod fused;
mod reference;
mod spans;
mod table;
#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};
use core::ops::Range;

use frcnn_core::{Roi, ShapeError};

use crate::{
    CacheInfo, Isa,
    aligned::AlignedVec,
    blocking::pooled_values,
    k_order::{SLAB, slabs},
    len_of,
    simd::run_on,
    sync_ptr::SyncPtr,
    tasks,
};
use cell::Cell;
use direct::PoolRoi;
use edges::Edges;
pub use fused::{roi_pool_linear_into, roi_pool_linear_scratch_len};
pub use reference::{roi_pool_bin, roi_pool_reference};
use spans::Spans;
use table::Table;

/// RoIs that a task takes at a time: enough to hide the cost of taking them, few enough to share out evenly.
const ROIS_PER_CHUNK: usize = 4;

/// A feature map `[H, W, C]` of one image.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMap<'a, T = f32> {
    data: &'a [T],
    height: usize,
    width: usize,
    channels: usize,
}

impl<'a> FeatureMap<'a> {
    /// # Errors
    /// `data` does not hold `height * width * channels` values.
    pub fn new(data: &'a [f32], height: usize, width: usize, channels: usize) -> Result<Self, ShapeError> {
        ShapeError::check("data", len_of(&[height, width, channels]), data.len())?;
        Ok(Self { data, height, width, channels })
    }
}

impl<'a, T> FeatureMap<'a, T> {
    /// The values, `[H, W, C]`.
    #[must_use]
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// Rows `H`.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns `W`.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Channels `C`.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }
}

/// Pools `R` RoIs of `map` into `out`, `[R, B, C]`, on the fastest instruction set.
///
/// `pooled` is `[Ph, Pw]` of each grid: one in Fast R-CNN, whose `out` is `[R, Ph, Pw, C]`. `B` counts the bins of all
/// grids; those of a grid are in rows, and behind those of the grid before.
///
/// [`Roi::level`] is not looked at: all RoIs are on this map. They may reach beyond it or be inverted.
///
/// ```
/// use frcnn_core::Roi;
/// use frcnn_kernels::{FeatureMap, roi_pool_into};
/// // 2 rows of 3 cells, 1 channel; the RoI covers all of it and becomes one row of two bins.
/// let map = FeatureMap::new(&[1.0, 5.0, 2.0, -1.0, 0.0, 4.0], 2, 3, 1)?;
/// let roi = Roi { level: 0, x1: 0, y1: 0, x2: 2, y2: 1 };
/// let mut pooled = [0.0; 2];
/// roi_pool_into(map, &[roi], &[[1, 2]], 1, &mut pooled)?;
/// assert_eq!(pooled, [5.0, 5.0]); // both bins, 1.5 cells wide, take in the middle column
/// # Ok::<(), frcnn_kernels::ShapeError>(())
/// ```
///
/// # Errors
/// `out` does not hold `R * B * C` values.
pub fn roi_pool_into(
    map: FeatureMap<'_>,
    rois: &[Roi],
    pooled: &[[usize; 2]],
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    roi_pool_with(Isa::detect(), map, rois, pooled, threads, out)
}

/// [`roi_pool_into`] on a chosen instruction set, for tests and benches. One that the CPU lacks is run as
/// [`Isa::Scalar`]: the results are the same.
///
/// # Errors
/// As [`roi_pool_into`].
pub fn roi_pool_with(
    isa: Isa,
    map: FeatureMap<'_>,
    rois: &[Roi],
    pooled: &[[usize; 2]],
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    roi_pool_in(isa, map, rois, pooled, threads, None, out)
}

/// Values that [`roi_pool_into`] allocates, at most, for so many RoIs of a map of so many rows and columns; saturates.
#[must_use]
pub fn roi_pool_scratch_len(map: [usize; 2], rois: usize, pooled: &[[usize; 2]], threads: usize) -> usize {
    len_of(&[table::most_values::<f32>(map, rois, pooled), threads.max(1)])
}

/// [`roi_pool_with`] with tables in `room`, which begins on a cache line and has [`roi_pool_scratch_len`] values; without it,
/// in memory of its own, of which it takes no more than these RoIs need.
fn roi_pool_in(
    isa: Isa,
    map: FeatureMap<'_>,
    rois: &[Roi],
    pooled: &[[usize; 2]],
    threads: usize,
    room: Option<&mut [f32]>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let roi_len = len_of(&[bin_count(pooled), map.channels]);
    ShapeError::check("out", len_of(&[rois.len(), roi_len]), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    match Spans::new(map, rois, pooled) {
        Some(spans) => {
            let large = out.len() > pooled_values(CacheInfo::detect());
            let out = SyncPtr::new(out);
            let slabs: Vec<_> = slabs(map.channels, SLAB).collect();
            let (tasks, len) = (tasks::task_count(threads), table::values(map, &spans));
            let mut own = AlignedVec::zeros(if room.is_some() { 0 } else { len_of(&[len, tasks]) });
            let mut tables = Table::all(room.unwrap_or(own.as_mut_slice()), len, tasks);
            tasks::for_each_index(&mut tables, slabs.len(), |table, slab| {
                let channels = slabs[slab].clone();
                let bin_stride = map.channels;
                let data = out.offset(channels.start);
                let out = Bins { data, roi_stride: roi_len, bin_stride, large, empty: 0.0 };
                // SAFETY: `out` has `roi_len` values for each RoI, `C` for each bin, and the slabs' channels differ.
                unsafe { pool_slab(isa, table, map, rois, Some(&spans), pooled, channels, out) };
            });
        }
        None => {
            let mut edges: Vec<_> = vec![Edges::of(pooled); tasks::task_count(threads)];
            tasks::for_each_chunk(
                &mut edges,
                out,
                ROIS_PER_CHUNK.saturating_mul(roi_len),
                |edges, i, out| {
                    let rois = rois.iter().skip(i * ROIS_PER_CHUNK);
                    for (roi, out) in rois.zip(out.chunks_exact_mut(roi_len)) {
                        Edges::set(edges, roi, map);
                        let (channels, bin_stride) = (0..map.channels, map.channels);
                        let out = out.as_mut_ptr();
                        run_on(isa, PoolRoi { map, edges, channels, out, bin_stride, empty: 0.0 });
                    }
                },
            );
        }
    }
    Ok(())
}

/// Bins of all grids. A number that overflows saturates, as in [`len_of`].
fn bin_count(pooled: &[[usize; 2]]) -> usize {
    pooled.iter().fold(0usize, |bins, grid| bins.saturating_add(len_of(grid)))
}

/// Where pooled channels of some RoIs go.
#[derive(Clone, Copy)]
struct Bins<T> {
    data: SyncPtr<T>,
    roi_stride: usize,
    bin_stride: usize,
    /// Whether all of it is more than caches hold.
    large: bool,
    /// What an empty bin has in each channel.
    empty: T,
}

impl<T: Cell> Bins<T> {
    /// Whether slabs of bins are written past the caches: whole lines of them.
    fn streams(self) -> bool {
        let aligned = self.data.as_mut_ptr().addr().is_multiple_of(64);
        let whole = [self.roi_stride, self.bin_stride].iter().all(|stride| stride.is_multiple_of(T::SLAB));
        self.large && aligned && whole
    }

    /// # Safety
    /// There is such a bin.
    #[inline(always)]
    unsafe fn of(self, roi: usize, bin: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.data.as_mut_ptr().add(roi * self.roi_stride + bin * self.bin_stride) }
    }
}

/// Pools a slab of channels of all RoIs: by a table of `spans`, or RoI by RoI from the map without.
///
/// # Safety
/// `out` has room for the channels of each bin of each RoI, which no one else touches. `spans` are those of `rois` and
/// `pooled` on `map`.
#[expect(clippy::too_many_arguments, reason = "a unit of work is its operands and where they lie")]
unsafe fn pool_slab<T: Cell>(
    isa: Isa,
    table: &mut Table<'_, T>,
    map: FeatureMap<'_, T>,
    rois: &[Roi],
    spans: Option<&Spans<'_>>,
    pooled: &[[usize; 2]],
    channels: Range<usize>,
    out: Bins<T>,
) {
    if let Some(spans) = spans
        && table.fill(isa, map, channels.start, spans)
    {
        // SAFETY: the caller's promise.
        unsafe { table.pool(isa, map, spans, channels.len(), out) };
        return;
    }
    let mut edges = Edges::of(pooled);
    for (i, roi) in rois.iter().enumerate() {
        Edges::set(&mut edges, roi, map);
        // SAFETY: the caller's promise.
        let roi_out = unsafe { out.of(i, 0) };
        let (channels, bin_stride, empty) = (channels.clone(), out.bin_stride, out.empty);
        run_on(isa, PoolRoi { map, edges: &edges, channels, out: roi_out, bin_stride, empty });
    }
}
