//! The bins of many RoIs as pairs of windows whose sides are powers of two.
//!
//! ```text
//!   a bin of 5 cells           . x x x x x .
//!   two windows of 4 cells       a-----a        maximum of the bin = the greater of the windows' maxima
//!                                  b-----b
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::Roi;

use super::{FeatureMap, bin_count, edges::Edges};
use crate::{CacheInfo, blocking, len_of};

/// The cells of a bin along one axis, `first..end`: windows of `1 << log2_side` cells that begin at `first` and at `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) log2_side: u16,
    end: u16,
}

impl Span {
    /// The `log2_side` of a bin without cells.
    pub(super) const EMPTY: u16 = u16::MAX;

    /// The cells of the bin.
    pub(super) fn cells(self) -> Range<usize> {
        usize::from(self.first)..usize::from(self.end)
    }

    /// None when a coordinate does not fit.
    fn new(start: usize, end: usize) -> Option<Span> {
        if start >= end {
            return Some(Span { first: 0, last: 0, log2_side: Self::EMPTY, end: 0 });
        }
        let (first, end_as_u16) = (u16::try_from(start).ok()?, u16::try_from(end).ok()?);
        let log2_side = (end - start).ilog2();
        let last = end_as_u16 - (1 << log2_side);
        Some(Span { first, last, log2_side: log2_side as u16, end: end_as_u16 })
    }
}

/// The bins of some RoIs of one map.
pub(super) struct Spans<'a> {
    /// For each RoI and each grid its rows of bins, then its columns.
    pub(super) spans: Vec<Span>,
    /// Rows and columns of each grid.
    pub(super) pooled: &'a [[usize; 2]],
    /// Bit `kx` of element `ky`: whether windows of `1 << ky` rows and `1 << kx` columns are asked for.
    pub(super) windows: [u32; SIDES],
    /// Whether bins are looked up in tables of maxima; otherwise each of their cells is looked at, in the first plane.
    pub(super) lookup: bool,
}

/// Sides that the windows of a [`Span`] can have.
pub(super) const SIDES: usize = 16;

impl<'a> Spans<'a> {
    /// None where there are fewer bins than cells, whose copy would not pay, or where it would not stay in the cache.
    pub(super) fn new<T: Copy>(
        map: FeatureMap<'_, T>,
        rois: &[Roi],
        pooled: &'a [[usize; 2]],
    ) -> Option<Self> {
        let bins = len_of(&[rois.len(), bin_count(pooled)]);
        let most = most_planes([map.height, map.width], rois.len(), pooled);
        // Not even a look at RoIs that are too few.
        if most == 0 {
            return None;
        }
        let (mut spans, cells) = Spans::of(map, rois, pooled)?;
        let planes = spans.planes();
        let made = (planes - 1) as f32 * (map.height * map.width) as f32;
        spans.lookup = planes <= most && cells > TABLE_CELL_COST * made + LOOKUP_COST * bins as f32;
        Some(if spans.lookup { spans } else { spans.without_lookup() })
    }

    /// The same bins, of which each cell is looked at.
    pub(super) fn without_lookup(self) -> Self {
        let mut windows = [0; SIDES];
        windows[0] = 1;
        Spans { windows, lookup: false, ..self }
    }

    /// The bins, to be looked up, and how many cells all of them have; none where a coordinate does not fit.
    pub(super) fn of<T: Copy>(
        map: FeatureMap<'_, T>,
        rois: &[Roi],
        pooled: &'a [[usize; 2]],
    ) -> Option<(Self, f32)> {
        let mut edges = Edges::of(pooled);
        let mut spans = Vec::with_capacity(rois.len().saturating_mul(pooled.iter().flatten().sum()));
        let mut windows = [0; SIDES];
        let mut cells = 0.0;
        for roi in rois {
            Edges::set(&mut edges, roi, map);
            for Edges { rows, columns } in &edges {
                let (mut row_sides, mut column_sides) = (0u32, 0u32);
                for (axis, sides) in [(rows, &mut row_sides), (columns, &mut column_sides)] {
                    for range in axis {
                        let span = Span::new(range.start, range.end)?;
                        spans.push(span);
                        *sides |= 1u32.checked_shl(u32::from(span.log2_side)).unwrap_or(0);
                    }
                }
                for (side, columns) in windows.iter_mut().enumerate() {
                    *columns |= if row_sides >> side & 1 == 1 { column_sides } else { 0 };
                }
                let count = |axis: &[Range<usize>]| axis.iter().map(|r| r.len()).sum::<usize>() as f32;
                cells += count(rows) * count(columns);
            }
        }
        make_reachable(&mut windows);
        Some((Spans { spans, pooled, windows, lookup: true }, cells))
    }

    /// Of each RoI and of each of its grids the rows of bins and the columns: the output has the bins grid by grid, row by row.
    #[inline(always)]
    pub(super) fn rois(&self) -> impl Iterator<Item = impl Iterator<Item = (&[Span], &[Span])>> {
        let of_roi: usize = self.pooled.iter().flatten().sum();
        self.spans.chunks_exact(of_roi.max(1)).map(|mut left| {
            self.pooled.iter().map(move |&[ph, pw]| {
                let (grid, later) = left.split_at(ph + pw);
                left = later;
                grid.split_at(ph)
            })
        })
    }

    /// Kinds of windows.
    pub(super) fn planes(&self) -> usize {
        self.windows.iter().map(|columns| columns.count_ones() as usize).sum()
    }
}

/// Planes of a table, at most: of the windows that bins can have, and as many as stay in the cache. None where there are fewer bins
/// than cells.
///
/// An RoI may be longer than the map by a part, for convolutions without padding make this smaller than the image is. Bins of one
/// that reaches farther beyond may ask for more planes; then RoIs are pooled one by one.
pub(super) fn most_planes(map: [usize; 2], rois: usize, pooled: &[[usize; 2]]) -> usize {
    let [height, width] = map;
    let cells = height.saturating_mul(width);
    if rois.saturating_mul(bin_count(pooled)) < cells {
        return 0;
    }
    let sides = |axis: usize, len: usize| {
        let longest = len.saturating_add(len / 8 + 2);
        let of_bins = pooled.iter().map(|grid| longest.div_ceil(grid[axis].max(1)) + 1);
        of_bins.max().unwrap_or(0).min(len).checked_ilog2().map_or(0, |side| side as usize + 1)
    };
    (sides(0, height) * sides(1, width)).min(blocking::table_cells(CacheInfo::detect()) / cells.max(1))
}

/// What a cell of a plane costs to make of two others, in cells of the first plane that are looked at; in cycles of a
/// Cortex-A53's loads and stores, and measured on x86, where looking takes half as many instructions and tables leave L2.
const TABLE_CELL_COST: f32 = if cfg!(target_arch = "aarch64") { 2.0 } else { 4.5 };
/// What it costs to look a bin up, beyond what it costs to begin looking at its cells: four loads at known places, against
/// loops over its rows and columns.
const LOOKUP_COST: f32 = if cfg!(target_arch = "aarch64") { 2.5 } else { -2.0 };

/// Adds the windows that larger ones are made of: of half the rows, or, when they are of one row, of half the columns.
fn make_reachable(windows: &mut [u32; SIDES]) {
    for side in (1..SIDES).rev() {
        windows[side - 1] |= windows[side];
    }
    let widest = windows[0].checked_ilog2().unwrap_or(0);
    windows[0] |= (2u32 << widest) - 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_their_cells() {
        for start in 0..5 {
            for end in start..70 {
                let span = Span::new(start, end).unwrap();
                if start == end {
                    assert_eq!(span.log2_side, Span::EMPTY);
                    continue;
                }
                let (first, last, side) =
                    (usize::from(span.first), usize::from(span.last), 1 << span.log2_side);
                assert!(
                    first == start && last + side == end && last <= first + side,
                    "{start}..{end}: {span:?}"
                );
            }
        }
        assert_eq!(Span::new(70_000, 70_001), None);
    }

    /// RoIs of all places and lengths in a map, and by a part beyond it, ask for no more planes than there is room for.
    #[test]
    fn there_is_room_for_the_planes_of_rois_in_the_map() {
        for (height, width, pooled) in [
            (38, 50, &[[7, 7]][..]),
            (60, 80, &[[6, 6]]),
            (20, 30, &[[3, 2]]),
            (13, 17, &[[1, 1], [3, 3]]),
            (1, 64, &[[1, 7]]),
        ] {
            let map = FeatureMap::<f32> { data: &[], height, width, channels: 0 };
            let ends = |len: usize| (len + len / 8 + 2) as i32;
            let mut rois = alloc::vec![];
            for y1 in (0..height as i32).step_by(3) {
                for x1 in (0..width as i32).step_by(3) {
                    for (y2, x2) in (y1..ends(height)).step_by(4).zip((x1..ends(width)).step_by(5)) {
                        rois.push(Roi { level: 0, x1, y1, x2, y2 });
                    }
                }
            }
            rois.push(Roi { level: 0, x1: 0, y1: 0, x2: ends(width) - 1, y2: ends(height) - 1 });
            let (windows, _) = Spans::of(map, &rois, pooled).unwrap();
            let cells = height * width;
            let room = most_planes([height, width], rois.len(), pooled);
            let cached = blocking::table_cells(CacheInfo::detect()) / cells;
            assert!(windows.planes().min(cached) <= room, "{height} x {width}: {} planes", windows.planes());
            assert_eq!(most_planes([height, width], 0, pooled), 0);
        }
    }

    #[test]
    fn larger_windows_bring_the_smaller_ones_they_are_made_of() {
        let mut windows = [0; SIDES];
        windows[2] = 0b1000;
        make_reachable(&mut windows);
        assert_eq!(windows[..4], [0b1111, 0b1000, 0b1000, 0]);
    }
}
