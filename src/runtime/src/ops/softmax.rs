//! `Softmax`: over the features of each row, which has the same bits whatever other rows there are.
//!
//! tract's sums a row in an order that depends on where in memory it lies.

use tract_core::internal::*;

use super::Resources;

/// `[R, features]` to the same shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SoftmaxOp {
    pub(crate) resources: Resources,
}

impl Op for SoftmaxOp {
    fn name(&self) -> StaticName {
        "FrcnnSoftmax".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SoftmaxOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let &[_, features] = input.shape() else { bail!("expected a [R, features] tensor") };
        self.resources.map_tensor(&input, input.shape(), |input, output| {
            let rows = input.chunks_exact(features.max(1)).zip(output.chunks_exact_mut(features.max(1)));
            rows.for_each(|(row, out)| softmax(row, out));
            Ok(())
        })
    }
}

impl TypedOp for SoftmaxOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

/// `exp(x - max) / sum(exp(x - max))`; all NaN where a value is NaN or infinite, but for negative infinity, which gives 0.
fn softmax(row: &[f32], out: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (out, &value) in out.iter_mut().zip(row) {
        *out = (value - largest).exp();
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::softmax;

    fn of(row: &[f32]) -> Vec<f32> {
        let mut out = vec![7.0; row.len()];
        softmax(row, &mut out);
        out
    }

    #[test]
    fn rows_by_hand() {
        assert_eq!(of(&[0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(of(&[1000.0, f32::NEG_INFINITY, 0.0]), [1.0, 0.0, 0.0]);
        let [a, b] = of(&[0.0, 3f32.ln()])[..] else { unreachable!() };
        assert!((a - 0.25).abs() < 1e-7 && (b - 0.75).abs() < 1e-7, "{a} {b}");
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for wrong in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert!(of(&wrong).iter().all(|value| value.is_nan()), "{wrong:?}");
        }
    }
}
