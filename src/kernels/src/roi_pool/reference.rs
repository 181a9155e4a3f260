//! RoI max pooling as its definition reads.

use core::ops::Range;

use frcnn_core::{Roi, ShapeError};

use super::FeatureMap;
use crate::len_of;

/// The obvious RoI max pooling, which every fast one equals bit for bit; see the crate's `roi_pool_into`.
///
/// `argmax`, `[R, Ph, Pw, C]`, receives the cell `y * W + x` of each maximum: the first of equals, -1 for an empty bin
/// and for one in which nothing is greater than `-f32::MAX`.
///
/// # Errors
/// `out` or `argmax` does not hold `R * Ph * Pw * C` values.
pub fn roi_pool_reference(
    map: FeatureMap<'_>,
    rois: &[Roi],
    pooled: [usize; 2],
    out: &mut [f32],
    mut argmax: Option<&mut [i32]>,
) -> Result<(), ShapeError> {
    let [ph, pw] = pooled;
    let len = len_of(&[rois.len(), ph, pw, map.channels()]);
    ShapeError::check("out", len, out.len())?;
    if let Some(argmax) = &argmax {
        ShapeError::check("argmax", len, argmax.len())?;
    }
    let mut i = 0;
    for roi in rois {
        for py in 0..ph {
            let rows = roi_pool_bin(roi.y1, roi.y2, py, ph, map.height());
            for px in 0..pw {
                let columns = roi_pool_bin(roi.x1, roi.x2, px, pw, map.width());
                for c in 0..map.channels() {
                    let empty = rows.is_empty() || columns.is_empty();
                    let (mut max, mut cell) = (if empty { 0.0 } else { -f32::MAX }, -1);
                    for y in rows.clone() {
                        for x in columns.clone() {
                            let value = map.data()[(y * map.width() + x) * map.channels() + c];
                            if value > max {
                                (max, cell) = (value, (y * map.width() + x) as i32);
                            }
                        }
                    }
                    out[i] = max;
                    if let Some(argmax) = &mut argmax {
                        argmax[i] = cell;
                    }
                    i += 1;
                }
            }
        }
    }
    Ok(())
}

/// Cells that bin `p` of `pooled` covers of an axis with `len` cells, for an RoI from cell `first` to cell `last`.
///
/// Empty when the bin lies outside the axis. For whoever needs to know which cells a bin took, as training does.
#[must_use]
pub fn roi_pool_bin(first: i32, last: i32, p: usize, pooled: usize, len: usize) -> Range<usize> {
    let width = (i64::from(last) - i64::from(first) + 1).max(1);
    let bin = width as f32 / pooled as f32;
    let start = libm::floorf(p as f32 * bin) as i64 + i64::from(first);
    let end = libm::ceilf((p as f32 + 1.0) * bin) as i64 + i64::from(first);
    let clip = |cell: i64| cell.clamp(0, len as i64) as usize;
    clip(start)..clip(end)
}
