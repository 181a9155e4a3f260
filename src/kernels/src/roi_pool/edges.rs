//! Which cells the bins of an RoI cover.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use frcnn_core::Roi;

use super::FeatureMap;

/// The cells that each row and each column of a grid of bins covers, for one RoI at a time; always inside the map.
#[derive(Clone)]
pub(super) struct Edges {
    pub(super) rows: Vec<Range<usize>>,
    pub(super) columns: Vec<Range<usize>>,
}

impl Edges {
    /// Those of each grid.
    pub(super) fn of(pooled: &[[usize; 2]]) -> Vec<Self> {
        pooled
            .iter()
            .map(|&[rows, columns]| Self { rows: vec![0..0; rows], columns: vec![0..0; columns] })
            .collect()
    }

    /// The cells that all bins cover together, row after row, as they are counted in a map of that width.
    pub(super) fn cells(&self, width: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let hull = |bins: &[Range<usize>]| match bins {
            [first, .., last] => first.start..last.end,
            [only] => only.clone(),
            [] => 0..0,
        };
        let (rows, columns) = (hull(&self.rows), hull(&self.columns));
        rows.map(move |y| y * width + columns.start..y * width + columns.end)
    }

    pub(super) fn set<T>(grids: &mut [Self], roi: &Roi, map: FeatureMap<'_, T>) {
        for Self { rows, columns } in grids {
            set_axis(rows, roi.y1, roi.y2, map.height);
            set_axis(columns, roi.x1, roi.x2, map.width);
        }
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
