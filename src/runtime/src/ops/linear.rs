//! `Gemm`, with a ReLU that follows it taken in.

use frcnn_bundle::Gemm;
use frcnn_kernels::linear_into;
use tract_core::internal::*;

use super::{Weights, Workshop, map_tensor};

/// `[R, in]` to `[R, out]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinearOp {
    in_features: usize,
    out_features: usize,
    weight: Weights,
    bias: Option<Weights>,
    relu: bool,
    workshop: Workshop,
}

impl LinearOp {
    pub(crate) fn new(
        gemm: &Gemm,
        weight: Weights,
        bias: Option<Weights>,
        relu: bool,
        workshop: Workshop,
    ) -> LinearOp {
        let (in_features, out_features) = (gemm.in_features as usize, gemm.out_features as usize);
        LinearOp { in_features, out_features, weight, bias, relu, workshop }
    }
}

impl Op for LinearOp {
    fn name(&self) -> StaticName {
        "FrcnnLinear".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LinearOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let rows = input.shape().first().copied().unwrap_or(0);
        map_tensor(&input, &[rows, self.out_features], |input, output| {
            let (weight, bias) = (self.weight.get(), self.bias.as_ref().map(Weights::get));
            let (relu, threads) = (self.relu, self.workshop.threads);
            if let Some(layer) = self.workshop.bf16_linear(&self.weight, self.in_features, self.out_features)? {
                return layer.run(input, bias, relu, rows, threads, output);
            }
            linear_into(input, weight, bias, relu, rows, self.in_features, self.out_features, threads, output)
        })
    }
}

impl TypedOp for LinearOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [rows, _] = &*inputs[0].shape.to_tvec() else { bail!("expected a [R, features] tensor") };
        Ok(tvec!(f32::fact([rows.clone(), self.out_features.to_dim()])))
    }
}
