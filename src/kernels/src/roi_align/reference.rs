//! RoIAlign as its definition reads, by rows and columns.

use alloc::{vec, vec::Vec};

use frcnn_core::ShapeError;

use super::{AlignedRoi, RoiAlign, ScaledMap, check};
use crate::len_of;

/// The obvious RoIAlign, which every fast one equals bit for bit; see the crate's `roi_align_into`.
///
/// # Errors
/// As there.
pub fn roi_align_reference(
    maps: &[ScaledMap<'_>],
    rois: &[AlignedRoi],
    align: &RoiAlign,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let channels = check(maps, align)?;
    let [ph, pw] = align.pooled;
    ShapeError::check("out", len_of(&[rois.len(), ph, pw, channels]), out.len())?;
    let mut bins = out.chunks_exact_mut(channels.max(1));
    for roi in rois {
        let map = maps.get(usize::from(roi.level));
        for py in 0..ph {
            for px in 0..pw {
                let Some(out) = bins.next() else { return Ok(()) };
                let Some(&ScaledMap { map, spatial_scale }) = map else {
                    out.fill(0.0);
                    continue;
                };
                let axis = |from: f32, to: f32, p, bins, cells| {
                    weights(align, from * spatial_scale, to * spatial_scale, p, bins, cells)
                };
                let rows = axis(roi.bbox.y1, roi.bbox.y2, py, ph, map.height());
                let columns = axis(roi.bbox.x1, roi.bbox.x2, px, pw, map.width());
                let (Some(rows), Some(columns)) = (rows, columns) else {
                    out.fill(f32::NAN);
                    continue;
                };
                for (c, out) in out.iter_mut().enumerate() {
                    *out = 0.0;
                    for &(y, row_weight) in &rows {
                        for &(x, column_weight) in &columns {
                            let cell = map.data()[(y * map.width() + x) * channels + c];
                            *out += cell * (row_weight * column_weight);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// The cells of an axis that bin `p` of `bins` reads, in ascending order, and their weights; `None` for an RoI without a place.
fn weights(
    align: &RoiAlign,
    from: f32,
    to: f32,
    p: usize,
    bins: usize,
    cells: usize,
) -> Option<Vec<(usize, f32)>> {
    let offset = if align.half_pixel { 0.5 } else { 0.0 };
    let corner = |cell: f32| (cell - offset).clamp(-4_194_304.0, 4_194_304.0);
    let (start, end) = (corner(from), corner(to));
    if start.is_nan() || end.is_nan() {
        return None;
    }
    let size = if align.half_pixel || end - start > 1.0 { end - start } else { 1.0 };
    let bin = size / bins as f32;
    let adaptive = libm::ceilf(bin).clamp(0.0, RoiAlign::MAX_POINTS as f32) as usize;
    let n = if align.sampling_ratio > 0 { align.sampling_ratio } else { adaptive };
    let mut sums = vec![None; cells];
    let mut add = |cell: usize, weight: f32| *sums[cell].get_or_insert(0.0) += weight;
    for i in 0..n {
        let point = start + p as f32 * bin + (i as f32 + 0.5) * bin / n as f32;
        if cells == 0 || point < -1.0 || point > cells as f32 {
            continue;
        }
        let point = if point > 0.0 { point } else { 0.0 };
        let low = libm::floorf(point);
        if low as usize + 1 >= cells {
            add(cells - 1, 1.0);
        } else {
            add(low as usize, 1.0 - (point - low));
            add(low as usize + 1, point - low);
        }
    }
    let read = sums.into_iter().enumerate();
    Some(read.filter_map(|(cell, sum)| Some((cell, sum? / n as f32))).collect())
}
