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
//! A NaN loses against any value and a maximum is the same bits in whatever order values come, but for zeros of either
//! sign: a slab that holds a -0 is left to `direct`.

use alloc::vec::Vec;

use super::{
    Bins, FeatureMap,
    spans::{SIDES, Span, Spans},
};
use crate::{
    Isa,
    aligned::{AlignedVec, LINE},
    k_order::SLAB,
    simd::{Kernel, Loop, Vector, run_on, vectorized},
};

/// A slab's planes for one map after another; what they hold does not outlive a slab.
pub(super) struct Table {
    data: AlignedVec,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { data: AlignedVec::zeros(0) }
    }

    /// Makes the planes that `spans` asks for of the slab from channel `first` on. False, and no table, if the slab
    /// holds a -0.
    pub(super) fn fill(&mut self, isa: Isa, map: FeatureMap<'_>, first: usize, spans: &Spans<'_>) -> bool {
        let plane = plane_len(map);
        let planes = Planes::new(spans);
        if self.data.as_slice().len() < spans.planes() * plane {
            self.data = AlignedVec::zeros(spans.planes() * plane);
        }
        let cells = &mut self.data.as_mut_slice()[..map.height * map.width * SLAB];
        let width = SLAB.min(map.channels - first);
        for (to, from) in cells.chunks_exact_mut(SLAB).zip(map.data.chunks_exact(map.channels)) {
            to[..width].copy_from_slice(&from[first..first + width]);
        }
        let mut negative_zeros = 0;
        vectorized(Prepare { cells, negative_zeros: &mut negative_zeros });
        if negative_zeros > 0 {
            return false;
        }
        for Made { index, source, by: [dy, dx] } in planes.steps() {
            let (below, from_here) = self.data.as_mut_slice().split_at_mut(index * plane);
            let source = &below[source * plane..][..plane];
            // Windows that would reach over the edge are never asked for; theirs are made of what follows.
            let by = (dy * map.width + dx) * SLAB;
            let len = (map.height * map.width * SLAB).saturating_sub(by);
            run_on(isa, Fold { a: &source[..len], b: &source[by..][..len], out: &mut from_here[..len] });
        }
        true
    }

    /// Pools the RoIs of `spans`; the table was filled for them.
    ///
    /// # Safety
    /// `out` has room for `width` values, at most [`SLAB`], of each bin.
    pub(super) unsafe fn pool(
        &self,
        isa: Isa,
        map: FeatureMap<'_>,
        spans: &Spans<'_>,
        width: usize,
        out: Bins,
    ) {
        let planes = Planes::new(spans);
        run_on(isa, PoolSpans { data: self.data.as_slice(), map, spans, planes: &planes, width, out });
    }
}

/// Values in a plane: whole cache lines, an odd number of them so that planes do not meet in the same sets.
fn plane_len(map: FeatureMap<'_>) -> usize {
    ((map.height * map.width) | 1) * SLAB.max(LINE)
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

/// Replaces what never wins, NaN and infinitely little, by the least maximum; counts -0.
struct Prepare<'a> {
    cells: &'a mut [f32],
    negative_zeros: &'a mut u32,
}

impl Loop for Prepare<'_> {
    #[inline(always)]
    fn run(self) {
        let mut negative_zeros = 0;
        for value in self.cells {
            negative_zeros |= u32::from(value.to_bits() == (-0.0f32).to_bits());
            *value = if *value > -f32::MAX { *value } else { -f32::MAX };
        }
        *self.negative_zeros = negative_zeros;
    }
}

/// `out = max(a, b)`, of one length, a multiple of [`SLAB`].
struct Fold<'a> {
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Fold<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { a, b, out } = self;
        for ((a, b), out) in
            a.chunks_exact(V::LANES).zip(b.chunks_exact(V::LANES)).zip(out.chunks_exact_mut(V::LANES))
        {
            // SAFETY: chunks of as many values as a vector has; the instruction set is the caller's promise.
            unsafe { V::load(a.as_ptr()).max(V::load(b.as_ptr())).store(out.as_mut_ptr()) };
        }
    }
}

/// The arguments of [`Table::pool`].
struct PoolSpans<'a> {
    data: &'a [f32],
    map: FeatureMap<'a>,
    spans: &'a Spans<'a>,
    planes: &'a Planes,
    width: usize,
    out: Bins,
}

impl Kernel for PoolSpans<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { data, map, spans, planes, width, out } = self;
        let (plane, row_len) = (plane_len(map), map.width * SLAB);
        let stream = out.streams();
        assert!(data.len() >= spans.planes() * plane && width <= SLAB);
        let roi_spans: usize = spans.pooled.iter().flatten().sum();
        for (i, mut spans_left) in spans.spans.chunks_exact(roi_spans.max(1)).enumerate() {
            let mut bin = 0;
            for &[ph, pw] in spans.pooled {
                let (grid, later) = spans_left.split_at(ph + pw);
                spans_left = later;
                let (rows, columns) = grid.split_at(ph);
                for (row, column) in
                    rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)))
                {
                    let index = match (row.log2_side, column.log2_side) {
                        (Span::EMPTY, _) | (_, Span::EMPTY) => None,
                        (ky, kx) => planes.index[usize::from(ky)][usize::from(kx)],
                    };
                    // SAFETY: the caller's promise, bins being counted through all grids; `Spans` are inside the map,
                    // hence inside a plane, and the planes that they ask for are in `data`, whose length was asserted.
                    unsafe {
                        let out = out.of(i, bin);
                        bin += 1;
                        let Some(index) = index else {
                            out.write_bytes(0, width);
                            continue;
                        };
                        let plane = data.as_ptr().add(usize::from(index) * plane);
                        let (top, bottom) = (
                            plane.add(usize::from(row.first) * row_len),
                            plane.add(usize::from(row.last) * row_len),
                        );
                        let (left, right) =
                            (usize::from(column.first) * SLAB, usize::from(column.last) * SLAB);
                        if width == SLAB {
                            corners::<V>(
                                [top.add(left), top.add(right), bottom.add(left), bottom.add(right)],
                                out,
                                stream,
                            );
                        } else {
                            let mut line = [0.0; SLAB];
                            let places = [top.add(left), top.add(right), bottom.add(left), bottom.add(right)];
                            corners::<V>(places, line.as_mut_ptr(), false);
                            out.copy_from_nonoverlapping(line.as_ptr(), width);
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

/// Maximum of four cells of a slab.
///
/// # Safety
/// The CPU has the instruction set of `V`; [`SLAB`] values are readable at each of `cells` and writable at `out`.
#[inline(always)]
unsafe fn corners<V: Vector>([a, b, c, d]: [*const f32; 4], out: *mut f32, stream: bool) {
    for lane in (0..SLAB).step_by(V::LANES) {
        // SAFETY: the caller's promises; `LANES` divides `SLAB`.
        unsafe {
            let load = |cell: *const f32| V::load(cell.add(lane));
            let max = load(a).max(load(b)).max(load(c).max(load(d)));
            if stream { max.stream(out.add(lane)) } else { max.store(out.add(lane)) }
        }
    }
}
