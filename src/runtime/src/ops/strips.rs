//! Layers that run a strip of rows at a time: see [`run_strips`].

use frcnn_kernels::run_strips;
use tract_core::internal::*;

use super::{ConvOp, LrnOp, PoolOp, Resources, nhwc};

/// One of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StripLayer {
    Conv(ConvOp),
    MaxPool(PoolOp),
    Lrn(LrnOp),
}

impl StripLayer {
    fn op(&self) -> &dyn TypedOp {
        match self {
            StripLayer::Conv(op) => op,
            StripLayer::MaxPool(op) => op,
            StripLayer::Lrn(op) => op,
        }
    }
}

/// `[N, H, W, C]` through all layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripsOp {
    pub(crate) layers: Vec<StripLayer>,
    pub(crate) resources: Resources,
}

impl Op for StripsOp {
    fn name(&self) -> StaticName {
        "FrcnnStrips".into()
    }

    op_as_typed_op!();
}

impl EvalOp for StripsOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [batch, height, width, channels] = nhwc(input.shape())?;
        let mut shape = [1, height, width, channels];
        let mut layers = vec![];
        for layer in &self.layers {
            layers.push(match layer {
                StripLayer::Conv(op) => op.fused(&mut shape)?,
                StripLayer::MaxPool(op) => op.fused(&mut shape)?,
                StripLayer::Lrn(op) => op.fused(),
            });
        }
        let [_, out_height, out_width, out_channels] = shape;
        let threads = self.resources.threads;
        let input = input.try_as_plain_ram()?;
        let input = input.as_slice::<f32>()?;
        let output =
            self.resources.tensors.make(&[batch, out_height, out_width, out_channels], |output| {
                let image = (height * width * channels).max(1);
                let out_image = (out_height * out_width * out_channels).max(1);
                for (input, output) in input.chunks(image).zip(output.chunks_mut(out_image)) {
                    self.resources.with_strip_scratch(|scratch| {
                        run_strips(&layers, [height, width, channels], input, threads, scratch, output)
                    })?;
                }
                Ok(())
            })?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for StripsOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = (*inputs.first().context("no input")?).clone();
        for layer in &self.layers {
            fact = layer.op().output_facts(&[&fact])?.pop().context("a layer without output")?;
        }
        Ok(tvec!(fact))
    }
}
