//! RoIAlign: whatever its size, each RoI becomes `Ph x Pw` bins, the mean of points of a bin in each channel. A point is
//! interpolated between the four cells around it, so that nothing is rounded to cells.
//!
//! ```text
//!   an RoI in 2 x 2 bins of 2 x 2 points          one axis: the two points of a bin of 1.5 cells from 3.25 on
//!   +   +       +       +       +
//!       +-------+-------+                           cell  3           4           5
//!   +   | . . + | . .   |   +       +                     +-----.-----+--.--------+
//!       | . .   | . .   |                                    3.625      4.375
//!   +   +---+---+---+---+---+---    +               .375 * 3 + .625 * 4   and   .625 * 4 + .375 * 5:
//!       | . .   | . .   |                           weights .375 / 2, 1.25 / 2, .375 / 2
//!   +   | . . + | . .   |   +       +
//!       +-------+-------+        + cells, . points
//! ```
//!
//! For an RoI from pixel `x1` to `x2` along an axis of `W` cells with `P` bins, in f32, as torchvision and ONNX have it:
//!
//! ```text
//! start = x1 * spatial_scale - offset             offset .5 if `half_pixel`, otherwise 0
//! size  = (x2 - x1) of such corners               at least 1 unless `half_pixel`
//! bin   = size / P
//! n     = sampling_ratio, or ceil(bin) if it is 0
//! point = start + p * bin + (i + .5) * bin / n    for i in 0..n
//! ```
//!
//! A point outside of `[-1, W]` counts as 0. One below 0 lies at 0, one beyond the last cell on it. A bin is the sum of its
//! `n x n` points over their number; one without points, which an inverted RoI has if `half_pixel` and adaptive, is 0.
//!
//! Interpolation is one of rows times one of columns, and so is the mean. Each row of bins has a weight for each row of the map
//! that it reads, and each column likewise, where the weights of points that share a cell are added up: computed once for an
//! RoI, they serve all bins and channels. A bin then is `sum (row weight * column weight) * cell`, each product and each sum
//! rounded, by rows. Every instruction set gives exactly the bits of [`roi_align_reference`].
//!
//! Cells of weight 0 are read, too: where one is NaN, the bin is.

mod axis;
mod bins;
mod fused;
mod reference;
#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};
use core::ops::Range;

use frcnn_core::{BBox, ShapeError};

use crate::{
    CacheInfo, FeatureMap, Isa, blocking::pooled_values, len_of, simd::run_on, sync_ptr::SyncPtr, tasks,
};
use axis::Axis;
use bins::{AlignBins, Places};
pub use fused::{roi_align_linear_into, roi_align_linear_scratch_len};
pub use reference::roi_align_reference;

/// RoIs that a task takes at a time: enough to hide the cost of taking them, few enough to share out evenly.
const ROIS_PER_CHUNK: usize = 4;

/// Where RoIAlign has its bins and their points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoiAlign {
    /// Bins of an RoI, `[Ph, Pw]`.
    pub pooled: [usize; 2],
    /// Points of a bin along each axis, at most [`RoiAlign::MAX_POINTS`]; 0 for as many as the bin has cells, rounded up.
    pub sampling_ratio: usize,
    /// Whether cell 0 is around pixel .5 of its own size, as detectron2's `ROIAlignV2` has it, rather than around 0.
    pub half_pixel: bool,
}

impl RoiAlign {
    /// Points of a bin along an axis, at most: a bin of more cells, which no trained network saw, has its points farther apart.
    pub const MAX_POINTS: usize = 1024;

    /// Bins of an RoI; saturates.
    #[must_use]
    pub fn bins(&self) -> usize {
        len_of(&self.pooled)
    }

    /// Rows and columns of a map of `size` rows and columns, `spatial_scale` cells to a pixel, that the bins of `bbox` may read, which
    /// is in pixels: whatever the map's other cells are, the bins are the same.
    ///
    /// ```
    /// use frcnn_core::BBox;
    /// let align = frcnn_kernels::RoiAlign { pooled: [2, 2], sampling_ratio: 2, half_pixel: false };
    /// // Cells 2.25 to 4.25: the first points are at 2.5 and the last ones at 4.
    /// let bbox = BBox::new(9.0, 9.0, 17.0, 17.0);
    /// assert_eq!(align.cells_read(&bbox, 0.25, [20, 4]), [2..6, 2..4]);
    /// ```
    #[must_use]
    pub fn cells_read(&self, bbox: &BBox, spatial_scale: f32, size: [usize; 2]) -> [Range<usize>; 2] {
        let corners = [[bbox.y1, bbox.y2], [bbox.x1, bbox.x2]];
        [0, 1].map(|i| {
            let in_cells = corners[i].map(|pixel| pixel * spatial_scale);
            axis::cells_read(self, in_cells, self.pooled[i], size[i])
        })
    }

    fn check(&self) -> Result<(), ShapeError> {
        if self.sampling_ratio > Self::MAX_POINTS {
            return Err(ShapeError {
                what: "sampling_ratio, at most",
                expected: Self::MAX_POINTS,
                found: self.sampling_ratio,
            });
        }
        Ok(())
    }
}

/// A region to align, in pixels of the network's input, and the map that it is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlignedRoi {
    /// Index of the map.
    pub level: u16,
    /// Corners; may reach beyond the map or be inverted. They are held within 2^22 cells of cell 0. Where one is NaN, so are
    /// all bins.
    pub bbox: BBox,
}

/// A feature map and how many of its cells a pixel of the network's input is, 1/16 say.
#[derive(Clone, Copy, Debug)]
pub struct ScaledMap<'a> {
    /// `[H, W, C]`.
    pub map: FeatureMap<'a>,
    /// Cells to a pixel.
    pub spatial_scale: f32,
}

/// Aligns `R` RoIs, each on the map of its level, into `out`, `[R, Ph, Pw, C]`, on the fastest instruction set.
///
/// An RoI of a level that has no map gives zeros. RoIs may come in any order.
///
/// ```
/// use frcnn_core::BBox;
/// use frcnn_kernels::{AlignedRoi, FeatureMap, RoiAlign, ScaledMap, roi_align_into};
/// // 2 rows of 3 cells, 1 channel, a cell for each pixel; one bin, of one point in the middle of the RoI.
/// let map = FeatureMap::new(&[1.0, 5.0, 2.0, -1.0, 0.0, 4.0], 2, 3, 1)?;
/// let maps = [ScaledMap { map, spatial_scale: 1.0 }];
/// let rois = [AlignedRoi { level: 0, bbox: BBox::new(0.0, 0.0, 1.0, 1.0) }];
/// let align = RoiAlign { pooled: [1, 1], sampling_ratio: 1, half_pixel: false };
/// let mut aligned = [0.0];
/// roi_align_into(&maps, &rois, &align, 1, &mut aligned)?;
/// assert_eq!(aligned, [(1.0 + 5.0 - 1.0 + 0.0) / 4.0]);
/// # Ok::<(), frcnn_kernels::ShapeError>(())
/// ```
///
/// # Errors
/// `out` does not hold `R * Ph * Pw * C` values, the maps have not all the same channels, there are too many points, or there
/// is no map.
pub fn roi_align_into(
    maps: &[ScaledMap<'_>],
    rois: &[AlignedRoi],
    align: &RoiAlign,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    roi_align_with(Isa::detect(), maps, rois, align, threads, out)
}

/// [`roi_align_into`] on a chosen instruction set, for tests and benches. One that the CPU lacks is run as
/// [`Isa::Scalar`]: the results are the same.
///
/// # Errors
/// As [`roi_align_into`].
pub fn roi_align_with(
    isa: Isa,
    maps: &[ScaledMap<'_>],
    rois: &[AlignedRoi],
    align: &RoiAlign,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let channels = check(maps, align)?;
    ShapeError::check("out", len_of(&[rois.len(), align.bins(), channels]), out.len())?;
    let stream = out.len() > pooled_values(CacheInfo::detect());
    let (out, roi_len) = (SyncPtr::new(out), len_of(&[align.bins(), channels]));
    let mut axes = vec![Axes::default(); tasks::task_count(threads)];
    for_each_roi(&mut axes, rois, |axes, i| {
        let bins = axes.set(maps, &rois[i], align);
        let places = Places::contiguous(out.offset(i * roi_len), channels, stream);
        // SAFETY: `out` has all bins of each RoI, with all channels one after the other.
        unsafe { axes.align(isa, bins, align, 0..channels, places) };
    });
    Ok(())
}

/// Calls `work` once for each RoI: those of a level after one another, and from top to bottom, so that what one reads of the
/// map is still in a cache for the next.
fn for_each_roi<S: Send>(states: &mut [S], rois: &[AlignedRoi], work: impl Fn(&mut S, usize) + Sync) {
    let mut order: Vec<usize> = (0..rois.len()).collect();
    let place = |&i: &usize| (rois[i].level, rois[i].bbox.y1);
    order.sort_unstable_by(|a, b| {
        let ((level, y), (other, other_y)) = (place(a), place(b));
        level.cmp(&other).then(y.total_cmp(&other_y))
    });
    let chunks: Vec<&[usize]> = order.chunks(ROIS_PER_CHUNK).collect();
    tasks::for_each_index(states, chunks.len(), |state, chunk| {
        chunks[chunk].iter().for_each(|&roi| work(state, roi));
    });
}

/// Checks what all RoIs share, and gives the maps' channels.
fn check(maps: &[ScaledMap<'_>], align: &RoiAlign) -> Result<usize, ShapeError> {
    align.check()?;
    let Some(first) = maps.first() else { return Err(ShapeError { what: "maps", expected: 1, found: 0 }) };
    for other in maps {
        ShapeError::check("channels", first.map.channels(), other.map.channels())?;
    }
    Ok(first.map.channels())
}

/// What a task keeps between RoIs.
#[derive(Clone, Default)]
struct Axes {
    rows: Axis,
    columns: Axis,
}

/// What the bins of an RoI are.
#[derive(Clone, Copy)]
enum Bins<'a> {
    /// Means of cells of this map, which the axes were set for.
    Of(FeatureMap<'a>),
    /// All the same.
    All(f32),
}

impl Axes {
    /// Sets them for an RoI.
    fn set<'a>(&mut self, maps: &[ScaledMap<'a>], roi: &AlignedRoi, align: &RoiAlign) -> Bins<'a> {
        let Some(&ScaledMap { map, spatial_scale }) = maps.get(usize::from(roi.level)) else {
            return Bins::All(0.0);
        };
        let ([ph, pw], bbox) = (align.pooled, roi.bbox);
        let (rows, columns) = ([bbox.y1, bbox.y2], [bbox.x1, bbox.x2]);
        let [rows, columns] = [rows, columns].map(|corners| corners.map(|pixel| pixel * spatial_scale));
        let column_stride = map.channels();
        let row_stride = map.width() * column_stride;
        let placed = self.rows.set(align, rows, ph, map.height(), row_stride)
            && self.columns.set(align, columns, pw, map.width(), column_stride);
        if placed { Bins::Of(map) } else { Bins::All(f32::NAN) }
    }

    /// Aligns some channels of the RoI that the axes were set for.
    ///
    /// # Safety
    /// `places` has room for these channels of all bins, which no one else touches.
    unsafe fn align(
        &self,
        isa: Isa,
        bins: Bins<'_>,
        align: &RoiAlign,
        channels: Range<usize>,
        places: Places,
    ) {
        let Self { rows, columns } = self;
        match bins {
            Bins::Of(map) => run_on(isa, AlignBins { data: map.data(), rows, columns, channels, places }),
            // SAFETY: the caller's promise.
            Bins::All(value) => unsafe { places.fill(align.bins(), channels, value) },
        }
    }
}
