//! Pooling with tables of maxima: a bin costs four loads, however many cells it has.
//!
//! ```text
//!   plane (ky, kx) [y, x] = maximum of the 2^ky x 2^kx cells from (y, x) on      planes of a slab of 16 channels:
//!                                                                               [H, W, 16] each, together in L2
//!   bin = max of 4 windows that overlap     a---b      plane (1, 1) at its four
//!                                           |   |      corners for a bin of
//!                                           c---d      3 x 3 cells
//! ```
//!
//! Bender and Farach-Colton's sparse table ("The LCA problem revisited", 2000) in two dimensions. A plane is made from
//! one of half its size. Only the planes that some bin asks for are made: they grow with the logarithm of the bins'
//! sides, not with the map's.
//!
//! Where bins have so few cells that this does not pay, the first plane is made alone and every cell of a bin is looked at
//! in it (`ScanSpans`): in the map, cells are a power of two of bytes apart as a rule, and meet in a few sets of the cache.
//!
//! A slab of bytes is 64 channels, a cache line as well.
//!
//! A NaN loses against any value and a maximum is the same bits in whatever order values come, but for zeros of either
//! sign: a slab that holds a -0 is left to `direct`.

use alloc::vec::Vec;

use super::{
    Bins, FeatureMap,
    cell::{Cell, MAX_SLAB},
    spans::{self, SIDES, Span, Spans},
};
use crate::{
    Isa, len_of,
    simd::{Kernel, Vector, run_on},
};

/// A slab's planes for one map after another; what they hold does not outlive a slab.
pub(super) struct Table<'a, T> {
    data: &'a mut [T],
}

/// Values of a table, at most, for so many RoIs of a map of so many rows and columns.
pub(super) fn most_values<T: Cell>(map: [usize; 2], rois: usize, pooled: &[[usize; 2]]) -> usize {
    len_of(&[spans::most_planes(map, rois, pooled), plane_len::<T>(map)])
}

/// Values of a table of these planes.
pub(super) fn values<T: Cell>(map: FeatureMap<'_, T>, spans: &Spans<'_>) -> usize {
    len_of(&[spans.planes(), plane_len::<T>([map.height, map.width])])
}

impl<'a, T: Cell> Table<'a, T> {
    /// One for each task, of `len` values each, which lie one after the other in `room` and begin on cache lines as it does.
    pub(super) fn all(mut room: &'a mut [T], len: usize, tasks: usize) -> Vec<Self> {
        (0..tasks).map(|_| Self { data: room.split_off_mut(..len).unwrap_or_default() }).collect()
    }

    /// Makes the planes that `spans` asks for of the slab from channel `first` on. False, and no table, if the slab
    /// holds a -0, or if there is no room for it.
    pub(super) fn fill(&mut self, isa: Isa, map: FeatureMap<'_, T>, first: usize, spans: &Spans<'_>) -> bool {
        let plane = plane_len::<T>([map.height, map.width]);
        let planes = Planes::new(spans);
        if self.data.len() < values(map, spans) {
            return false;
        }
        let cells = &mut self.data[..map.height * map.width * T::SLAB];
        let width = T::SLAB.min(map.channels - first);
        for (to, from) in cells.chunks_exact_mut(T::SLAB).zip(map.data.chunks_exact(map.channels)) {
            let from = &from[first..first + width];
            if width == T::SLAB {
                to.copy_from_slice(&from[..T::SLAB]);
            } else {
                to[..width].copy_from_slice(from);
                to[width..].fill(T::default());
            }
        }
        if !T::prepare(cells) {
            return false;
        }
        for Made { index, source, by: [dy, dx] } in planes.steps() {
            let (below, from_here) = self.data.split_at_mut(index * plane);
            let source = &below[source * plane..][..plane];
            // Windows that would reach over the edge are never asked for; theirs are made of what follows.
            let by = (dy * map.width + dx) * T::SLAB;
            let len = (map.height * map.width * T::SLAB).saturating_sub(by);
            run_on(isa, Fold { a: &source[..len], b: &source[by..][..len], out: &mut from_here[..len] });
        }
        true
    }

    /// Pools the RoIs of `spans`; the table was filled for them.
    ///
    /// # Safety
    /// `out` has room for `width` values, at most [`Feature::SLAB`](crate::pooled::Feature::SLAB), of each bin.
    pub(super) unsafe fn pool(
        &self,
        isa: Isa,
        map: FeatureMap<'_, T>,
        spans: &Spans<'_>,
        width: usize,
        out: Bins<T>,
    ) {
        if spans.lookup {
            let planes = Planes::new(spans);
            run_on(isa, PoolSpans { data: self.data, map, spans, planes: &planes, width, out });
        } else {
            run_on(isa, ScanSpans { data: self.data, map, spans, width, out });
        }
    }
}

/// Values in a plane: whole cache lines, an odd number of them so that planes do not meet in the same sets.
fn plane_len<T: Cell>(map: [usize; 2]) -> usize {
    len_of(&[len_of(&map) | 1, T::SLAB])
}

/// Where the planes of the windows asked for lie.
struct Planes {
    /// Position of plane (ky, kx), if it is there.
    index: [[Option<u16>; SIDES]; SIDES],
}

impl Planes {
    fn new(spans: &Spans<'_>) -> Self {
        let mut index = [[None; SIDES]; SIDES];
        let mut next = 0;
        for (ky, row) in index.iter_mut().enumerate() {
            for (kx, place) in row.iter_mut().enumerate() {
                if spans.windows[ky] >> kx & 1 == 1 {
                    *place = Some(next);
                    next += 1;
                }
            }
        }
        Self { index }
    }

    /// The planes after the first, each after the one that it is made from.
    fn steps(&self) -> Vec<Made> {
        let mut steps = Vec::new();
        for (ky, row) in self.index.iter().enumerate() {
            for (kx, place) in row.iter().enumerate() {
                let (source, by) = match (ky, kx) {
                    (0, 0) => continue,
                    (0, _) => (self.index[0][kx - 1], [0, 1 << (kx - 1)]),
                    _ => (self.index[ky - 1][kx], [1 << (ky - 1), 0]),
                };
                if let (&Some(index), Some(source)) = (place, source) {
                    steps.push(Made { index: usize::from(index), source: usize::from(source), by });
                }
            }
        }
        steps
    }
}

/// A plane of maxima of two windows in an earlier one, `by` rows and columns apart.
struct Made {
    index: usize,
    source: usize,
    by: [usize; 2],
}

/// [`Cell::max_into`].
struct Fold<'a, T> {
    a: &'a [T],
    b: &'a [T],
    out: &'a mut [T],
}

impl<T: Cell> Kernel for Fold<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller's promise.
        unsafe { T::max_into::<V>(self.a, self.b, self.out) };
    }
}

/// The arguments of [`Table::pool`].
struct PoolSpans<'a, T> {
    data: &'a [T],
    map: FeatureMap<'a, T>,
    spans: &'a Spans<'a>,
    planes: &'a Planes,
    width: usize,
    out: Bins<T>,
}

impl<T: Cell> Kernel for PoolSpans<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { data, map, spans, planes, width, out } = self;
        let (plane, row_len) = (plane_len::<T>([map.height, map.width]), map.width * T::SLAB);
        let stream = out.streams();
        assert!(data.len() >= spans.planes() * plane && width <= T::SLAB);
        let mut line = [out.empty; MAX_SLAB];
        for (i, grids) in spans.rois().enumerate() {
            let mut bin = 0;
            for (rows, columns) in grids {
                for row in rows {
                    for column in columns {
                        let index = match (row.log2_side, column.log2_side) {
                            (Span::EMPTY, _) | (_, Span::EMPTY) => None,
                            (ky, kx) => planes.index[usize::from(ky)][usize::from(kx)],
                        };
                        // SAFETY: the caller's promise, bins being counted through all grids; `Spans` are inside the map,
                        // hence inside a plane, and the planes that they ask for are in `data`, whose length was asserted.
                        unsafe {
                            let empty = out.empty;
                            let out = out.of(i, bin);
                            bin += 1;
                            let Some(index) = index else {
                                (0..width).for_each(|channel| out.add(channel).write(empty));
                                continue;
                            };
                            let plane = data.as_ptr().add(usize::from(index) * plane);
                            let (top, bottom) = (
                                plane.add(usize::from(row.first) * row_len),
                                plane.add(usize::from(row.last) * row_len),
                            );
                            let (left, right) =
                                (usize::from(column.first) * T::SLAB, usize::from(column.last) * T::SLAB);
                            let cells = [top.add(left), top.add(right), bottom.add(left), bottom.add(right)];
                            if width == T::SLAB {
                                T::max_of_four::<V>(cells, out, stream);
                            } else {
                                T::max_of_four::<V>(cells, line.as_mut_ptr(), false);
                                out.copy_from_nonoverlapping(line.as_ptr(), width);
                            }
                        }
                    }
                }
            }
        }
        if stream {
            V::fence();
        }
    }
}

/// The arguments of [`Table::pool`], where each cell of a bin is looked at.
struct ScanSpans<'a, T> {
    data: &'a [T],
    map: FeatureMap<'a, T>,
    spans: &'a Spans<'a>,
    width: usize,
    out: Bins<T>,
}

impl<T: Cell> Kernel for ScanSpans<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { data, map: FeatureMap { height, width: columns, .. }, spans, width, out } = self;
        let plane = FeatureMap { data, height, width: columns, channels: T::SLAB };
        assert!(data.len() >= height * columns * T::SLAB && width <= T::SLAB);
        for (i, grids) in spans.rois().enumerate() {
            let mut bin = 0;
            for (rows, columns) in grids {
                for rows in rows.iter().map(|row| row.cells()) {
                    for columns in columns.iter().map(|column| column.cells()) {
                        // SAFETY: the caller's promise, bins being counted through all grids; `Spans` are inside the map,
                        // hence inside the plane, whose length was asserted.
                        unsafe {
                            let to = out.of(i, bin);
                            bin += 1;
                            if rows.is_empty() || columns.is_empty() {
                                (0..width).for_each(|channel| to.add(channel).write(out.empty));
                            } else if width == T::SLAB {
                                // A width that the compiler knows: as many vectors, one after another, for every bin.
                                T::max_of_bin::<V, true>(plane, &rows, &columns, 0..T::SLAB, to);
                            } else {
                                T::max_of_bin::<V, true>(plane, &rows, &columns, 0..width, to);
                            }
                        }
                    }
                }
            }
        }
    }
}
