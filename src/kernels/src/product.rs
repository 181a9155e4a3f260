//! Products of matrices whose right-hand side, the weights of a layer, was packed once.
//!
//! ```text
//!                      panel 0      panel 1   ..          packed: panel after panel, each [K, width],
//!   a [M, K]  x  b [K, 4 vectors | 4 vectors | rest]      the last one as wide as the channels left ask for,
//!     6 rows           6 x 4 sums in registers            in whole vectors
//! ```
//!
//! 1. A tile of [`ROWS`] rows and a panel of [`Vector::PANEL`] vectors of sums stays in registers while `K` goes by.
//! 2. The rows of `a` need not be contiguous: a row is a list of segments, so that the windows of a convolution are
//!    rows as they lie in the map.
//! 3. Where weights are too many for L2, the next panel, which follows in memory, is prefetched into L2 while one is
//!    multiplied, a share of it with each tile: memory and FMA units work at the same time.
//! 4. A sum is one chain of additions in the order of `K`, whatever tile it falls into: how work is cut into tiles, or
//!    shared among threads, changes no bit.

use crate::{
    Isa,
    init::Init,
    simd::{Kernel, Vector, Width, run_on},
};

/// How many rows of a panel ahead the prefetch into L1 runs: the panel comes from L2.
const AHEAD: usize = 16;
/// Rows of a tile of sums.
pub(crate) const ROWS: usize = 6;

/// Values of `k` rows of weights for `n` output channels, packed; saturates.
pub(crate) fn packed_len(k: usize, n: usize, width: Width) -> usize {
    k.saturating_mul(n.next_multiple_of(width.lanes))
}

/// Packs `k` rows of `n` channels into `packed`, zeros after the last channel.
pub(crate) fn pack<'a>(
    k: usize,
    n: usize,
    width: Width,
    packed: &mut [f32],
    row: impl Fn(usize) -> &'a [f32],
) {
    let padded = n.next_multiple_of(width.lanes);
    for (panel, packed) in packed[..k * padded].chunks_mut((k * width.panel).max(1)).enumerate() {
        let first = panel * width.panel;
        let channels = width.panel.min(n - first);
        for (k, packed) in packed.chunks_exact_mut(width.panel.min(padded - first)).enumerate() {
            packed[..channels].copy_from_slice(&row(k)[first..][..channels]);
            packed[channels..].fill(0.0);
        }
    }
}

/// The left-hand side: row `i` is, for each offset `o` of `segments` in turn, the `segment_len` values from
/// `data + i * stride + o` on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: *const f32,
    pub(crate) stride: usize,
    pub(crate) segments: &'a [usize],
    pub(crate) segment_len: usize,
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
}

impl Left<'_> {
    fn k(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.segments.len() * rows.segment_len,
            Self::Packed { k, .. } => *k,
        }
    }
}

impl<'a> From<Rows<'a>> for Left<'a> {
    fn from(rows: Rows<'a>) -> Self {
        Self::Rows(rows)
    }
}

/// The tiles of `m` rows, first row and rows of each, as even as can be: 4 and 4 rows of 8 load fewer weights for each
/// sum than 6 and 2.
fn tiles(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = 0;
    core::iter::from_fn(move || {
        let left = m - row;
        let rows = left.div_ceil(left.div_ceil(ROWS).max(1));
        let tile = (rows > 0).then_some((row, rows));
        row += rows;
        tile
    })
}

/// Packs `m` rows tile by tile, `[K, rows of the tile]` each: what a tile needs for one `k` lies together, and a tile is
/// one stream. Worth its while when several panels read the rows.
///
/// # Safety
/// What `a` describes is readable, and `packed` has room for `m` rows of its `K`.
pub(crate) unsafe fn pack_rows(a: Rows<'_>, m: usize, packed: *mut f32) {
    let k = a.segments.len() * a.segment_len;
    for (row, rows) in tiles(m) {
        // SAFETY: the caller's promise; tiles follow one another.
        unsafe {
            let from = Rows { data: a.data.add(row * a.stride), ..a };
            let to = packed.add(row * k);
            match rows {
                1 => pack_tile::<1>(from, to),
                2 => pack_tile::<2>(from, to),
                3 => pack_tile::<3>(from, to),
                4 => pack_tile::<4>(from, to),
                5 => pack_tile::<5>(from, to),
                _ => pack_tile::<ROWS>(from, to),
            }
        }
    }
}

/// # Safety
/// As [`pack_rows`], for `M` rows.
unsafe fn pack_tile<const M: usize>(a: Rows<'_>, mut to: *mut f32) {
    for &offset in a.segments {
        for k in 0..a.segment_len {
            for row in 0..M {
                // SAFETY: the caller's promise.
                unsafe { to.add(row).write(*a.data.add(offset + row * a.stride + k)) };
            }
            to = to.wrapping_add(M);
        }
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

/// `sums[m, width] = init + a[m, K] panel[K, width]`, on the vectors of `isa`; with `more`, what follows the panel in
/// memory is prefetched into L2.
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
    more: bool,
    sums: Sums,
) {
    run_on(isa, MultiplyPanel { a: a.into(), m, panel, width, more, sums });
}

/// The arguments of [`multiply_panel`], the only place that makes one.
struct MultiplyPanel<'a> {
    a: Left<'a>,
    m: usize,
    panel: *const f32,
    width: usize,
    more: bool,
    sums: Sums,
}

impl Kernel for MultiplyPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { a, m, panel, width, more, sums } = self;
        let vectors = width / V::LANES;
        let panel_len = a.k() * width;
        let step = if more { width.div_ceil(m.div_ceil(ROWS).max(1)) } else { 0 };
        for (row, rows) in tiles(m) {
            // SAFETY: rows `row..row + rows` are some of those that the caller of `multiply_panel` promised.
            unsafe {
                let a = match a {
                    Left::Rows(a) => Left::Rows(Rows { data: a.data.add(row * a.stride), ..a }),
                    Left::Packed { data, k } => Left::Packed { data: data.add(row * k), k },
                };
                let sums = Sums { data: sums.data.add(row * sums.stride), ..sums };
                let panel =
                    Panel { data: panel, next: panel.wrapping_add(panel_len + row * panel_len / m), step };
                match rows {
                    1 => multiply_rows::<V, 1>(a, panel, vectors, sums),
                    2 => multiply_rows::<V, 2>(a, panel, vectors, sums),
                    3 => multiply_rows::<V, 3>(a, panel, vectors, sums),
                    4 => multiply_rows::<V, 4>(a, panel, vectors, sums),
                    5 => multiply_rows::<V, 5>(a, panel, vectors, sums),
                    _ => multiply_rows::<V, ROWS>(a, panel, vectors, sums),
                }
            }
        }
    }
}

/// A panel of weights, and what a tile prefetches while it reads them.
#[derive(Clone, Copy)]
struct Panel {
    data: *const f32,
    /// The tile's share of what follows the panel; need not be readable.
    next: *const f32,
    /// Values of it for each row of the panel.
    step: usize,
}

/// # Safety
/// As [`multiply_panel`], for `M` rows of `vectors`; the CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn multiply_rows<V: Vector, const M: usize>(a: Left<'_>, panel: Panel, vectors: usize, sums: Sums) {
    // SAFETY: the caller's promises.
    unsafe {
        match vectors {
            1 => multiply_tile::<V, M, 1>(a, panel, sums),
            2 => multiply_tile::<V, M, 2>(a, panel, sums),
            3 if V::PANEL > 2 => multiply_tile::<V, M, 3>(a, panel, sums),
            _ if V::PANEL > 2 => multiply_tile::<V, M, 4>(a, panel, sums),
            _ => {}
        }
    }
}

/// # Safety
/// As [`multiply_panel`], for `M` rows of `N` vectors; the CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn multiply_tile<V: Vector, const M: usize, const N: usize>(
    a: Left<'_>,
    mut panel: Panel,
    Sums { data, stride, init, relu }: Sums,
) {
    // SAFETY: the caller's promises: the pointers walk over the rows, the panel and the sums that they describe.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for (i, sums) in sums.iter_mut().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                match init {
                    Init::Zero => {}
                    Init::Bias(bias) => *sum = V::load(bias.add(j * V::LANES)),
                    Init::Accumulate => *sum = V::load(data.add(i * stride + j * V::LANES)),
                }
            }
        }
        match a {
            Left::Packed { data, k } => {
                for k in 0..k {
                    let values = data.add(k * M);
                    step::<V, M, N>(&mut sums, |i| *values.add(i), &mut panel);
                }
            }
            Left::Rows(a) => {
                for &offset in a.segments {
                    let values = a.data.add(offset);
                    for k in 0..a.segment_len {
                        step::<V, M, N>(&mut sums, |i| *values.add(i * a.stride + k), &mut panel);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let sum = if relu { sum.positive() } else { sum };
                sum.store(data.add(i * stride + j * V::LANES));
            }
        }
    }
}

/// Adds the products of one value from each row and one row of the panel, and goes on to the next.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `N` vectors are readable at the panel's data.
#[inline(always)]
unsafe fn step<V: Vector, const M: usize, const N: usize>(
    sums: &mut [[V; N]; M],
    value: impl Fn(usize) -> f32,
    panel: &mut Panel,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut row = [V::splat(0.0); N];
        for (j, vector) in row.iter_mut().enumerate() {
            *vector = V::load(panel.data.add(j * V::LANES));
            V::prefetch(panel.data.wrapping_add((AHEAD * N + j) * V::LANES));
            if j * V::LANES < panel.step {
                V::prefetch_far(panel.next.wrapping_add(j * V::LANES));
            }
        }
        panel.data = panel.data.add(N * V::LANES);
        panel.next = panel.next.wrapping_add(panel.step);
        for (i, sums) in sums.iter_mut().enumerate() {
            let value = V::splat(value(i));
            for (sum, weights) in sums.iter_mut().zip(row) {
                *sum = value.mul_add(weights, *sum);
            }
        }
    }
}
