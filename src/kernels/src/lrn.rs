//! Local response normalisation across channels (Krizhevsky et al., NIPS 2012; ONNX `LRN`).
//!
//! ```text
//! y[c] = x[c] / (k + alpha / size * sum of x[j]^2)^beta
//!        over j from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2), inside the channels
//! ```

use frcnn_core::ShapeError;

use crate::{
    simd::{Loop, vectorized},
    tasks::for_each_chunk_stateless,
};

/// Cells that a task takes at a time.
const CELLS_PER_CHUNK: usize = 64;

/// The operator's own numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in a window.
    pub size: usize,
    /// Factor of the squares' mean.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// What the mean is added to.
    pub k: f32,
}

/// Normalises `input`, any number of cells of `channels` values, into `out`.
///
/// # Errors
/// `input` is not made of whole cells, `out` is not as long as `input`, or `size` is 0.
pub fn lrn_into(
    lrn: Lrn,
    input: &[f32],
    channels: usize,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let Lrn { size, alpha, beta, k } = lrn;
    ShapeError::check("out", input.len(), out.len())?;
    if size == 0 {
        return Err(ShapeError { what: "size", expected: 1, found: 0 });
    }
    if input.is_empty() {
        return Ok(());
    }
    let whole = input.len().checked_div(channels).unwrap_or(0) * channels;
    ShapeError::check("input", whole, input.len())?;
    let before = (size - 1) / 2;
    let window = Window { before, after: size - 1 - before, alpha_per_cell: alpha / size as f32, beta, k };
    let chunk = CELLS_PER_CHUNK.saturating_mul(channels);
    for_each_chunk_stateless(threads, out, chunk, |i, out| {
        let cells = input[i * chunk..].chunks_exact(channels);
        vectorized(Normalize { window, cells, out: out.chunks_exact_mut(channels) });
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Window {
    before: usize,
    after: usize,
    alpha_per_cell: f32,
    beta: f32,
    k: f32,
}

struct Normalize<'a> {
    window: Window,
    cells: core::slice::ChunksExact<'a, f32>,
    out: core::slice::ChunksExactMut<'a, f32>,
}

impl Loop for Normalize<'_> {
    #[inline(always)]
    fn run(self) {
        for (x, out) in self.cells.zip(self.out) {
            add_squares(x, self.window, out);
            let Window { alpha_per_cell, beta, k, .. } = self.window;
            if beta == 0.75 {
                // What every published network asks for, and worth far more than a pow for each value.
                for (y, x) in out.iter_mut().zip(x) {
                    let root = sqrt(k + alpha_per_cell * *y);
                    *y = x / (root * sqrt(root));
                }
            } else {
                for (y, x) in out.iter_mut().zip(x) {
                    *y = x / libm::powf(k + alpha_per_cell * *y, beta);
                }
            }
        }
    }
}

/// `sums[c] =` the squares of c's window, added from the lowest channel up.
///
/// One pass over all channels for each place in the window, which vectorises; adding place by place keeps the order.
#[inline(always)]
fn add_squares(x: &[f32], window: Window, sums: &mut [f32]) {
    sums.fill(0.0);
    for back in (1..=window.before.min(x.len())).rev() {
        sums[back..].iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
    }
    for ahead in 0..=window.after.min(x.len()) {
        sums.iter_mut().zip(&x[ahead..]).for_each(|(sum, x)| *sum += x * x);
    }
}

/// The correctly rounded root either way; `core` has none yet.
#[inline(always)]
fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    return libm::sqrtf(x);
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn lrn_reference(input: &[f32], channels: usize, size: usize, [alpha, beta, k]: [f32; 3]) -> Vec<f64> {
        let mut out = vec![];
        for cell in input.chunks(channels) {
            for c in 0..channels as isize {
                let first = c - (size as isize - 1) / 2;
                let mut sum = 0.0;
                for j in (first..first + size as isize).filter(|j| (0..channels as isize).contains(j)) {
                    sum += f64::from(cell[j as usize]).powi(2);
                }
                let base = f64::from(k) + f64::from(alpha) / size as f64 * sum;
                out.push(f64::from(cell[c as usize]) / base.powf(f64::from(beta)));
            }
        }
        out
    }

    #[test]
    fn by_hand() {
        let mut out = [0.0; 3];
        // size 3, alpha 3, beta 1, k 1: sums 1 + 4, 1 + 4 + 9, 4 + 9.
        lrn_into(Lrn { size: 3, alpha: 3.0, beta: 1.0, k: 1.0 }, &[1.0, 2.0, 3.0], 3, 1, &mut out).unwrap();
        assert_eq!(out, [1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);
        // An even window reaches one further ahead: sums 1 + 4, 4 + 9, 9.
        lrn_into(Lrn { size: 2, alpha: 2.0, beta: 1.0, k: 1.0 }, &[1.0, 2.0, 3.0], 3, 1, &mut out).unwrap();
        assert_eq!(out, [1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0]);
        // 16^0.75 = 8 without a pow: k 15, one square of 1.
        lrn_into(Lrn { size: 1, alpha: 1.0, beta: 0.75, k: 15.0 }, &[1.0, 0.0, 0.0], 3, 1, &mut out).unwrap();
        assert_eq!(out, [0.125, 0.0, 0.0]);
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let mut out = [0.0; 4];
        let error = |what, expected, found| Err(ShapeError { what, expected, found });
        assert_eq!(
            lrn_into(Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 1.0 }, &[0.0; 4], 3, 1, &mut out),
            error("input", 3, 4)
        );
        assert_eq!(
            lrn_into(Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 1.0 }, &[0.0; 4], 0, 1, &mut out),
            error("input", 0, 4)
        );
        assert_eq!(
            lrn_into(Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 1.0 }, &[0.0; 3], 3, 1, &mut out),
            error("out", 3, 4)
        );
        assert_eq!(
            lrn_into(Lrn { size: 0, alpha: 1.0, beta: 0.75, k: 1.0 }, &[0.0; 4], 4, 1, &mut out),
            error("size", 1, 0)
        );
        assert_eq!(lrn_into(Lrn { size: 5, alpha: 1.0, beta: 0.75, k: 1.0 }, &[], 0, 1, &mut []), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            cells in 1usize..150, channels in 1usize..40, size in 1usize..50, seed in any::<u32>(),
            alpha in 1e-5f32..10.0, beta in prop::sample::select(&[0.75f32, 0.5, 1.3]), k in 0.5f32..3.0,
        ) {
            let input = crate::test_random::Random::new(seed).values(cells * channels);
            let mut out = vec![f32::NAN; input.len()];
            lrn_into(Lrn { size, alpha, beta, k }, &input, channels, 1, &mut out).unwrap();
            let exact = lrn_reference(&input, channels, size, [alpha, beta, k]);
            for (found, exact) in out.iter().zip(exact) {
                // A sum of at most 40 squares (each addition 6e-8 relative), then a power, a root or two, a quotient.
                prop_assert!((f64::from(*found) - exact).abs() <= 5e-6 * exact.abs(), "{} for {}", found, exact);
            }
            let mut threaded = vec![f32::NAN; input.len()];
            lrn_into(Lrn { size, alpha, beta, k }, &input, channels, 3, &mut threaded).unwrap();
            prop_assert_eq!(threaded, out);
        }
    }
}
