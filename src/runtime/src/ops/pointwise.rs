//! `Relu`, `Clip`, `HardSigmoid` and `HardSwish`: functions of one value, in place where nobody else reads the map.

use frcnn_bundle::Op as Layer;
use frcnn_kernels::{Pointwise, pointwise_in_place};
use tract_core::internal::*;

use super::Resources;

/// The function of one value that a layer is, if it is one.
pub(crate) fn pointwise_of(layer: &Layer) -> Option<Pointwise> {
    let clip = |scale, shift, low, high| Pointwise::Clip { scale, shift, low, high };
    match *layer {
        Layer::Relu => Some(clip(1.0, 0.0, 0.0, f32::INFINITY)),
        Layer::Clip { low, high } => Some(clip(1.0, 0.0, low, high)),
        Layer::HardSigmoid { alpha, beta } => Some(clip(alpha, beta, 0.0, 1.0)),
        Layer::HardSwish => Some(Pointwise::HardSwish),
        _ => None,
    }
}

/// A map of the shape of the one that it reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PointwiseOp {
    pub(crate) function: Pointwise,
    pub(crate) resources: Resources,
}

/// No number of a function is NaN: bundles are checked for that.
impl Eq for PointwiseOp {}

impl Op for PointwiseOp {
    fn name(&self) -> StaticName {
        "FrcnnPointwise".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PointwiseOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let made = self.resources.rewrite(input, |map| {
            pointwise_in_place(self.function, self.resources.threads, map);
            Ok(())
        });
        Ok(tvec!(made?))
    }
}

impl TypedOp for PointwiseOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs.first().context("no input")?.shape.clone())))
    }
}
