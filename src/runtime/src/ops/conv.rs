//! `Conv`, with the activation and the 2x2 max pooling that follow it taken in, and `Concat` of such.

use std::collections::HashMap;
use std::ops::Range;

use frcnn_bundle::{Contents, Conv, SectionId, Weights};
use frcnn_core::ShapeError;
use frcnn_kernels::{
    Bf16Conv, Bf16Isa, ChannelRange, ConvAlgorithm, ConvArgs, ConvShape, ConvWindow, Cpu, FusedLayer, Half,
    Int8Conv, Map, MapMut, PreparedConv, Products,
};
use tract_core::internal::*;

use super::conv_plan::{ConvKey, ConvPlan, Numbers};
use super::int8::{Int8Parts, NO_SCALES};
use super::{Resources, nhwc, values};
use crate::fusion::Epilogue;

/// `[N, H, W, Ci]` to `[N, Ho, Wo, Co]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConvOp {
    /// The layer; batch, height and width are those of the input, which [`ConvOp::shape`] fills in.
    key: ConvKey,
    bias: Option<SectionId>,
    /// bf16 values are bits, as u16.
    epilogue: Epilogue,
    resources: Resources,
}

impl ConvOp {
    pub(crate) fn new(conv: &Conv, epilogue: Epilogue, resources: Resources) -> ConvOp {
        ConvOp { key: ConvKey::of(conv), bias: conv.bias, epilogue, resources }
    }

    fn shape(&self, [batch, height, width, _]: [usize; 4]) -> ConvShape {
        ConvShape { batch, height, width, ..self.key.shape.clone() }
    }

    /// Rows and columns of the output.
    pub(super) fn output_size(&self, shape: &ConvShape) -> TractResult<(usize, usize)> {
        let (height, width) = shape.output_size().context("the kernel is larger than the map")?;
        let Some(ceil_mode) = self.epilogue.pool else { return Ok((height, width)) };
        let pool = shape.pool_2x2(ceil_mode).and_then(|pool| pool.output_size());
        pool.context("the window is larger than the map")
    }

    /// The layer on one map of `shape`, which becomes that of its output.
    pub(super) fn fused(&self, shape: &mut [usize; 4]) -> TractResult<FusedLayer<'_>> {
        let layer = self.shape(*shape);
        let (height, width) = self.output_size(&layer)?;
        *shape = [1, height, width, layer.out_channels];
        let Prepared::F32(prepared) = self.resources.weights.convs.get(&self.key)? else {
            bail!("a layer where only f32 ones run")
        };
        let bias = self.resources.bias(self.bias);
        let Epilogue { relu, then, pool, .. } = self.epilogue;
        Ok(FusedLayer::Conv { prepared, shape: layer, bias, relu, then, pool })
    }

    /// The layer on a map of `height` rows and `width` columns.
    pub(super) fn on_map(&self, [height, width]: [usize; 2]) -> ConvShape {
        self.shape([1, height, width, 0])
    }

    /// Whether it does the 2x2 max pooling that follows.
    pub(super) fn pools(&self) -> bool {
        self.epilogue.pool.is_some()
    }

    /// What gives a window of the layer's map, before any pooling; see [`PreparedConv::window`].
    pub(super) fn conv_window(
        &self,
        shape: &ConvShape,
        outputs: [Range<usize>; 2],
    ) -> TractResult<Option<ConvWindow>> {
        Ok(match self.resources.weights.convs.get(&self.key)? {
            Prepared::F32(layer) => layer.window(shape, outputs),
            Prepared::Bf16(layer) => layer.window(shape, outputs),
            Prepared::Int8(layer) => layer.window(shape, outputs),
        })
    }

    /// Runs the layer by `shape`, from `input` into its channels of `output`, which are all of them if it takes in a pooling.
    fn run(
        &self,
        shape: &ConvShape,
        input: &Tensor,
        channels: ChannelRange,
        output: MapMut,
    ) -> TractResult<()> {
        let input = match input.datum_type() == u16::datum_type() {
            true => Map::Bf16(values(input)?),
            false => Map::F32(values(input)?),
        };
        let bias = self.resources.bias(self.bias);
        let Epilogue { relu, then, .. } = self.epilogue;
        let threads = self.resources.threads;
        let prepared = self.resources.weights.convs.get(&self.key)?;
        let scratch_len = match prepared {
            Prepared::F32(layer) => {
                shape.scratch_len((layer.algorithm(), layer.weights()), Cpu::detect(), threads)
            }
            Prepared::Bf16(_) => Bf16Conv::scratch_len(threads),
            Prepared::Int8(_) => Int8Conv::scratch_len(shape, threads),
        };
        self.resources.with_scratch(scratch_len, |scratch| {
            let done = match (prepared, input, output, self.epilogue.pool) {
                (Prepared::Bf16(layer), input, output, Some(ceil_mode)) => layer.run_max_pooled(
                    shape,
                    ceil_mode,
                    ConvArgs { input, bias, relu, threads },
                    scratch,
                    output,
                ),
                (Prepared::Bf16(layer), input, output, None) => layer.run_into_channels(
                    shape,
                    ConvArgs { input, bias, relu, threads },
                    channels,
                    scratch,
                    output,
                ),
                (Prepared::F32(layer), Map::F32(input), MapMut::F32(output), Some(ceil_mode)) => layer
                    .run_max_pooled(
                        shape,
                        ceil_mode,
                        ConvArgs { input, bias, relu, threads },
                        scratch,
                        output,
                    ),
                (Prepared::F32(layer), Map::F32(input), MapMut::F32(output), None) => {
                    let args = ConvArgs { input, bias, relu, threads };
                    layer.run_then(shape, args, then, channels, scratch, output)
                }
                (Prepared::Int8(layer), Map::F32(input), MapMut::F32(output), None) => layer
                    .run_into_channels(
                        shape,
                        ConvArgs { input, bias, relu, threads },
                        channels,
                        scratch,
                        output,
                    ),
                _ => bail!("a layer among maps, or with a pooling, that it does not take"),
            };
            Ok(done?)
        })
    }

    /// Makes a map of `channels` channels, in the precision of the output, of a layer of `shape`.
    fn make_map(
        &self,
        shape: &ConvShape,
        channels: usize,
        fill: impl FnOnce(MapMut) -> TractResult<()>,
    ) -> TractResult<TValue> {
        let (height, width) = self.output_size(shape)?;
        let shape = [shape.batch, height, width, channels];
        if self.epilogue.bf16 {
            self.resources.make(&shape, |bits| fill(MapMut::Bf16(bits)))
        } else {
            self.resources.make(&shape, |values| fill(MapMut::F32(values)))
        }
    }

    /// What the layer gives of `input` by `shape`, which is that of the whole map or of a window.
    pub(super) fn give(&self, shape: &ConvShape, input: &Tensor) -> TractResult<TValue> {
        let channels = self.key.shape.out_channels;
        self.make_map(shape, channels, |output| self.run(shape, input, ChannelRange::all(channels), output))
    }

    fn fact(&self, shape: impl Into<ShapeFact>) -> TypedFact {
        let values = if self.epilogue.bf16 { u16::datum_type() } else { f32::datum_type() };
        values.fact(shape)
    }
}

/// A layer on maps of a batch size, a height and a width.
pub(crate) fn conv_shape(conv: &Conv, [batch, height, width]: [usize; 3]) -> ConvShape {
    ConvShape {
        batch,
        height,
        width,
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
        Ok(tvec!(self.give(&self.shape(nhwc(input.shape())?), &input)?))
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
        let channels = self.key.shape.out_channels;
        Ok(tvec!(self.fact([batch.clone(), height.to_dim(), width.to_dim(), channels.to_dim()])))
    }
}

/// Convolutions whose outputs are concatenated: each writes its channels where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let shapes = self.0.iter().zip(&inputs).map(|(conv, input)| Ok(conv.shape(nhwc(input.shape())?)));
        Ok(tvec!(self.give(&shapes.collect::<TractResult<Vec<_>>>()?, &inputs)?))
    }
}

impl ConcatConvsOp {
    /// What the layers give of `inputs` by `shapes`, which are those of whole maps or of windows.
    pub(super) fn give(&self, shapes: &[ConvShape], inputs: &[TValue]) -> TractResult<TValue> {
        let (conv, shape) = self.0.first().zip(shapes.first()).context("nothing to concatenate")?;
        let stride = self.0.iter().map(|conv| conv.key.shape.out_channels).sum();
        conv.make_map(shape, stride, |mut output| {
            let mut first = 0;
            for ((conv, shape), input) in self.0.iter().zip(shapes).zip(inputs) {
                conv.run(shape, input, ChannelRange { first, stride }, output.reborrow())?;
                first += conv.key.shape.out_channels;
            }
            Ok(())
        })
    }
}

impl TypedOp for ConcatConvsOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shapes = Vec::new();
        for (conv, input) in self.0.iter().zip(inputs) {
            shapes.extend(conv.output_facts(&[input])?.iter().map(|fact| fact.shape.to_tvec()));
        }
        let (conv, mut shape) =
            self.0.first().zip(shapes.first().cloned()).context("nothing to concatenate")?;
        ensure!(shapes.iter().all(|other| other[..3] == shape[..3]), "maps of different sizes");
        shape[3] = shapes.iter().map(|shape| shape[3].clone()).sum();
        Ok(tvec!(conv.fact(shape)))
    }
}

/// Every convolution of a network, packed for this CPU; the plans for all blob sizes share it.
#[derive(Debug, Default)]
pub(crate) struct PackedConvs(HashMap<ConvKey, Prepared>);

/// A convolution whose weights are not packed yet.
pub(crate) struct UnpackedConv {
    pub(crate) plan: ConvPlan,
    weights: Weights,
    int8: Option<Int8Parts>,
}

#[derive(Debug)]
pub(crate) struct PackedConv(ConvKey, Prepared);

#[derive(Debug)]
enum Prepared {
    /// Of f32 or f16 weights, or of bf16 ones on a CPU that cannot multiply them.
    F32(PreparedConv),
    Bf16(Bf16Conv),
    Int8(Int8Conv),
}

impl UnpackedConv {
    /// The convolutions of `plans`. `weights` are those of each section.
    pub(crate) fn all(plans: Vec<ConvPlan>, contents: &Contents, weights: &[Weights]) -> Vec<UnpackedConv> {
        let unpacked = plans.into_iter().filter_map(|plan| {
            let section = plan.key.weight;
            let int8 = Int8Parts::of(contents, weights, section);
            let weights = weights.get(section as usize)?.clone();
            Some(UnpackedConv { plan, weights, int8 })
        });
        unpacked.collect()
    }

    /// The layer by an algorithm, packed on so many threads.
    pub(crate) fn prepare(
        &self,
        algorithm: Option<ConvAlgorithm>,
        threads: usize,
    ) -> Result<PreparedConv, ShapeError> {
        let (cpu, shape) = (Cpu::detect(), &self.plan.shape);
        match &self.weights {
            Weights::F32(weights) => PreparedConv::with(cpu, algorithm, shape, weights, threads),
            Weights::Bf16(bits) => PreparedConv::from_half(cpu, algorithm, shape, Half::Bf16, bits, threads),
            Weights::F16(bits) if self.plan.numbers == Numbers::F16 => {
                PreparedConv::from_f16(cpu, algorithm, shape, bits, threads)
            }
            Weights::F16(bits) => PreparedConv::from_half(cpu, algorithm, shape, Half::F16, bits, threads),
            // Never: in no bundle is an int8 layer grouped, nor has one a choice.
            Weights::Int8(_) => Err(NO_SCALES),
        }
    }

    /// How many weights it has, and what tells it from others of as many.
    pub(super) fn rank(&self) -> (usize, SectionId) {
        (self.plan.shape.weight_len(), self.plan.key.weight)
    }

    /// Packs the weights as the layer's plan says, on the calling thread alone.
    pub(super) fn pack(self) -> Result<PackedConv, ShapeError> {
        let shape = &self.plan.shape;
        let own = match (&self.weights, &self.int8) {
            (Weights::Bf16(bits), _) if self.plan.numbers == Numbers::Bf16 => {
                Bf16Conv::new(shape, bits, 1)?.map(Prepared::Bf16)
            }
            (Weights::Int8(values), Some(int8)) => {
                Int8Conv::new(shape, int8.with(values), 1)?.map(Prepared::Int8)
            }
            _ => None,
        };
        let prepared = match own {
            Some(prepared) => prepared,
            None => Prepared::F32(self.prepare(self.plan.algorithm(), 1)?),
        };
        Ok(PackedConv(self.plan.key, prepared))
    }
}

impl FromIterator<PackedConv> for PackedConvs {
    fn from_iter<I: IntoIterator<Item = PackedConv>>(layers: I) -> PackedConvs {
        PackedConvs(layers.into_iter().map(|PackedConv(key, prepared)| (key, prepared)).collect())
    }
}

impl PackedConvs {
    fn get(&self, key: &ConvKey) -> TractResult<&Prepared> {
        self.0.get(key).context("a layer that is not of this network")
    }

    /// How a layer's products are computed, as [`Products`] says it.
    pub(crate) fn products(&self, conv: &Conv) -> Option<String> {
        let products = match self.0.get(&ConvKey::of(conv))? {
            Prepared::Int8(layer) => Some(layer.products()),
            Prepared::Bf16(_) => Bf16Isa::detect().map(Products::Bf16),
            Prepared::F32(layer) => layer.products(),
        };
        Some(match products {
            Some(products) => products.to_string(),
            // It detects the CPU by itself.
            None => "exact f32 (gemm crate)".to_string(),
        })
    }
}
