//! The micro-kernel: a tile of sums in registers, and the loop over `K`.
//!
//! ```text
//!                              row k of the panel, N vectors:  | w0  | w1  | w2  | w3  |    loaded once
//!   column k of the rows,                                      +-----+-----+-----+-----+
//!   M values, each broadcast              a[0, k]              | s00 | s01 | s02 | s03 |    M x N sums: s += a w
//!   to a vector                           a[1, k]              | s10 | s11 | s12 | s13 |
//!                                          ..                  |  ..                   |
//! ```
//!
//! That is an outer product: `M * N` FMAs for `M + N` loads. With `M` = [`ROWS`](super::ROWS) and `N` = [`Vector::PANEL`]
//! sums, weights and one broadcast value fill the registers.
//!
//! An instruction set that multiplies by a lane takes several `k` of each row at once: see [`Vector::multiply_rows`].

use super::{Left, Sums};
use crate::{init::Init, simd::Vector};

/// How many rows of a panel ahead the prefetch into L1 runs: the panel comes from L2.
const AHEAD: usize = 16;

/// A panel of weights, which a tile reads row by row, and what it prefetches into L2 meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// The row that is read next.
    pub(super) row: *const f32,
    /// What is prefetched next; need not be readable.
    pub(super) prefetch: *const f32,
    /// Values prefetched with each row.
    pub(super) prefetch_step: usize,
}

impl Panel {
    /// Loads the next row.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`, and `N` vectors are readable at `row`.
    #[inline(always)]
    unsafe fn next_row<V: Vector, const N: usize>(&mut self) -> [V; N] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut row = [V::splat(0.0); N];
            for (j, vector) in row.iter_mut().enumerate() {
                *vector = V::load(self.row.add(j * V::LANES));
                V::prefetch(self.row.wrapping_add((AHEAD * N + j) * V::LANES));
                if j * V::LANES < self.prefetch_step {
                    V::prefetch_far(self.prefetch.wrapping_add(j * V::LANES));
                }
            }
            self.skip::<V, N>(1);
            row
        }
    }

    /// Goes on behind `count` rows.
    #[inline(always)]
    fn skip<V: Vector, const N: usize>(&mut self, count: usize) {
        self.row = self.row.wrapping_add(count * N * V::LANES);
        self.prefetch = self.prefetch.wrapping_add(count * self.prefetch_step);
    }
}

/// `M` rows of `N` vectors of sums: what they start from, plus the products for every `k`, then ReLU if they ask for it.
///
/// # Safety
/// The CPU has the instruction set of `V`. `a` has `M` rows, `panel` as many rows of `N` vectors as `a` has values in
/// each; both are readable, and `M` rows of `N` vectors are writable in `sums`.
#[inline(always)]
pub(super) unsafe fn micro_kernel<V: Vector, const M: usize, const N: usize>(
    a: Left<'_>,
    mut panel: Panel,
    sums: Sums,
) {
    // SAFETY: the caller's promises: the pointers walk over the rows, the panel and the sums.
    unsafe {
        let mut tile = load_tile::<V, M, N>(sums);
        match a {
            Left::Packed { data, k } => {
                let done = V::multiply_packed(&mut tile, data, k, panel.row, panel.prefetch);
                panel.skip::<V, N>(done);
                for k in done..k {
                    let column = data.add(k * M);
                    add_outer_product(&mut tile, |i| *column.add(i), panel.next_row());
                }
            }
            Left::Vectors { data, first_k, k, .. } => {
                let data = data.add(first_k * M);
                let done = V::multiply_vectors(&mut tile, data, k, panel.row, panel.prefetch);
                panel.skip::<V, N>(done);
                for k in done..k {
                    let column = data.add(k / V::LANES * V::LANES * M + k % V::LANES);
                    add_outer_product(&mut tile, |i| *column.add(i * V::LANES), panel.next_row());
                }
            }
            Left::Rows(a) => {
                for &offset in a.segments {
                    let segment = a.data.add(offset);
                    let done = V::multiply_rows(
                        &mut tile,
                        segment,
                        a.stride,
                        a.segment_len,
                        panel.row,
                        panel.prefetch,
                    );
                    panel.skip::<V, N>(done);
                    for k in done..a.segment_len {
                        add_outer_product(&mut tile, |i| *segment.add(i * a.stride + k), panel.next_row());
                    }
                }
            }
        }
        store_tile(tile, sums);
    }
}

/// What the sums of a tile start from.
///
/// # Safety
/// As [`micro_kernel`].
#[inline(always)]
unsafe fn load_tile<V: Vector, const M: usize, const N: usize>(sums: Sums) -> [[V; N]; M] {
    // SAFETY: the caller's promises.
    unsafe {
        let zeros = [[V::splat(0.0); N]; M];
        match sums.init {
            Init::Zero => zeros,
            Init::Bias(bias) => [load_row(bias); M],
            Init::Accumulate => {
                let mut tile = zeros;
                for (i, row) in tile.iter_mut().enumerate() {
                    *row = load_row(sums.data.add(i * sums.stride));
                }
                tile
            }
        }
    }
}

/// # Safety
/// The CPU has the instruction set of `V`, and `N` vectors are readable at `from`.
#[inline(always)]
unsafe fn load_row<V: Vector, const N: usize>(from: *const f32) -> [V; N] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut row = [V::splat(0.0); N];
        for (j, vector) in row.iter_mut().enumerate() {
            *vector = V::load(from.add(j * V::LANES));
        }
        row
    }
}

/// `tile[i][j] += column(i) * row[j]`: one `k` of the product.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn add_outer_product<V: Vector, const M: usize, const N: usize>(
    tile: &mut [[V; N]; M],
    column: impl Fn(usize) -> f32,
    row: [V; N],
) {
    for (i, sums) in tile.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let value = V::splat(column(i));
            for (sum, weights) in sums.iter_mut().zip(row) {
                *sum = value.mul_add(weights, *sum);
            }
        }
    }
}

/// Writes a finished tile, after ReLU if there is one.
///
/// # Safety
/// As [`micro_kernel`].
#[inline(always)]
unsafe fn store_tile<V: Vector, const M: usize, const N: usize>(tile: [[V; N]; M], sums: Sums) {
    for (i, row) in tile.into_iter().enumerate() {
        for (j, sum) in row.into_iter().enumerate() {
            // SAFETY: the caller's promises.
            unsafe {
                let sum = if sums.relu { sum.positive() } else { sum };
                sum.store(sums.data.add(i * sums.stride + j * V::LANES));
            }
        }
    }
}
