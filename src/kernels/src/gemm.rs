//! Products of matrices, and the fully connected layer built on them.
//!
//! Matrices are row-major. The work is done by the `gemm` crate, which packs and blocks for the CPU's caches and picks
//! its micro-kernel at run time.

use frcnn_core::ShapeError;

use crate::{
    Isa, len_of,
    simd::{Kernel, Loop, Vector, run_on, vectorized},
    tasks::{for_each_chunk_stateless, task_count},
};

/// A row-major operand whose rows begin `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

/// `out[m, n] = a[m, k] b[k, n]`.
///
/// # Errors
/// A slice does not have the length that its dimensions give.
pub fn matmul_into(
    a: &[f32],
    b: &[f32],
    m: usize,
    k: usize,
    n: usize,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::check("a", len_of(&[m, k]), a.len())?;
    ShapeError::check("b", len_of(&[k, n]), b.len())?;
    ShapeError::check("out", len_of(&[m, n]), out.len())?;
    let (a, b) = (Strided { data: a, stride: k }, Strided { data: b, stride: n });
    matmul_strided(a, b, [m, k, n], threads, out, n)
}

/// A fully connected layer: `out[rows, out_features] = x[rows, in_features] weights[in_features, out_features]`, plus
/// `bias[out_features]`, then ReLU if `relu`.
///
/// # Errors
/// A slice does not have the length that its dimensions give.
#[expect(clippy::too_many_arguments, reason = "a layer is its operands and their sizes")]
pub fn linear_into(
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    rows: usize,
    in_features: usize,
    out_features: usize,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::check("x", len_of(&[rows, in_features]), x.len())?;
    ShapeError::check("weights", len_of(&[in_features, out_features]), weights.len())?;
    check_bias(bias, out_features)?;
    matmul_into(x, weights, rows, in_features, out_features, threads, out)?;
    // Some thousand values: small enough to spread, large enough to be worth a task's while.
    let rows_at_once = (1usize << 14).div_ceil(out_features.max(1));
    if bias.is_some() || relu {
        for_each_chunk_stateless(threads, out, rows_at_once.saturating_mul(out_features), |_, out| {
            bias_relu(out, bias, relu);
        });
    }
    Ok(())
}

pub(crate) fn check_bias(bias: Option<&[f32]>, len: usize) -> Result<(), ShapeError> {
    bias.map_or(Ok(()), |bias| ShapeError::check("bias", len, bias.len()))
}

/// The matrix product on rows that are parts of longer ones, as the groups of a convolution are.
///
/// # Errors
/// A slice ends before its last row does, or a stride is less than a row.
pub(crate) fn matmul_strided(
    a: Strided<'_>,
    b: Strided<'_>,
    [m, k, n]: [usize; 3],
    threads: usize,
    out: &mut [f32],
    out_stride: usize,
) -> Result<(), ShapeError> {
    check_rows("a", a.data.len(), m, k, a.stride)?;
    check_rows("b", b.data.len(), k, n, b.stride)?;
    check_rows("out", out.len(), m, n, out_stride)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        out.chunks_mut(out_stride).take(m).for_each(|row| row[..n].fill(0.0));
        return Ok(());
    }
    // SAFETY: row i of each operand starts at i * stride, its values follow one another, and `check_rows` has seen
    // that the last one ends inside the slice; strides are bounded by lengths, so they fit isize. Rows of `out` do
    // not overlap (stride >= n), and `out` is borrowed mutably, so it overlaps neither `a` nor `b`. With
    // `read_dst` false, `alpha` and what `out` held are not looked at.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            false,
            a.data.as_ptr(),
            1,
            a.stride as isize,
            b.data.as_ptr(),
            1,
            b.stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism(threads),
        );
    }
    Ok(())
}

fn parallelism(threads: usize) -> gemm::Parallelism {
    match task_count(threads) {
        #[cfg(feature = "std")]
        tasks @ 2.. => gemm::Parallelism::Rayon(tasks),
        _ => gemm::Parallelism::None,
    }
}

/// `rows` rows of `row` values, `stride` apart, end inside `len` values.
fn check_rows(
    what: &'static str,
    len: usize,
    rows: usize,
    row: usize,
    stride: usize,
) -> Result<(), ShapeError> {
    if rows == 0 || row == 0 {
        return Ok(());
    }
    let end = len_of(&[rows - 1, stride]).saturating_add(row);
    let fits = end <= len && (stride >= row || rows == 1) && isize::try_from(stride).is_ok();
    if fits { Ok(()) } else { Err(ShapeError { what, expected: end, found: len }) }
}

/// Adds `bias` to each row of `out` and clamps negative values to 0. NaN stays NaN.
pub(crate) fn bias_relu(out: &mut [f32], bias: Option<&[f32]>, relu: bool) {
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl Loop for Add<'_> {
        #[inline(always)]
        fn run(self) {
            for row in self.0.chunks_exact_mut(self.1.len()) {
                row.iter_mut().zip(self.1).for_each(|(v, b)| *v += b);
            }
        }
    }
    struct AddRelu<'a>(&'a mut [f32], &'a [f32]);
    impl Loop for AddRelu<'_> {
        #[inline(always)]
        fn run(self) {
            for row in self.0.chunks_exact_mut(self.1.len()) {
                row.iter_mut().zip(self.1).for_each(|(v, b)| *v = positive(*v + b));
            }
        }
    }
    // Not left to the compiler, as in `max_pool_into`.
    struct Relu<'a>(&'a mut [f32]);
    impl Kernel for Relu<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            let mut vectors = self.0.chunks_exact_mut(V::LANES);
            for vector in &mut vectors {
                let at = vector.as_mut_ptr();
                // SAFETY: the caller's promise; a chunk is a vector.
                unsafe { V::load(at).positive().store(at) };
            }
            vectors.into_remainder().iter_mut().for_each(|v| *v = positive(*v));
        }
    }
    match bias {
        Some([]) => {}
        Some(bias) if relu => vectorized(AddRelu(out, bias)),
        Some(bias) => vectorized(Add(out, bias)),
        None if relu => run_on(Isa::detect(), Relu(out)),
        None => {}
    }
}

/// ReLU.
#[inline(always)]
fn positive(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn matmul_reference(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                for l in 0..k {
                    out[i * n + j] += f64::from(a[i * k + l]) * f64::from(b[l * n + j]);
                }
            }
        }
        out
    }

    #[test]
    fn product_by_hand() {
        // [1 2 3; 4 5 6] [1 2; 3 4; 5 6]
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut out = [f32::NAN; 4];
        matmul_into(&a, &b, 2, 3, 2, 1, &mut out).unwrap();
        assert_eq!(out, [22.0, 28.0, 49.0, 64.0]);
        linear_into(&a, &b, Some(&[-30.0, 1.0]), true, 2, 3, 2, 1, &mut out).unwrap();
        assert_eq!(out, [0.0, 29.0, 19.0, 65.0]);
        linear_into(&a, &b, Some(&[-30.0, 1.0]), false, 2, 3, 2, 1, &mut out).unwrap();
        assert_eq!(out, [-8.0, 29.0, 19.0, 65.0]);
        linear_into(&a, &b.map(|v| -v), None, true, 2, 3, 2, 1, &mut out).unwrap();
        assert_eq!(out, [0.0; 4]);
    }

    #[test]
    fn empty_dimensions() {
        let mut out = [f32::NAN; 4];
        matmul_into(&[], &[], 2, 0, 2, 1, &mut out).unwrap();
        assert_eq!(out, [0.0; 4]);
        matmul_into(&[], &[1.0; 6], 0, 3, 2, 2, &mut []).unwrap();
        linear_into(&[1.0; 6], &[], Some(&[]), true, 2, 3, 0, 2, &mut []).unwrap();
    }

    #[test]
    fn relu_keeps_nan() {
        let mut out = [-1.0, f32::NAN, 2.0, -0.0];
        bias_relu(&mut out, None, true);
        assert_eq!((out[0], out[2], out[3]), (0.0, 2.0, 0.0));
        assert!(out[1].is_nan());
    }

    #[test]
    fn strided_rows_leave_the_rest_alone() {
        // A 2 x 2 product on columns 1..3 of 2 x 4 matrices.
        let a = [9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 4.0, 9.0];
        let b = [9.0, 1.0, 0.0, 9.0, 9.0, 0.0, 2.0, 9.0];
        let mut out = [7.0; 8];
        let (a, b) = (Strided { data: &a[1..], stride: 4 }, Strided { data: &b[1..], stride: 4 });
        matmul_strided(a, b, [2, 2, 2], 1, &mut out[1..], 4).unwrap();
        assert_eq!(out, [7.0, 1.0, 4.0, 7.0, 7.0, 3.0, 8.0, 7.0]);
        let short = matmul_strided(a, b, [2, 2, 2], 1, &mut out[3..], 4).unwrap_err();
        assert_eq!(short, ShapeError { what: "out", expected: 6, found: 5 });
        assert!(matmul_strided(a, b, [2, 2, 2], 1, &mut out, 1).is_err(), "rows that overlap");
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let error = |what, expected, found| Err(ShapeError { what, expected, found });
        assert_eq!(matmul_into(&[0.0; 5], &[0.0; 6], 2, 3, 2, 1, &mut [0.0; 4]), error("a", 6, 5));
        assert_eq!(matmul_into(&[0.0; 6], &[0.0; 5], 2, 3, 2, 1, &mut [0.0; 4]), error("b", 6, 5));
        assert_eq!(matmul_into(&[0.0; 6], &[0.0; 6], 2, 3, 2, 1, &mut [0.0; 5]), error("out", 4, 5));
        let linear = linear_into(&[0.0; 6], &[0.0; 6], Some(&[0.0]), true, 2, 3, 2, 1, &mut [0.0; 4]);
        assert_eq!(linear, error("bias", 2, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_reference(
            (m, k, n) in (1usize..90, 1usize..600, 1usize..90),
            seed in any::<u32>(),
            relu in any::<bool>(),
        ) {
            let mut random = crate::test_random::Random::new(seed);
            let (a, b, bias) = (random.values(m * k), random.values(k * n), random.values(n));
            let mut out = vec![f32::NAN; m * n];
            linear_into(&a, &b, Some(&bias), relu, m, k, n, 1, &mut out).unwrap();
            for (i, (found, exact)) in out.iter().zip(matmul_reference(&a, &b, [m, k, n])).enumerate() {
                let exact = exact + f64::from(bias[i % n]);
                let exact = if relu { exact.max(0.0) } else { exact };
                // k products below 1, each sum rounded: k * 2^-24 per partial sum, of which none passes k. Far more
                // than blocked sums of random signs ever err, far less than one wrong element makes.
                prop_assert!((f64::from(*found) - exact).abs() <= 1e-6 * k as f64 + 1e-6);
            }
            let mut threaded = vec![f32::NAN; m * n];
            linear_into(&a, &b, Some(&bias), relu, m, k, n, 3, &mut threaded).unwrap();
            prop_assert_eq!(threaded, out);
        }
    }
}
