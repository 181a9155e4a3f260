//! Products of matrices whose right-hand side, the weights of a layer, was packed once.
//!
//! ```text
//!                        panel 0     panel 1    ..
//!                      +-----------+-----------+------+   packed: panel after panel, each [K, width] and PANEL
//!     b, weights    K  |           |           | rest |   vectors wide; the last one as wide as the channels
//!                      +-----------+-----------+------+   left ask for, in whole vectors
//!           K
//!      +---------+     +-----------+-----------+------+
//!   a  |         |     |   tile    |           |      |   ROWS rows, or some fewer
//!      +---------+     +-----------+-----------+------+
//!      |         |     |           |           |      |   sums
//!      +---------+     +-----------+-----------+------+
//! ```
//!
//! The loops, from the outside in:
//!
//! | over | in |
//! |---|---|
//! | panels, and blocks of `K` where a panel is more than a cache holds | the caller, who calls [`multiply_panel`] for each |
//! | tiles of rows | [`MultiplyPanel::run`] |
//! | `K` | [`micro_kernel`], whose tile of sums stays in registers |
//!
//! 1. The rows of `a` need not be contiguous: a row is a list of segments, so that the windows of a convolution are
//!    rows as they lie in the map.
//! 2. Where weights are too many for L2, the next panel, which follows in memory, is prefetched into L2 while one is
//!    multiplied, a share of it with each tile: memory and FMA units work at the same time.
//! 3. A sum is one chain of additions in the order of `K`, whatever tile it falls into: how work is cut into tiles, or
//!    shared among threads, changes no bit.

mod micro_kernel;
mod pack;

use crate::{
    Isa,
    init::Init,
    simd::{Kernel, MAX_LANES, Vector, run_on},
};
use micro_kernel::{Panel, micro_kernel};
pub(crate) use pack::{pack, pack_rows, packed_len};

/// Rows of a tile of sums.
pub(crate) const ROWS: usize = 6;
/// Most values in a row of a panel.
pub(crate) const MAX_PANEL: usize = 4 * MAX_LANES;

/// Evaluates an expression in which a number that is known only at run time is a constant: one of those listed.
macro_rules! with_const {
    ($number:expr, $constant:ident in [$($value:literal)+], $expression:expr) => {
        match $number {
            $($value => {
                const $constant: usize = $value;
                $expression
            })+
            _ => {}
        }
    };
}
pub(crate) use with_const;

/// The left-hand side: row `i` is, for each offset `o` of `segments` in turn, the `segment_len` values from
/// `data + i * stride + o` on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: *const f32,
    pub(crate) stride: usize,
    pub(crate) segments: &'a [usize],
    pub(crate) segment_len: usize,
}

impl Rows<'_> {
    /// Values in a row.
    fn k(&self) -> usize {
        self.segments.len() * self.segment_len
    }

    /// The rows behind the first `count`.
    ///
    /// # Safety
    /// There are such rows.
    #[inline(always)]
    unsafe fn skip_rows(self, count: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { data: unsafe { self.data.add(count * self.stride) }, ..self }
    }
}

/// What a product reads on its left.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    Rows(Rows<'a>),
    /// What [`pack_rows`] made of rows with `k` values.
    Packed {
        data: *const f32,
        k: usize,
    },
    /// Tiles of rows of `row_len` values, interleaved vector by vector: `[row_len / LANES, rows of the tile, LANES]` each. Read are
    /// `k` values from `first_k` on, which is a whole number of vectors.
    Vectors {
        data: *const f32,
        row_len: usize,
        first_k: usize,
        k: usize,
    },
}

impl Left<'_> {
    /// Values in a row.
    fn k(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.k(),
            Self::Packed { k, .. } | Self::Vectors { k, .. } => *k,
        }
    }

    /// The rows behind the first `count`, which are whole tiles.
    ///
    /// # Safety
    /// There are such rows.
    #[inline(always)]
    unsafe fn skip_rows(self, count: usize) -> Self {
        // SAFETY: the caller's promise; a packed tile holds all values of each of its rows.
        unsafe {
            match self {
                Self::Rows(rows) => Self::Rows(rows.skip_rows(count)),
                Self::Packed { data, k } => Self::Packed { data: data.add(count * k), k },
                Self::Vectors { data, row_len, first_k, k } => {
                    Self::Vectors { data: data.add(count * row_len), row_len, first_k, k }
                }
            }
        }
    }
}

impl<'a> From<Rows<'a>> for Left<'a> {
    fn from(rows: Rows<'a>) -> Self {
        Self::Rows(rows)
    }
}

/// Where sums go: row `i` of them to `data + i * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) data: *mut f32,
    pub(crate) stride: usize,
    /// Its bias has a value for each column of the panel.
    pub(crate) init: Init<*const f32>,
    /// Whether ReLU is applied at the end.
    pub(crate) relu: bool,
}

impl Sums {
    /// Those of the rows behind the first `count`.
    ///
    /// # Safety
    /// There are such rows.
    #[inline(always)]
    unsafe fn skip_rows(self, count: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { data: unsafe { self.data.add(count * self.stride) }, ..self }
    }
}

/// Runs of equal tiles.
#[derive(Clone, Copy)]
struct Tiles {
    /// First row of the first tile.
    first: usize,
    /// Rows of each.
    rows: usize,
    count: usize,
}

/// The tiles of `m` rows: `most` rows or fewer in each, as even as can be, the larger ones first. 4 and 4 rows of 8 load fewer
/// weights for each sum than 6 and 2.
fn tiles(m: usize, most: usize) -> impl Iterator<Item = Tiles> {
    const { assert!(ROWS == 6, "tiles have as many rows as `with_const` lists") };
    let count = m.div_ceil(most).max(1);
    let (rows, larger) = (m / count, m % count);
    let runs = [
        Tiles { first: 0, rows: rows + 1, count: larger },
        Tiles { first: larger * (rows + 1), rows, count: count - larger },
    ];
    runs.into_iter().filter(|run| run.rows * run.count > 0)
}

/// The tile of [`Left::Vectors`] that row `row` of `m` falls into: its first row, and how many it has.
pub(crate) fn tile_of_vectors<V: Vector>(m: usize, row: usize) -> (usize, usize) {
    let run = tiles(m, V::STRIDED_ROWS).take_while(|run| run.first <= row).last();
    run.map_or((0, 1), |Tiles { first, rows, .. }| (first + (row - first) / rows * rows, rows))
}

/// `sums[m, width] = init + a[m, K] panel[K, width]`, on the vectors of `isa`; with `prefetch_next`, what follows the
/// panel in memory is prefetched into L2.
///
/// # Safety
/// `width` is 1 to [`Vector::PANEL`] whole vectors; what `a`, `panel` and `sums` describe is readable and writable, and
/// the sums overlap nothing else.
pub(crate) unsafe fn multiply_panel<'a>(
    isa: Isa,
    a: impl Into<Left<'a>>,
    m: usize,
    panel: *const f32,
    width: usize,
    prefetch_next: bool,
    sums: Sums,
) {
    run_on(isa, MultiplyPanel { a: a.into(), m, panel, width, prefetch_next, sums });
}

/// The arguments of [`multiply_panel`], the only place that makes one.
struct MultiplyPanel<'a> {
    a: Left<'a>,
    m: usize,
    panel: *const f32,
    width: usize,
    prefetch_next: bool,
    sums: Sums,
}

impl Kernel for MultiplyPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let vectors = self.width / V::LANES;
        let most = match self.a {
            Left::Rows(_) | Left::Vectors { .. } => V::STRIDED_ROWS,
            Left::Packed { .. } => ROWS,
        };
        let prefetch = Prefetch::new(&self);
        for run in tiles(self.m, most) {
            // SAFETY: the rows of the run are some of those that the caller of `multiply_panel` promised.
            unsafe {
                with_const!(run.rows, M in [1 2 3 4 5 6], with_const!(vectors, N in [1 2 3 4], {
                    if N <= V::PANEL {
                        self.run_tiles::<V, M, N>(run, prefetch);
                    }
                }));
            }
        }
    }
}

impl MultiplyPanel<'_> {
    /// The tiles of a run.
    ///
    /// # Safety
    /// As [`micro_kernel`], for each of them.
    #[inline(always)]
    unsafe fn run_tiles<V: Vector, const M: usize, const N: usize>(
        &self,
        Tiles { first, count, .. }: Tiles,
        prefetch: Prefetch,
    ) {
        for row in (first..).step_by(M).take(count) {
            // SAFETY: the caller's promise.
            unsafe {
                let (a, sums) = (self.a.skip_rows(row), self.sums.skip_rows(row));
                micro_kernel::<V, M, N>(a, prefetch.panel_for(self.panel, row), sums);
            }
        }
    }
}

/// How tiles share the prefetching of the next panel, which follows one of `len` values.
#[derive(Clone, Copy)]
struct Prefetch {
    /// Where the next panel begins.
    next: *const f32,
    /// Values for each row.
    of_a_row: usize,
    /// Values for each `k` of a tile.
    step: usize,
}

impl Prefetch {
    fn new(panel: &MultiplyPanel<'_>) -> Self {
        let len = panel.a.k() * panel.width;
        let tile_count = panel.m.div_ceil(ROWS).max(1);
        Self {
            next: panel.panel.wrapping_add(len),
            of_a_row: len / panel.m.max(1),
            step: if panel.prefetch_next { panel.width.div_ceil(tile_count) } else { 0 },
        }
    }

    /// The panel for the tile whose first row is `row`, with the tile's share of the next panel to prefetch.
    #[inline(always)]
    fn panel_for(self, panel: *const f32, row: usize) -> Panel {
        let prefetch = self.next.wrapping_add(row * self.of_a_row);
        Panel { row: panel, prefetch, prefetch_step: self.step }
    }
}
