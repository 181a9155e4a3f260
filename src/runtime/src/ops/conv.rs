//! `Conv`, with the ReLU and the 2x2 max pooling that follow it taken in, and `Concat` of such.

use std::collections::HashMap;
use std::sync::OnceLock;

use frcnn_bundle::{Conv, Graph, Op as LayerOp, SectionId, Shape};
use frcnn_core::ShapeError;
use frcnn_kernels::{Cells, ConvAlgorithm, ConvShape, PoolShape, PreparedConv};
use tract_core::internal::*;

use super::{Weights, Workshop, nhwc};

/// `[N, H, W, Ci]` to `[N, Ho, Wo, Co]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvOp {
    /// Batch, height and width are those of the input, which [`ConvOp::shape`] fills in.
    layer: ConvShape,
    weight: Weights,
    bias: Option<Weights>,
    relu: bool,
    /// The 2x2 max pooling that follows, if it is taken in: whether in ceil mode.
    pool: Option<bool>,
    workshop: Workshop,
}

impl ConvOp {
    pub(crate) fn new(
        conv: &Conv,
        weight: Weights,
        bias: Option<Weights>,
        relu: bool,
        pool: Option<bool>,
        workshop: Workshop,
    ) -> ConvOp {
        ConvOp { layer: layer_shape(conv), weight, bias, relu, pool, workshop }
    }

    fn shape(&self, [batch, height, width, _]: [usize; 4]) -> ConvShape {
        ConvShape { batch, height, width, ..self.layer.clone() }
    }

    /// Rows and columns of the output.
    fn output_size(&self, shape: &ConvShape) -> TractResult<(usize, usize)> {
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let Some(ceil_mode) = self.pool else { return Ok((height, width)) };
        let pool = PoolShape {
            batch: shape.batch,
            height,
            width,
            channels: shape.out_channels,
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pads: [0; 4],
            ceil_mode,
        };
        pool.output_size().context("the window is larger than the map")
    }

    /// Runs the layer from `input` into its channels of `output`, which are all of them if it takes in a pooling.
    fn run(&self, input: &Tensor, cells: Cells, output: &mut [f32]) -> TractResult<()> {
        let shape = &self.shape(nhwc(input.shape())?);
        let input = input.try_as_plain_ram()?;
        let input = input.as_slice::<f32>()?;
        let (weight, bias) = (self.weight.get(), self.bias.as_ref().map(Weights::get));
        let (relu, threads) = (self.relu, self.workshop.threads);
        let prepared = self.workshop.convs.get(&self.weight)?;
        self.workshop.with_scratch(|scratch| match self.pool {
            Some(ceil) => {
                prepared.run_max_pooled(shape, ceil, input, weight, bias, relu, threads, scratch, output)
            }
            None => prepared.run_cells(shape, input, weight, bias, relu, threads, scratch, cells, output),
        })?;
        Ok(())
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
        let (height, width) = self.output_size(&shape)?;
        let channels = shape.out_channels;
        let output = self.workshop.tensors.make(&[shape.batch, height, width, channels], |output| {
            self.run(&input, Cells { first: 0, stride: channels }, output)
        })?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for ConvOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, height, width, channels] = &*inputs[0].shape.to_tvec() else {
            bail!("expected a [N, H, W, C] tensor")
        };
        let shape = self.shape([1, height.to_usize()?, width.to_usize()?, channels.to_usize()?]);
        let (height, width) = self.output_size(&shape)?;
        Ok(tvec!(f32::fact([
            batch.clone(),
            height.to_dim(),
            width.to_dim(),
            self.layer.out_channels.to_dim()
        ])))
    }
}

/// Convolutions whose outputs are concatenated: each writes its channels where they belong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConcatConvsOp(pub(crate) Vec<ConvOp>);

impl Op for ConcatConvsOp {
    fn name(&self) -> StaticName {
        "FrcnnConcatConvs".into()
    }

    op_as_typed_op!();
}

impl EvalOp for ConcatConvsOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (conv, input) = self.0.first().zip(inputs.first()).context("nothing to concatenate")?;
        let shape = conv.shape(nhwc(input.shape())?);
        let (height, width) = conv.output_size(&shape)?;
        let stride = self.0.iter().map(|conv| conv.layer.out_channels).sum();
        let output = conv.workshop.tensors.make(&[shape.batch, height, width, stride], |output| {
            let mut first = 0;
            for (conv, input) in self.0.iter().zip(&inputs) {
                conv.run(input, Cells { first, stride }, output)?;
                first += conv.layer.out_channels;
            }
            Ok(())
        })?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for ConcatConvsOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shapes = Vec::new();
        for (conv, input) in self.0.iter().zip(inputs) {
            shapes.extend(conv.output_facts(&[input])?.iter().map(|fact| fact.shape.to_tvec()));
        }
        let mut shape = shapes.first().context("nothing to concatenate")?.clone();
        ensure!(shapes.iter().all(|other| other[..3] == shape[..3]), "maps of different sizes");
        shape[3] = shapes.iter().map(|shape| shape[3].clone()).sum();
        Ok(tvec!(f32::fact(shape)))
    }
}

/// Every convolution of a network, laid out for this CPU once, when it first runs; the plans for all blob sizes share
/// it.
#[derive(Debug, Default)]
pub(crate) struct PreparedConvs(HashMap<SectionId, LazyConv>);

#[derive(Debug)]
struct LazyConv {
    /// On maps of the size for which it is prepared.
    shape: ConvShape,
    prepared: OnceLock<Result<PreparedConv, ShapeError>>,
}

impl PreparedConvs {
    /// The convolutions of `graphs`, each given with the shape of its input, are prepared for maps of the size that they
    /// get from it.
    pub(crate) fn new(graphs: [(&Graph, Shape); 2]) -> PreparedConvs {
        let mut layers = HashMap::new();
        for (graph, input) in graphs {
            let shapes = graph.infer(input).unwrap_or_default();
            for layer in &graph.layers {
                let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
                if let (LayerOp::Conv(conv), Some(&Shape::Map { height, width, .. })) = (&layer.op, input) {
                    let shape = ConvShape { height, width, ..layer_shape(conv) };
                    layers.insert(conv.weight, LazyConv { shape, prepared: OnceLock::new() });
                }
            }
        }
        PreparedConvs(layers)
    }

    /// Whether the layer with these weights takes in a max pooling at no cost.
    pub(crate) fn fuses_max_pool(&self, section: SectionId) -> bool {
        self.0.get(&section).is_some_and(|layer| ConvAlgorithm::for_layer(&layer.shape).fuses_max_pool())
    }

    fn get(&self, weight: &Weights) -> TractResult<&PreparedConv> {
        let layer = self.0.get(&weight.section).context("a layer that is not of this network")?;
        let prepared = layer.prepared.get_or_init(|| PreparedConv::new(&layer.shape, weight.get()));
        Ok(prepared.as_ref().map_err(|error| *error)?)
    }
}
