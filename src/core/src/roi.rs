//! RoIs: proposals as rounded feature-map cells, deduplicated without loss.
//!
//! RoI pooling rounds an RoI's corners to feature-map cells before it looks at anything, so proposals with equal
//! cells pool equal features: one pass of the head serves them all, and each is decoded with its own box.
//!
//! ```
//! use frcnn_core::{BBox, NO_ROI, Roi, project_rois};
//! let boxes = [
//!     BBox::new(100.0, 0.0, 300.0, 300.0),
//!     BBox::new(0.0, 0.0, 159.0, 159.0),
//!     BBox::new(5.0, 5.0, 2.0, 9.0), // inverted
//!     BBox::new(1.0, 1.0, 160.0, 160.0),
//! ];
//! let (mut rois, mut index) = ([Roi::default(); 4], [0; 4]);
//! let distinct = project_rois(&boxes, &[1.0], 1.0 / 16.0, 1.0, &mut rois, &mut index)?;
//! assert_eq!(distinct, 2);
//! assert_eq!(rois[0], Roi { level: 0, y1: 0, x1: 0, y2: 10, x2: 10 });
//! assert_eq!(index, [1, 0, NO_ROI, 0]);
//! # Ok::<(), frcnn_core::ShapeError>(())
//! ```

use crate::{BBox, ShapeError, scale::nearest_level};

/// The index of a box that has no RoI because it is not [valid](BBox::is_valid).
pub const NO_ROI: u32 = u32::MAX;

/// Cells are clamped to this distance from 0, so that a width of two of them, plus one, is exact in f32.
pub const MAX_CELL: i32 = 1 << 22;

/// An RoI in cells of one pyramid level's feature map, corners inclusive.
///
/// May reach beyond the map and may be inverted; RoI pooling defines both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Roi {
    /// Pyramid level: index of the image scale.
    pub level: u16,
    /// Top row.
    pub y1: i32,
    /// Left column.
    pub x1: i32,
    /// Bottom row, inclusive.
    pub y2: i32,
    /// Right column, inclusive.
    pub x2: i32,
}

impl Roi {
    /// The cells of an RoI in network pixels: each corner times `spatial_scale` in f32, rounded half away from zero.
    ///
    /// Cells are clamped to +-[`MAX_CELL`]; NaN becomes cell 0.
    #[must_use]
    pub fn from_network(level: u16, x1: f32, y1: f32, x2: f32, y2: f32, spatial_scale: f32) -> Self {
        let cell = |pixel: f32| {
            let limit = MAX_CELL as f32;
            // The cast sends NaN to 0.
            libm::roundf(pixel * spatial_scale).clamp(-limit, limit) as i32
        };
        Self { level, y1: cell(y1), x1: cell(x1), y2: cell(y2), x2: cell(x2) }
    }

    /// The pixels of an image that R-CNN warps to a square of `side` pixels for a box: the box, dilated about its centre so
    /// that `context` pixels of the square, on each of its sides, lie around it.
    ///
    /// As published, corners are rounded to whole pixels half away from zero; the last column is
    /// `round(centre + side / (side - 2 context) * width / 2)` and so on, inclusive. In f64.
    #[must_use]
    pub fn window(bbox: &BBox, side: u32, context: u32, width_offset: f32) -> Self {
        let inner = (f64::from(side) - 2.0 * f64::from(context)).max(1.0);
        let scale = f64::from(side) / inner;
        let axis = |first: f32, last: f32| {
            let half = (f64::from(last) - f64::from(first) + f64::from(width_offset)) / 2.0;
            let centre = f64::from(first) + half;
            let limit = f64::from(MAX_CELL);
            let pixel = |at: f64| libm::round(at).clamp(-limit, limit) as i32;
            (pixel(centre - half * scale), pixel(centre + half * scale))
        };
        let ((x1, x2), (y1, y2)) = (axis(bbox.x1, bbox.x2), axis(bbox.y1, bbox.y2));
        Self { level: 0, y1, x1, y2, x2 }
    }

    /// The cells of a box in image pixels: each corner times `im_scale` in f64, then rounded to f32 as the network's
    /// `rois` input holds it, then [`Roi::from_network`].
    #[must_use]
    pub fn project(level: u16, bbox: &BBox, im_scale: f64, spatial_scale: f32) -> Self {
        let network = |pixel: f32| (f64::from(pixel) * im_scale) as f32;
        Self::from_network(
            level,
            network(bbox.x1),
            network(bbox.y1),
            network(bbox.x2),
            network(bbox.y2),
            spatial_scale,
        )
    }
}

/// Projects every box to the pyramid level that suits it and drops the duplicates.
///
/// Returns the number `d` of distinct RoIs; `rois[..d]` holds them in ascending order (so by level first), what
/// follows is unspecified. `index[i]` is the position in `rois` of box `i`'s RoI. A box that is not
/// [valid](BBox::is_valid) has no RoI: its index is [`NO_ROI`], and it yields no detection.
///
/// `im_scales` lists the image scale of each level; see [`nearest_level`]. None at all means one level of scale 1.
/// Takes O(n log n) time for n boxes and no memory but the two slices.
///
/// # Errors
/// `rois` or `index` does not have one entry for each box.
pub fn project_rois(
    boxes: &[BBox],
    im_scales: &[f64],
    spatial_scale: f32,
    width_offset: f32,
    rois: &mut [Roi],
    index: &mut [u32],
) -> Result<usize, ShapeError> {
    distinct_rois(boxes, rois, index, |bbox| {
        let level = nearest_level(bbox, im_scales, width_offset);
        let scale = im_scales.get(level).copied().unwrap_or(1.0);
        Roi::project(u16::try_from(level).unwrap_or(u16::MAX), bbox, scale, spatial_scale)
    })
}

/// The [windows](Roi::window) of all boxes as [`project_rois`] gives RoIs, distinct and with the index back: boxes with
/// equal windows show R-CNN's network the same pixels.
///
/// # Errors
/// `rois` or `index` does not have one entry for each box.
pub fn window_rois(
    boxes: &[BBox],
    side: u32,
    context: u32,
    width_offset: f32,
    rois: &mut [Roi],
    index: &mut [u32],
) -> Result<usize, ShapeError> {
    distinct_rois(boxes, rois, index, |bbox| Roi::window(bbox, side, context, width_offset))
}

fn distinct_rois(
    boxes: &[BBox],
    rois: &mut [Roi],
    index: &mut [u32],
    project: impl Fn(&BBox) -> Roi,
) -> Result<usize, ShapeError> {
    ShapeError::check("rois", boxes.len(), rois.len())?;
    ShapeError::check("index", boxes.len(), index.len())?;
    let mut count = 0;
    for (roi, bbox) in rois.iter_mut().zip(boxes.iter().filter(|bbox| bbox.is_valid())) {
        *roi = project(bbox);
        count += 1;
    }
    let rois = &mut rois[..count];
    rois.sort_unstable();
    let count = dedup_sorted(rois);
    let distinct = &rois[..count];
    // Looking each RoI up again costs no more than the sort and spares the caller a third slice.
    for (position, bbox) in index.iter_mut().zip(boxes) {
        let found = if bbox.is_valid() { distinct.binary_search(&project(bbox)).ok() } else { None };
        *position = found.and_then(|i| u32::try_from(i).ok()).unwrap_or(NO_ROI);
    }
    Ok(distinct.len())
}

/// Moves the first of each run of equals to the front, in order, and returns how many there are.
fn dedup_sorted(rois: &mut [Roi]) -> usize {
    let mut kept = 0;
    for i in 0..rois.len() {
        if kept == 0 || rois[i] != rois[kept - 1] {
            rois[kept] = rois[i];
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    #[test]
    fn rounds_half_away_from_zero() {
        let roi = Roi::from_network(3, -8.0, 8.0, 24.0, 23.9, 1.0 / 16.0);
        // -0.5, 0.5, 1.5, 1.49: half to even would give 0, 0, 2, 1.
        assert_eq!(roi, Roi { level: 3, x1: -1, y1: 1, x2: 2, y2: 1 });
    }

    #[test]
    fn cells_are_clamped_and_nan_is_zero() {
        let roi = Roi::from_network(0, f32::NAN, f32::NEG_INFINITY, 1e30, f32::INFINITY, 1.0);
        assert_eq!(roi, Roi { level: 0, x1: 0, y1: -MAX_CELL, x2: MAX_CELL, y2: MAX_CELL });
        // The widest RoI still has an exact f32 width.
        let width = 2 * MAX_CELL + 1;
        assert_eq!(width as f32 as i32, width);
    }

    #[test]
    fn projects_through_an_f32_network_coordinate() {
        let bbox = BBox::new(5.0, 10.0, 100.0, 200.0);
        // 8, 16, 160, 320 network pixels at s = 1.6.
        assert_eq!(Roi::project(1, &bbox, 1.6, 1.0 / 16.0), Roi { level: 1, x1: 1, y1: 1, x2: 10, y2: 20 });
        // 0.3f32 * 80 in f64 is 24.000000953..., one f32 step is 1.9e-6: rounds to 24 exactly, 1.5 cells, hence 2.
        // 0.29999998 * 80 = 23.9999986 stays below.
        assert_eq!(Roi::project(0, &BBox::new(0.3, 0.299_999_98, 1.0, 1.0), 80.0, 1.0 / 16.0).x1, 2);
        assert_eq!(Roi::project(0, &BBox::new(0.3, 0.299_999_98, 1.0, 1.0), 80.0, 1.0 / 16.0).y1, 1);
    }

    #[test]
    fn a_window_has_its_context() {
        // 224 / (224 - 32) = 7 / 6: 96 pixels, 8 more on each side. The last column is inclusive, so one more.
        let bbox = BBox::new(100.0, 40.0, 195.0, 87.0);
        let window = Roi { level: 0, x1: 92, y1: 36, x2: 204, y2: 92 };
        assert_eq!(Roi::window(&bbox, 224, 16, 1.0), window);
        // Without context: from the first pixel to the one behind the last.
        assert_eq!(Roi::window(&bbox, 224, 0, 1.0), Roi { level: 0, x1: 100, y1: 40, x2: 196, y2: 88 });
        // -0.5 rounds away from zero.
        assert_eq!(Roi::window(&BBox::new(0.0, 0.0, 5.0, 5.0), 224, 16, 1.0).x1, -1);
        let wild = Roi::window(&BBox::new(-1e38, 0.0, 1e38, f32::NAN), 224, 16, 1.0);
        assert_eq!((wild.x1, wild.x2), (-MAX_CELL, MAX_CELL));
    }

    #[test]
    fn equal_windows_are_one() {
        let boxes = [
            BBox::new(10.0, 10.0, 50.0, 50.0),
            BBox::new(f32::NAN, 0.0, 1.0, 1.0),
            BBox::new(10.05, 10.0, 50.05, 50.0),
            BBox::new(0.0, 0.0, 5.0, 5.0),
        ];
        let (mut rois, mut index) = ([Roi::default(); 4], [9; 4]);
        assert_eq!(window_rois(&boxes, 224, 16, 1.0, &mut rois, &mut index), Ok(2));
        assert_eq!(index, [1, NO_ROI, 1, 0]);
        assert_eq!(rois[1], Roi::window(&boxes[0], 224, 16, 1.0));
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let boxes = [BBox::default(); 2];
        let mut rois = [Roi::default(); 3];
        let mut index = [0; 3];
        let error = project_rois(&boxes, &[1.0], 1.0, 1.0, &mut rois, &mut index[..2]).unwrap_err();
        assert_eq!(error, ShapeError { what: "rois", expected: 2, found: 3 });
        let error = project_rois(&boxes, &[1.0], 1.0, 1.0, &mut rois[..2], &mut index[..1]).unwrap_err();
        assert_eq!(error, ShapeError { what: "index", expected: 2, found: 1 });
    }

    #[test]
    fn no_boxes_and_only_invalid_boxes() {
        assert_eq!(project_rois(&[], &[1.0], 1.0, 1.0, &mut [], &mut []), Ok(0));
        let boxes = [BBox::new(f32::NAN, 0.0, 1.0, 1.0), BBox::new(3.0, 0.0, 1.0, 1.0)];
        let (mut rois, mut index) = ([Roi::default(); 2], [0; 2]);
        assert_eq!(project_rois(&boxes, &[1.0], 1.0, 1.0, &mut rois, &mut index), Ok(0));
        assert_eq!(index, [NO_ROI; 2]);
    }

    #[test]
    fn levels_keep_equal_cells_apart() {
        // 448 pixels at scale 0.5 and 224 at scale 1 cover the same cells of different maps.
        let boxes = [BBox::new(0.0, 0.0, 223.0, 223.0), BBox::new(0.0, 0.0, 447.0, 447.0)];
        let (mut rois, mut index) = ([Roi::default(); 2], [9; 2]);
        assert_eq!(project_rois(&boxes, &[0.5, 1.0], 1.0 / 16.0, 1.0, &mut rois, &mut index), Ok(2));
        assert_eq!((rois[0].level, rois[1].level), (0, 1));
        assert_eq!(rois[0], Roi { level: 0, ..rois[1] });
        assert_eq!(index, [1, 0]);
    }

    fn any_boxes() -> impl Strategy<Value = Vec<BBox>> {
        let coordinate = prop_oneof![20 => 0.0f32..200.0, 1 => Just(f32::NAN)];
        prop::collection::vec(
            (coordinate.clone(), coordinate, -5.0f32..60.0, -5.0f32..60.0)
                .prop_map(|(x, y, w, h)| BBox::new(x, y, x + w, y + h)),
            0..200,
        )
    }

    proptest! {
        #[test]
        fn dedup_is_lossless(boxes in any_boxes()) {
            let scales = [2.0, 4.0];
            let mut rois = vec![Roi::default(); boxes.len()];
            let mut index = vec![0; boxes.len()];
            let d = project_rois(&boxes, &scales, 1.0 / 16.0, 1.0, &mut rois, &mut index).unwrap();
            prop_assert!(rois[..d].is_sorted_by(|a, b| a < b), "sorted and distinct");
            let mut used = vec![false; d];
            for (bbox, &i) in boxes.iter().zip(&index) {
                if !bbox.is_valid() {
                    prop_assert_eq!(i, NO_ROI);
                    continue;
                }
                let level = nearest_level(bbox, &scales, 1.0);
                let own = Roi::project(level as u16, bbox, scales[level], 1.0 / 16.0);
                prop_assert_eq!(rois[i as usize], own);
                used[i as usize] = true;
            }
            prop_assert!(used.iter().all(|&u| u), "an RoI that no box asked for");
        }
    }
}
