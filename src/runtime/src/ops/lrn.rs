//! `LRN`: local response normalisation across channels.

use frcnn_kernels::{Stage, lrn_into};
use tract_core::internal::*;

use super::{Resources, nhwc};

/// `[N, H, W, C]` to the same shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LrnOp {
    pub(crate) size: usize,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) k: f32,
    pub(crate) resources: Resources,
}

impl LrnOp {
    pub(super) fn stage(&self) -> Stage<'static> {
        let LrnOp { size, alpha, beta, k, .. } = *self;
        Stage::Lrn { size, alpha, beta, k }
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
            let LrnOp { size, alpha, beta, k, .. } = *self;
            Ok(lrn_into(values, channels, size, alpha, beta, k, self.resources.threads, output)?)
        })
    }
}

impl TypedOp for LrnOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}
