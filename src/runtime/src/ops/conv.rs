//! `Conv`, with a ReLU that follows it taken in.

use std::collections::HashMap;

use frcnn_bundle::{Bundle, Conv, Graph, Op as LayerOp, SectionId, Shape};
use frcnn_core::ShapeError;
use frcnn_kernels::{ConvShape, PreparedConv};
use rayon::prelude::*;
use tract_core::internal::*;

use super::{Weights, Workshop, map_tensor, nhwc};

/// `[N, H, W, Ci]` to `[N, Ho, Wo, Co]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvOp {
    /// Batch, height and width are those of the input, which [`ConvOp::shape`] fills in.
    layer: ConvShape,
    weight: Weights,
    bias: Option<Weights>,
    relu: bool,
    workshop: Workshop,
}

impl ConvOp {
    pub(crate) fn new(
        conv: &Conv,
        weight: Weights,
        bias: Option<Weights>,
        relu: bool,
        workshop: Workshop,
    ) -> ConvOp {
        ConvOp { layer: layer_shape(conv), weight, bias, relu, workshop }
    }

    fn shape(&self, [batch, height, width, _]: [usize; 4]) -> ConvShape {
        ConvShape { batch, height, width, ..self.layer.clone() }
    }
}

fn layer_shape(conv: &Conv) -> ConvShape {
    ConvShape {
        batch: 1,
        height: 0,
        width: 0,
        in_channels: conv.in_channels as usize,
        out_channels: conv.out_channels as usize,
        kernel: conv.kernel.map(|k| k as usize),
        stride: conv.stride.map(|s| s as usize),
        dilation: conv.dilation.map(|d| d as usize),
        pads: conv.pads.map(|p| p as usize),
        group: conv.group as usize,
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
        let prepared =
            self.workshop.convs.get(self.weight.section).context("a layer that was not prepared")?;
        map_tensor(&input, &[shape.batch, height, width, shape.out_channels], |input, output| {
            self.workshop.with_scratch(|scratch| {
                let (weight, bias) = (self.weight.get(), self.bias.as_ref().map(Weights::get));
                prepared.run(&shape, input, weight, bias, self.relu, self.workshop.threads, scratch, output)
            })
        })
    }
}

impl TypedOp for ConvOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, height, width, channels] = &*inputs[0].shape.to_tvec() else {
            bail!("expected a [N, H, W, C] tensor")
        };
        let shape = self.shape([1, height.to_usize()?, width.to_usize()?, channels.to_usize()?]);
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        Ok(tvec!(f32::fact([
            batch.clone(),
            height.to_dim(),
            width.to_dim(),
            self.layer.out_channels.to_dim()
        ])))
    }
}

/// Every convolution of a network, laid out for this CPU once; the plans for all blob sizes share it.
#[derive(Debug, Default)]
pub(crate) struct PreparedConvs(HashMap<SectionId, PreparedConv>);

impl PreparedConvs {
    /// Prepares the convolutions of `graphs`, each given with the shape of its input, for maps of the size
    /// that they get from it.
    pub(crate) fn new(
        bundle: &Bundle,
        graphs: [(&Graph, Shape); 2],
        threads: usize,
    ) -> Result<PreparedConvs, ShapeError> {
        let mut layers: HashMap<SectionId, ConvShape> = HashMap::new();
        for (graph, input) in graphs {
            let shapes = graph.infer(input).unwrap_or_default();
            for layer in &graph.layers {
                let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
                if let (LayerOp::Conv(conv), Some(&Shape::Map { height, width, .. })) = (&layer.op, input) {
                    layers.insert(conv.weight, ConvShape { height, width, ..layer_shape(conv) });
                }
            }
        }
        let prepare = |(section, shape): (SectionId, ConvShape)| {
            Ok((section, PreparedConv::new(&shape, bundle.weights(section))?))
        };
        // One thread means the caller's own: rayon's global pool is not ours to start.
        let prepared: Result<_, ShapeError> = match threads {
            1 => layers.into_iter().map(prepare).collect(),
            _ => layers.into_par_iter().map(prepare).collect(),
        };
        prepared.map(PreparedConvs)
    }

    fn get(&self, section: SectionId) -> Option<&PreparedConv> {
        self.0.get(&section)
    }
}
