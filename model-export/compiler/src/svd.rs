//! Truncated SVD of a fully connected layer's weights.
//!
//! With `M` (`in` x `out`, so that a layer is `x M`), the paper's `W = M^T ~ U_t S_t V_t^T`, and the two
//! thinner layers are `L = V_t S_t` (`in` x `t`) and `U_t^T` (`t` x `out`).
//!
//! Both come from the eigenvectors of the smaller of `M^T M = U S^2 U^T` and `M M^T = V S^2 V^T`: a
//! symmetric problem of side `min(in, out)` instead of an SVD of `in` x `out`, which for VGG16's fc6
//! (25088 x 4096) is the difference between seconds and many minutes. It is exact and deterministic, where
//! a randomized method would be neither, and it gives the whole spectrum, which a share of energy needs.
//! Squaring costs precision only in singular values below about 1e-7 of the largest (in f64, 1e-8), which
//! no useful truncation keeps. `M^T M` is accumulated in f64 over blocks of rows, so the matrix is never
//! held in f64 whole.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

/// Rows that are converted to f64 at a time.
const BLOCK: usize = 1024;

/// The spectrum of a matrix, and what is needed to factor it at any rank.
pub(crate) struct Spectrum {
    /// Columns are eigenvectors, the largest singular value's first.
    vectors: Mat<f64>,
    /// Squared singular values, descending.
    pub(crate) energies: Vec<f64>,
    side: Short,
}

#[derive(Clone, Copy, PartialEq)]
enum Short {
    Out,
    In,
}

/// `M ~ left right`.
pub(crate) struct Factors {
    /// `[in, t]`, row-major.
    pub(crate) left: Vec<f32>,
    /// `[t, out]`, row-major.
    pub(crate) right: Vec<f32>,
}

/// The eigenvalue solver did not converge; weights that are not finite do that.
#[derive(Debug)]
pub(crate) struct NoConvergence;

impl Spectrum {
    /// `m` is `[rows, columns]`, row-major.
    pub(crate) fn new(m: &[f32], rows: usize, columns: usize) -> Result<Spectrum, NoConvergence> {
        let m = MatRef::from_row_major_slice(m, rows, columns);
        // `long` x `short`.
        let (side, m) = if columns <= rows { (Short::Out, m) } else { (Short::In, m.transpose()) };
        let mut gram = Mat::<f64>::zeros(m.ncols(), m.ncols());
        for start in (0..m.nrows()).step_by(BLOCK) {
            let block = to_f64(m.subrows(start, BLOCK.min(m.nrows() - start)));
            matmul(gram.as_mut(), Accum::Add, block.transpose(), block.as_ref(), 1.0, parallelism());
        }
        if !(0..gram.ncols()).all(|i| gram[(i, i)].is_finite()) {
            return Err(NoConvergence);
        }
        let eigen = gram.self_adjoint_eigen(Side::Lower).map_err(|_| NoConvergence)?;
        // Ascending, as solvers give them; tiny negative ones are zeros.
        let values = eigen.S().column_vector();
        let energies = (0..values.nrows()).rev().map(|i| values[i].max(0.0)).collect();
        let vectors = eigen.U().reverse_cols().to_owned();
        Ok(Spectrum { vectors, energies, side })
    }

    /// The smallest rank that keeps this share of the squared singular values.
    pub(crate) fn rank_for(&self, energy: f64) -> usize {
        let total: f64 = self.energies.iter().sum();
        let mut kept = 0.0;
        for (position, value) in self.energies.iter().enumerate() {
            kept += value;
            if kept >= energy * total {
                return position + 1;
            }
        }
        self.energies.len()
    }

    /// The share of the squared singular values that a rank keeps.
    pub(crate) fn energy_of(&self, rank: usize) -> f64 {
        let total: f64 = self.energies.iter().sum();
        if total == 0.0 { 1.0 } else { self.energies.iter().take(rank).sum::<f64>() / total }
    }

    /// The factors of `m`, which this is the spectrum of.
    pub(crate) fn factor(&self, m: &[f32], rows: usize, columns: usize, rank: usize) -> Factors {
        let m = MatRef::from_row_major_slice(m, rows, columns);
        let kept = self.vectors.get(.., ..rank);
        match self.side {
            // U_t is at hand; L = M U_t.
            Short::Out => Factors { left: times(m, kept), right: row_major(kept.transpose()) },
            // V_t is at hand; L = V_t S_t, and U_t^T = S_t^-1 V_t^T M.
            Short::In => {
                let singular: Vec<f64> = self.energies.iter().map(|e| e.sqrt()).collect();
                let left = Mat::from_fn(rows, rank, |i, j| kept[(i, j)] * singular[j]);
                let inverse = Mat::from_fn(rows, rank, |i, j| {
                    if singular[j] > 0.0 { kept[(i, j)] / singular[j] } else { 0.0 }
                });
                // (M^T V_t S_t^-1)^T, so that the long product runs over blocks of rows.
                let transposed = times(m.transpose(), inverse.as_ref());
                let right = MatRef::from_row_major_slice(&transposed, columns, rank).transpose();
                Factors { left: row_major(left.as_ref()), right: row_major(right) }
            }
        }
    }
}

/// `|M - left right| / |M|` in the Frobenius norm, in f64 on the factors as they are stored.
pub(crate) fn relative_error(m: &[f32], rows: usize, columns: usize, factors: &Factors) -> f64 {
    let rank = factors.right.len() / columns.max(1);
    let m = MatRef::from_row_major_slice(m, rows, columns);
    let left = MatRef::from_row_major_slice(&factors.left, rows, rank);
    let right = MatRef::from_row_major_slice(&factors.right, rank, columns);
    let (mut difference, mut norm) = (0.0, 0.0);
    for start in (0..rows).step_by(BLOCK) {
        let count = BLOCK.min(rows - start);
        let mut product = Mat::<f32>::zeros(count, columns);
        matmul(product.as_mut(), Accum::Replace, left.subrows(start, count), right, 1.0, parallelism());
        for i in 0..count {
            for j in 0..columns {
                let value = f64::from(m[(start + i, j)]);
                difference += (value - f64::from(product[(i, j)])).powi(2);
                norm += value * value;
            }
        }
    }
    if norm == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// `a b`, row-major, computed in f64 over blocks of rows.
fn times(a: MatRef<'_, f32>, b: MatRef<'_, f64>) -> Vec<f32> {
    let mut out = Vec::with_capacity(a.nrows() * b.ncols());
    for start in (0..a.nrows()).step_by(BLOCK) {
        let block = to_f64(a.subrows(start, BLOCK.min(a.nrows() - start)));
        let mut product = Mat::<f64>::zeros(block.nrows(), b.ncols());
        matmul(product.as_mut(), Accum::Replace, block.as_ref(), b, 1.0, parallelism());
        out.extend(
            (0..product.nrows())
                .flat_map(|i| (0..product.ncols()).map(move |j| (i, j)))
                .map(|place| product[place] as f32),
        );
    }
    out
}

fn to_f64(m: MatRef<'_, f32>) -> Mat<f64> {
    Mat::from_fn(m.nrows(), m.ncols(), |i, j| f64::from(m[(i, j)]))
}

trait ToF32: Copy {
    fn to_f32(self) -> f32;
}

impl ToF32 for f32 {
    fn to_f32(self) -> f32 {
        self
    }
}

impl ToF32 for f64 {
    fn to_f32(self) -> f32 {
        self as f32
    }
}

fn row_major<T: ToF32>(m: MatRef<'_, T>) -> Vec<f32> {
    (0..m.nrows()).flat_map(|i| (0..m.ncols()).map(move |j| m[(i, j)].to_f32())).collect()
}

fn parallelism() -> Par {
    faer::get_global_parallelism()
}
