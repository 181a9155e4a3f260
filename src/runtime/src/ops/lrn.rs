//! `LRN`: local response normalisation across channels.

use frcnn_kernels::{FusedLayer, Lrn, lrn_into};
use tract_core::internal::*;

use super::{Resources, nhwc};

/// `[N, H, W, C]` to the same shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LrnOp {
    pub(crate) lrn: Lrn,
    pub(crate) resources: Resources,
}

impl LrnOp {
    pub(super) fn fused(&self) -> FusedLayer<'static> {
        FusedLayer::Lrn(self.lrn)
    }
}

/// Validated attributes are never NaN.
impl Eq for LrnOp {}

impl Op for LrnOp {
    fn name(&self) -> StaticName {
        "FrcnnLrn".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LrnOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [.., channels] = nhwc(input.shape())?;
        self.resources.map_tensor(&input, input.shape(), |values, output| {
            Ok(lrn_into(self.lrn, values, channels, self.resources.threads, output)?)
        })
    }
}

impl TypedOp for LrnOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}
