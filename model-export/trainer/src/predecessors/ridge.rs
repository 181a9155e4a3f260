//! Ridge regression of boxes, as R-CNN and SPPnet did it.
//!
//! ```text
//! minimise  |X W - Y|² + lambda |W|²        X [n, D+1]: pool5 features and a 1;  Y [n, 4]: tx, ty, tw, th
//! ```
//!
//! By conjugate gradients on the normal equations, one column of `Y` beside the other, without forming `XᵀX`: with the
//! 25,600 features of a spatial pyramid that matrix takes 2.6 GB and its factorisation (faer, libtorch) minutes for each
//! class, while lambda 1000 keeps the system so well conditioned that a few dozen products with `X` do.
//!
//! The original whitens `Y` first and undoes it afterwards. The solution is linear in `Y`, so nothing comes of that, and it
//! is left out here.

use tch::{Kind, Tensor};

/// Residuals shrink to this share of where they began.
const TOLERANCE: f64 = 1e-5;
const MAX_STEPS: usize = 2000;

/// The weights `[4, D]` and biases `[4]` for the rows `x` `[n, D]` and the targets `y` `[n, 4]`.
pub(super) fn ridge(x: &Tensor, y: &Tensor, lambda: f64) -> (Tensor, Tensor) {
    let rows = x.size().first().copied().unwrap_or(0);
    let x = Tensor::cat(&[x, &Tensor::ones([rows, 1], (x.kind(), x.device()))], 1);
    let transposed = x.tr();
    let normal = |w: &Tensor| transposed.matmul(&x.matmul(w)) + w * lambda;
    let dots = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist(0, true, Kind::Float);

    let mut residual = transposed.matmul(y);
    let mut w = residual.zeros_like();
    let mut direction = residual.copy();
    let mut square = dots(&residual, &residual);
    let goal = &square * TOLERANCE.powi(2);
    for _ in 0..MAX_STEPS {
        if square.le_tensor(&goal).all().int64_value(&[]) == 1 {
            break;
        }
        let image = normal(&direction);
        // A column that is solved has a direction of zero, and stays.
        let step = &square / dots(&direction, &image).clamp_min(f64::from(f32::MIN_POSITIVE));
        w += &direction * &step;
        residual -= image * step;
        let next = dots(&residual, &residual);
        direction = &residual + direction * (&next / square.clamp_min(f64::from(f32::MIN_POSITIVE)));
        square = next;
    }
    let features = w.size().first().copied().unwrap_or(1) - 1;
    (w.narrow(0, 0, features).tr().contiguous(), w.select(0, features).contiguous())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn solves_the_normal_equations() {
        tch::manual_seed(1);
        for (rows, features) in [(200, 30), (20, 100)] {
            let x = Tensor::randn([rows, features], (Kind::Float, Device::Cpu)).relu() * 2.0;
            let y = Tensor::randn([rows, 4], (Kind::Float, Device::Cpu)) * 0.2;
            let (weight, bias) = ridge(&x, &y, 10.0);
            assert_eq!((weight.size(), bias.size()), (vec![4, features], vec![4]));

            let x = Tensor::cat(&[&x, &Tensor::ones([rows, 1], (Kind::Float, Device::Cpu))], 1);
            let x = x.to_kind(Kind::Double);
            let gram = x.tr().matmul(&x) + Tensor::eye(features + 1, (Kind::Double, Device::Cpu)) * 10.0;
            let expected = gram.inverse().matmul(&x.tr().matmul(&y.to_kind(Kind::Double)));
            let found = Tensor::cat(&[weight.tr(), bias.unsqueeze(0)], 0).to_kind(Kind::Double);
            let error = (&found - &expected).abs().max().double_value(&[]);
            // The tolerance of the residuals, and f32.
            assert!(error < 1e-4 * expected.abs().max().double_value(&[]), "{error}");
        }
    }

    #[test]
    fn columns_of_zeros_are_solved_from_the_beginning() {
        let x = Tensor::ones([3, 2], (Kind::Float, Device::Cpu));
        let (weight, bias) = ridge(&x, &Tensor::zeros([3, 4], (Kind::Float, Device::Cpu)), 1.0);
        assert_eq!(weight.abs().sum(Kind::Float).double_value(&[]), 0.0);
        assert_eq!(bias.abs().sum(Kind::Float).double_value(&[]), 0.0);
    }
}
