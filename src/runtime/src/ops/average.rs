//! `GlobalAveragePool`.

use frcnn_kernels::global_average_into;
use tract_core::internal::*;

use super::{Resources, nhwc};

/// `[N, H, W, C]` to `[N, 1, 1, C]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GlobalAverageOp {
    pub(crate) resources: Resources,
}

impl Op for GlobalAverageOp {
    fn name(&self) -> StaticName {
        "FrcnnGlobalAverage".into()
    }

    op_as_typed_op!();
}

impl EvalOp for GlobalAverageOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [batch, _, _, channels] = nhwc(input.shape())?;
        self.resources.map_tensor(&input, &[batch, 1, 1, channels], |map, output| {
            Ok(global_average_into(map, [batch, channels], self.resources.threads, output)?)
        })
    }
}

impl TypedOp for GlobalAverageOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, _, _, channels] = &*inputs[0].shape.to_tvec() else {
            bail!("expected a [N, H, W, C] tensor")
        };
        Ok(tvec!(f32::fact([batch.clone(), 1.to_dim(), 1.to_dim(), channels.clone()])))
    }
}
