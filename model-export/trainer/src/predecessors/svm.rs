//! A linear support vector machine, trained as R-CNN and SPPnet trained theirs: `liblinear -s 3`.
//!
//! ```text
//! minimise  |w|² / 2 + Σ Cᵢ max(0, 1 - yᵢ w·xᵢ)        dual: 0 ≤ αᵢ ≤ Cᵢ,  w = Σ αᵢ yᵢ xᵢ
//! ```
//!
//! Coordinate descent on the dual with shrinking (Hsieh et al., *A dual coordinate descent method for large-scale linear
//! SVM*, ICML 2008, algorithm 3), which is what liblinear does. No crate fits: the binding of liblinear takes every
//! example as a list of 16-byte index-value pairs, 4 times what a dense f32 row takes, and starts each solve from
//! nothing; linfa-svm fills a kernel matrix of all pairs. Here a solve starts from the α of the one before, so that one
//! after a round of hard-negative mining costs little.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// How a machine is trained; the defaults are R-CNN's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Solver {
    /// C of negatives.
    pub(super) c: f64,
    /// C of positives over that of negatives.
    pub(super) positive_weight: f64,
    /// The constant feature whose weight is the bias over this value; the greater, the less the bias is regularised.
    pub(super) bias_feature: f64,
    /// Gradients of the dual may differ by this much at the end.
    pub(super) tolerance: f64,
    /// Passes over the examples at most.
    pub(super) max_passes: usize,
}

impl Default for Solver {
    fn default() -> Solver {
        Solver { c: 0.001, positive_weight: 2.0, bias_feature: 10.0, tolerance: 0.01, max_passes: 1000 }
    }
}

/// Scores `weight · x + bias`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Svm {
    pub(super) weight: Vec<f64>,
    pub(super) bias: f64,
}

impl Svm {
    pub(super) fn score(&self, row: &[f32]) -> f64 {
        dot(&self.weight, row) + self.bias
    }
}

/// Examples of one class against the rest, and how far the dual has come.
#[derive(Debug, Default)]
pub(super) struct Examples {
    width: usize,
    rows: Vec<f32>,
    positive: Vec<bool>,
    alpha: Vec<f64>,
}

impl Examples {
    /// None yet; rows will have `width` features.
    pub(super) fn new(width: usize) -> Examples {
        Examples { width, ..Examples::default() }
    }

    pub(super) fn push(&mut self, row: &[f32], positive: bool) {
        debug_assert_eq!(row.len(), self.width);
        self.rows.extend_from_slice(row);
        self.positive.push(positive);
        self.alpha.push(0.0);
    }

    pub(super) fn len(&self) -> usize {
        self.positive.len()
    }

    /// Takes out every negative that scores below `score`.
    pub(super) fn evict_negatives_below(&mut self, score: f64, svm: &Svm) {
        let mut kept = 0;
        for i in 0..self.len() {
            if !self.positive[i] && svm.score(self.row(i)) < score {
                continue;
            }
            self.rows.copy_within(i * self.width..(i + 1) * self.width, kept * self.width);
            self.positive[kept] = self.positive[i];
            self.alpha[kept] = self.alpha[i];
            kept += 1;
        }
        self.rows.truncate(kept * self.width);
        self.positive.truncate(kept);
        self.alpha.truncate(kept);
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.width..(i + 1) * self.width]
    }

    /// Solves to the tolerance, from where the solve before ended.
    pub(super) fn solve(&mut self, solver: &Solver) -> Svm {
        let (bias_feature, count) = (solver.bias_feature, self.len());
        let c = |positive| if positive { solver.c * solver.positive_weight } else { solver.c };
        let sign = |positive| if positive { 1.0 } else { -1.0 };
        let squares: Vec<f64> = (0..count).map(|i| square(self.row(i)) + bias_feature.powi(2)).collect();
        // In f64, or thousands of passes add up the rounding of each step.
        let (mut weight, mut bias) = (vec![0.0f64; self.width], 0.0f64);
        for i in (0..count).filter(|&i| self.alpha[i] > 0.0) {
            let step = self.alpha[i] * sign(self.positive[i]);
            add(&mut weight, step, self.row(i));
            bias += step * bias_feature;
        }

        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut active: Vec<usize> = (0..count).collect();
        // Gradients of the pass before: beyond these, an α at its bound stays there and its example is left out.
        let (mut highest, mut lowest) = (f64::INFINITY, f64::NEG_INFINITY);
        for _ in 0..solver.max_passes {
            active.shuffle(&mut rng);
            let (mut next_highest, mut next_lowest) = (f64::NEG_INFINITY, f64::INFINITY);
            active.retain(|&i| {
                let (y, upper, alpha) = (sign(self.positive[i]), c(self.positive[i]), self.alpha[i]);
                let row = &self.rows[i * self.width..(i + 1) * self.width];
                let gradient = y * (dot(&weight, row) + bias * bias_feature) - 1.0;
                let (at_zero, at_upper) = (alpha <= 0.0, alpha >= upper);
                if (at_zero && gradient > highest) || (at_upper && gradient < lowest) {
                    return false;
                }
                let projected = match (at_zero, at_upper) {
                    (true, _) => gradient.min(0.0),
                    (_, true) => gradient.max(0.0),
                    _ => gradient,
                };
                next_highest = next_highest.max(projected);
                next_lowest = next_lowest.min(projected);
                if projected.abs() > 1e-12 {
                    self.alpha[i] = (alpha - gradient / squares[i]).clamp(0.0, upper);
                    let step = (self.alpha[i] - alpha) * y;
                    add(&mut weight, step, row);
                    bias += step * bias_feature;
                }
                true
            });
            if next_highest - next_lowest <= solver.tolerance {
                if active.len() == count {
                    break;
                }
                // The rest may have moved meanwhile: look at all once more.
                active = (0..count).collect();
                (highest, lowest) = (f64::INFINITY, f64::NEG_INFINITY);
                continue;
            }
            highest = if next_highest <= 0.0 { f64::INFINITY } else { next_highest };
            lowest = if next_lowest >= 0.0 { f64::NEG_INFINITY } else { next_lowest };
        }
        Svm { weight, bias: bias * bias_feature }
    }
}

/// In 8 sums, so that the compiler can use vectors.
fn dot(weight: &[f64], row: &[f32]) -> f64 {
    let (weights, weights_rest) = weight.as_chunks::<8>();
    let (rows, rows_rest) = row.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (weights, values) in weights.iter().zip(rows) {
        for ((sum, weight), &value) in sums.iter_mut().zip(weights).zip(values) {
            *sum += weight * f64::from(value);
        }
    }
    let rest: f64 =
        weights_rest.iter().zip(rows_rest).map(|(weight, &value)| weight * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

fn square(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum()
}

fn add(to: &mut [f64], factor: f64, row: &[f32]) {
    for (to, &value) in to.iter_mut().zip(row) {
        *to += factor * f64::from(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: i64, j: i64) -> f32 {
        ((i * 7919 + j * 104_729 + i * i * j * 31 + i * j * j * 17) % 1000) as f32 / 500.0 - 1.0
    }

    /// Sixty examples of five features that no plane separates.
    fn examples() -> Examples {
        let mut examples = Examples::new(5);
        for i in 0..60 {
            let row: Vec<f32> = (0..5).map(|j| value(i, j)).collect();
            let positive = row[0] + 0.5 * row[1] - 0.3 * row[3] + 0.6 * value(i, 11) > 0.2;
            examples.push(&row, positive);
        }
        examples
    }

    #[test]
    fn weights_are_scikit_learns() {
        // scikit-learn 1.9.1: LinearSVC(loss="hinge", C=C, class_weight={1: W, -1: 1}, intercept_scaling=B, tol=1e-10).
        let cases = [
            (
                (0.1, 2.0, 10.0),
                [1.464_755_1, 0.483_160_6, -0.058_477_8, -0.136_103_9, -0.187_251_8, 0.206_722_9],
            ),
            (
                (1.0, 1.0, 1.0),
                [2.481_985_7, 0.887_922, 0.006_831_6, -0.373_331_8, -0.454_843_1, -0.210_242_4],
            ),
        ];
        for ((c, positive_weight, bias_feature), expected) in cases {
            let how = Solver { c, positive_weight, bias_feature, tolerance: 1e-6, max_passes: 1_000_000 };
            let svm = examples().solve(&how);
            for (found, expected) in svm.weight.iter().chain([&svm.bias]).zip(expected) {
                // The tolerance of the solve.
                assert!((found - expected).abs() < 1e-5, "{svm:?}");
            }
        }
    }

    #[test]
    fn a_second_solve_begins_where_the_first_ended() {
        let mut examples = examples();
        let exact = Solver { c: 1.0, tolerance: 1e-6, max_passes: 1_000_000, ..Solver::default() };
        let first = examples.solve(&exact);
        let again = examples.solve(&Solver { max_passes: 1, ..exact });
        for (a, b) in first.weight.iter().zip(&again.weight) {
            assert!((a - b).abs() < 1e-4, "{first:?} {again:?}");
        }
    }

    #[test]
    fn eviction_takes_easy_negatives_and_leaves_the_solution() {
        let mut examples = examples();
        let exact = Solver { c: 1.0, tolerance: 1e-6, max_passes: 1_000_000, ..Solver::default() };
        let svm = examples.solve(&exact);
        let easy = (0..60).filter(|&i| !examples.positive[i] && svm.score(examples.row(i)) < -1.2).count();
        examples.evict_negatives_below(-1.2, &svm);
        assert!(easy > 0 && examples.len() == 60 - easy);
        // What lay beyond its margin had no say.
        let again = examples.solve(&exact);
        for (a, b) in svm.weight.iter().zip(&again.weight) {
            assert!((a - b).abs() < 1e-3, "{svm:?} {again:?}");
        }
    }
}
