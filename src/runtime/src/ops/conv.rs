//! `Conv`, with a ReLU that follows it taken in.

use frcnn_bundle::Conv;
use frcnn_kernels::{ConvShape, conv2d_into};
use tract_core::internal::*;

use super::{Weights, Workshop, map_tensor, nhwc};

/// `[N, H, W, Ci]` to `[N, Ho, Wo, Co]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvOp {
    attributes: Attributes,
    weight: Weights,
    bias: Option<Weights>,
    relu: bool,
    workshop: Workshop,
}

/// [`Conv`]'s sizes, as kernels count them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attributes {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
    group: usize,
}

impl ConvOp {
    pub(crate) fn new(
        conv: &Conv,
        weight: Weights,
        bias: Option<Weights>,
        relu: bool,
        workshop: Workshop,
    ) -> ConvOp {
        let attributes = Attributes {
            in_channels: conv.in_channels as usize,
            out_channels: conv.out_channels as usize,
            kernel: conv.kernel.map(|k| k as usize),
            stride: conv.stride.map(|s| s as usize),
            dilation: conv.dilation.map(|d| d as usize),
            pads: conv.pads.map(|p| p as usize),
            group: conv.group as usize,
        };
        ConvOp { attributes, weight, bias, relu, workshop }
    }

    fn shape(&self, [batch, height, width, _]: [usize; 4]) -> ConvShape {
        let Attributes { in_channels, out_channels, kernel, stride, dilation, pads, group } = self.attributes;
        ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, dilation, pads, group }
    }
}

impl Op for ConvOp {
    fn name(&self) -> StaticName {
        "FrcnnConv".into()
    }

    op_as_typed_op!();
}

impl EvalOp for ConvOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = self.shape(nhwc(input.shape())?);
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let output = [shape.batch, height, width, shape.out_channels];
        map_tensor(&input, &output, |input, output| {
            self.workshop.with_scratch(|scratch| {
                let bias = self.bias.as_ref().map(Weights::get);
                let threads = self.workshop.threads;
                conv2d_into(&shape, input, self.weight.get(), bias, self.relu, threads, scratch, output)
            })
        })
    }
}

impl TypedOp for ConvOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, height, width, _] = &*inputs[0].shape.to_tvec() else {
            bail!("expected a [N, H, W, C] tensor")
        };
        let shape = self.shape([1, height.to_usize()?, width.to_usize()?, self.attributes.in_channels]);
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let channels = self.attributes.out_channels;
        Ok(tvec!(f32::fact([batch.clone(), height.to_dim(), width.to_dim(), channels.to_dim()])))
    }
}
