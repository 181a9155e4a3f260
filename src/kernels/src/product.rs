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
//! 3. A sum is one chain of additions in the order of `K`, whatever tile it falls into: how work is cut into tiles, or
//!    shared among threads, changes no bit.

use crate::Isa;
use crate::simd::{Kernel, Vector, Width, run_on};

/// Rows of a panel that are asked for before they are needed: it comes from L2.
const AHEAD: usize = 16;
/// Rows of a tile of sums.
pub(crate) const ROWS: usize = 6;

/// Values of `k` rows of weights for `n` output channels, packed; saturates.
pub(crate) fn packed_len(k: usize, n: usize, width: Width) -> usize {
    k.saturating_mul(n.next_multiple_of(width.lanes))
}

/// Packs `b(k, n)`, `k` rows of `n`, into `packed`, with zeros after the last channel.
pub(crate) fn pack(k: usize, n: usize, width: Width, packed: &mut [f32], b: impl Fn(usize, usize) -> f32) {
    let padded = n.next_multiple_of(width.lanes);
    for (panel, packed) in packed[..k * padded].chunks_mut((k * width.panel).max(1)).enumerate() {
        let first = panel * width.panel;
        for (row, packed) in packed.chunks_exact_mut(width.panel.min(padded - first)).enumerate() {
            for (channel, value) in (first..).zip(packed) {
                *value = if channel < n { b(row, channel) } else { 0.0 };
            }
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

/// Where sums go: row `i` of them to `data + i * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) data: *mut f32,
    pub(crate) stride: usize,
    pub(crate) start: Start,
    /// Whether ReLU is applied at the end.
    pub(crate) relu: bool,
}

/// What sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    Zero,
    /// One value for each column of the panel.
    Bias(*const f32),
    /// What is in their place.
    Output,
}

/// `sums[m, width] = start + a[m, K] panel[K, width]`, on the vectors of `isa`.
///
/// # Safety
/// `width` is 1 to [`Vector::PANEL`] whole vectors; what `a`, `panel` and `sums` describe is readable and writable, and
/// the sums overlap nothing else.
pub(crate) unsafe fn multiply_panel(
    isa: Isa,
    a: Rows<'_>,
    m: usize,
    panel: *const f32,
    width: usize,
    sums: Sums,
) {
    run_on(isa, MultiplyPanel { a, m, panel, width, sums });
}

/// The arguments of [`multiply_panel`], the only place that makes one.
struct MultiplyPanel<'a> {
    a: Rows<'a>,
    m: usize,
    panel: *const f32,
    width: usize,
    sums: Sums,
}

impl Kernel for MultiplyPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { a, m, panel, width, sums } = self;
        let vectors = width / V::LANES;
        let mut row = 0;
        while row < m {
            // Tiles as even as can be: 4 and 4 rows of 8 load fewer weights for each sum than 6 and 2.
            let rows = (m - row).div_ceil((m - row).div_ceil(ROWS));
            // SAFETY: rows `row..row + rows` are some of those that the caller of `multiply_panel` promised.
            unsafe {
                let a = Rows { data: a.data.add(row * a.stride), ..a };
                let sums = Sums { data: sums.data.add(row * sums.stride), ..sums };
                match rows {
                    1 => multiply_rows::<V, 1>(a, panel, vectors, sums),
                    2 => multiply_rows::<V, 2>(a, panel, vectors, sums),
                    3 => multiply_rows::<V, 3>(a, panel, vectors, sums),
                    4 => multiply_rows::<V, 4>(a, panel, vectors, sums),
                    5 => multiply_rows::<V, 5>(a, panel, vectors, sums),
                    _ => multiply_rows::<V, ROWS>(a, panel, vectors, sums),
                }
            }
            row += rows;
        }
    }
}

/// # Safety
/// As [`multiply_panel`], for `M` rows of `vectors`; the CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn multiply_rows<V: Vector, const M: usize>(
    a: Rows<'_>,
    panel: *const f32,
    vectors: usize,
    sums: Sums,
) {
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
    a: Rows<'_>,
    mut panel: *const f32,
    Sums { data, stride, start, relu }: Sums,
) {
    // SAFETY: the caller's promises: the pointers walk over the rows, the panel and the sums that they describe.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        for (i, sums) in sums.iter_mut().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                match start {
                    Start::Zero => {}
                    Start::Bias(bias) => *sum = V::load(bias.add(j * V::LANES)),
                    Start::Output => *sum = V::load(data.add(i * stride + j * V::LANES)),
                }
            }
        }
        for &offset in a.segments {
            let values = a.data.add(offset);
            for k in 0..a.segment_len {
                let mut weights = [V::splat(0.0); N];
                for (j, weights) in weights.iter_mut().enumerate() {
                    *weights = V::load(panel.add(j * V::LANES));
                    V::prefetch(panel.wrapping_add(AHEAD * N * V::LANES + j * V::LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*values.add(i * a.stride + k));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = value.mul_add(weights, *sum);
                    }
                }
                panel = panel.add(N * V::LANES);
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
