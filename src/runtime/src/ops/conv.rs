//! `Conv`, with the ReLU and the 2x2 max pooling that follow it taken in, and `Concat` of such.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Conv, Op as LayerOp, Regions, SectionId, Shape, Weights};
use frcnn_core::ShapeError;
use frcnn_kernels::{
    Bf16Conv, Bf16Isa, ChannelRange, ConvAlgorithm, ConvArgs, ConvCandidate, ConvShape, Cpu, FusedLayer,
    Half, Isa, Map, MapMut, PreparedConv, Products,
};
use tract_core::internal::*;

use super::choice::Choice;
use super::{Resources, nhwc};
use crate::crops::TRUNK_BATCH;
use crate::fusion::{Epilogue, Kernels};
use crate::network::trunk_shapes;
use crate::tuning::{algorithm_name, shape_name};

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
    fn output_size(&self, shape: &ConvShape) -> TractResult<(usize, usize)> {
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
            bail!("a bf16 layer where only f32 ones run")
        };
        let bias = self.resources.bias(self.bias);
        let (relu, pool) = (self.epilogue.relu, self.epilogue.pool);
        Ok(FusedLayer::Conv { prepared, shape: layer, bias, relu, pool })
    }

    /// Runs the layer from `input` into its channels of `output`, which are all of them if it takes in a pooling.
    fn run(&self, input: &Tensor, channels: ChannelRange, output: MapMut) -> TractResult<()> {
        let shape = &self.shape(nhwc(input.shape())?);
        let input = match input.try_as_plain_ram()? {
            plain if input.datum_type() == u16::datum_type() => Map::Bf16(plain.as_slice()?),
            plain => Map::F32(plain.as_slice()?),
        };
        let bias = self.resources.bias(self.bias);
        let (relu, threads) = (self.epilogue.relu, self.resources.threads);
        let prepared = self.resources.weights.convs.get(&self.key)?;
        self.resources.with_scratch(|scratch| {
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
                (Prepared::F32(layer), Map::F32(input), MapMut::F32(output), None) => layer
                    .run_into_channels(
                        shape,
                        ConvArgs { input, bias, relu, threads },
                        channels,
                        scratch,
                        output,
                    ),
                _ => bail!("an f32 layer among bf16 maps"),
            };
            Ok(done?)
        })
    }

    /// Makes a map of `channels` channels, in the precision of the output.
    fn make_map(
        &self,
        input: &Tensor,
        channels: usize,
        fill: impl FnOnce(MapMut) -> TractResult<()>,
    ) -> TractResult<TVec<TValue>> {
        let shape = self.shape(nhwc(input.shape())?);
        let (height, width) = self.output_size(&shape)?;
        let (shape, tensors) = ([shape.batch, height, width, channels], &self.resources.tensors);
        let output = if self.epilogue.bf16 {
            tensors.make(&shape, |bits| fill(MapMut::Bf16(bits)))
        } else {
            tensors.make(&shape, |values| fill(MapMut::F32(values)))
        };
        Ok(tvec!(output?.into_tvalue()))
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
        let channels = self.key.shape.out_channels;
        self.make_map(&input, channels, |output| self.run(&input, ChannelRange::all(channels), output))
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
        let (conv, input) = self.0.first().zip(inputs.first()).context("nothing to concatenate")?;
        let stride = self.0.iter().map(|conv| conv.key.shape.out_channels).sum();
        conv.make_map(input, stride, |mut output| {
            let mut first = 0;
            for (conv, input) in self.0.iter().zip(&inputs) {
                conv.run(input, ChannelRange { first, stride }, output.reborrow())?;
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
pub(crate) struct PackedConvs(HashMap<ConvKey, PackedConv>);

/// Layers may share weights and read them with another stride, dilation or number of groups: each is packed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvKey {
    weight: SectionId,
    /// Of one map of no size.
    shape: ConvShape,
}

impl ConvKey {
    fn of(conv: &Conv) -> ConvKey {
        ConvKey { weight: conv.weight, shape: conv_shape(conv, [1, 0, 0]) }
    }
}

/// A convolution whose weights are not packed yet.
pub(crate) struct UnpackedConv {
    name: String,
    key: ConvKey,
    /// On maps of the size for which it is prepared.
    shape: ConvShape,
    /// Whether its weights and this CPU have bf16.
    bf16: bool,
    weights: Weights,
    /// How it is computed; the expected one if nothing else is chosen.
    pub(super) choice: Option<Choice>,
}

#[derive(Debug)]
pub(crate) struct PackedConv {
    key: ConvKey,
    shape: ConvShape,
    prepared: Prepared,
    choice: Option<Choice>,
}

#[derive(Debug)]
enum Prepared {
    /// Of f32 or f16 weights, or of bf16 ones on a CPU that cannot multiply them.
    F32(PreparedConv),
    Bf16(Bf16Conv),
}

impl UnpackedConv {
    /// All convolutions of a network, for maps of the size that they get from a photo of usual shape. `weights` are those of
    /// each section.
    pub(crate) fn of_network(contents: &Contents, weights: &[Weights]) -> Vec<UnpackedConv> {
        let [image, map] = trunk_shapes(contents);
        // How many maps a layer reads at once.
        let blobs = match contents.regions {
            Regions::RoiPooling(_) => 1,
            Regions::Warp(_) => TRUNK_BATCH,
        };
        let graphs = [(&contents.trunk, image, blobs), (&contents.head, contents.region_shape(map), 1)];
        let can = Bf16Isa::detect().is_some();
        let mut layers = HashMap::new();
        for (graph, input, batch) in graphs {
            let shapes = graph.infer(input).unwrap_or_default();
            for layer in &graph.layers {
                let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
                let LayerOp::Conv(conv) = &layer.op else { continue };
                let weights = weights.get(conv.weight as usize);
                if let (Some(&Shape::Map { height, width, .. }), Some(weights)) = (input, weights) {
                    let key = ConvKey::of(conv);
                    let unpacked = UnpackedConv {
                        name: layer.name.clone(),
                        key: key.clone(),
                        shape: conv_shape(conv, [batch, height, width]),
                        bf16: can && contents.is_bf16(conv.weight),
                        weights: weights.clone(),
                        choice: None,
                    };
                    layers.insert(key, unpacked);
                }
            }
        }
        // In an order that is always the same: of layers that are alike, it decides which gets less memory.
        let mut layers: Vec<UnpackedConv> = layers.into_values().collect();
        layers.sort_by(|a, b| (&a.name, a.key.weight).cmp(&(&b.name, b.key.weight)));
        layers
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its sizes, in words.
    pub(crate) fn shape_name(&self) -> String {
        shape_name(&self.shape, self.is_half())
    }

    /// Whether a weight takes 16 bits.
    fn is_half(&self) -> bool {
        !matches!(self.weights, Weights::F32(_))
    }

    pub(crate) fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The layer by an algorithm, packed on so many threads.
    pub(crate) fn prepare(
        &self,
        algorithm: Option<ConvAlgorithm>,
        threads: usize,
    ) -> Result<PreparedConv, ShapeError> {
        let (cpu, shape) = (Cpu::detect(), &self.shape);
        match &self.weights {
            Weights::F32(weights) => PreparedConv::with(cpu, algorithm, shape, weights, threads),
            Weights::Bf16(bits) => PreparedConv::from_half(cpu, algorithm, shape, Half::Bf16, bits, threads),
            Weights::F16(bits) => PreparedConv::from_half(cpu, algorithm, shape, Half::F16, bits, threads),
        }
    }

    /// The algorithms among which there is a choice: none where it runs in bf16.
    pub(crate) fn candidates(&self) -> Vec<ConvCandidate> {
        if self.bf16 { Vec::new() } else { ConvCandidate::all(Cpu::detect(), &self.shape, self.is_half()) }
    }

    /// Bytes of packed weights of those layers whose algorithm is chosen, at most; saturates.
    pub(crate) fn max_weight_bytes(layers: &[UnpackedConv]) -> u64 {
        let chosen = layers.iter().filter(|layer| !layer.bf16);
        let bytes = chosen.map(|layer| layer.shape.max_weight_bytes(Cpu::detect()) as u64);
        bytes.fold(0, u64::saturating_add)
    }

    /// How many weights it has, and what tells it from others of as many.
    pub(super) fn rank(&self) -> (usize, SectionId) {
        (self.shape.weight_len(), self.key.weight)
    }

    /// Packs the weights as the layer's algorithm reads them, on the calling thread alone.
    pub(super) fn pack(self) -> Result<PackedConv, ShapeError> {
        let bf16 = match &self.weights {
            Weights::Bf16(bits) if self.bf16 => Bf16Conv::new(&self.shape, bits, 1)?,
            _ => None,
        };
        let prepared = match bf16 {
            Some(conv) => Prepared::Bf16(conv),
            None => Prepared::F32(self.prepare(self.choice.map(|choice| choice.candidate.algorithm), 1)?),
        };
        let UnpackedConv { key, shape, choice, .. } = self;
        Ok(PackedConv { key, shape, prepared, choice })
    }
}

impl FromIterator<PackedConv> for PackedConvs {
    fn from_iter<I: IntoIterator<Item = PackedConv>>(layers: I) -> PackedConvs {
        PackedConvs(layers.into_iter().map(|layer| (layer.key.clone(), layer)).collect())
    }
}

impl PackedConvs {
    fn layer(&self, conv: &Conv) -> Option<&PackedConv> {
        self.0.get(&ConvKey::of(conv))
    }

    fn get(&self, key: &ConvKey) -> TractResult<&Prepared> {
        Ok(&self.0.get(key).context("a layer that is not of this network")?.prepared)
    }

    /// How a layer is computed, in the field's words.
    pub(crate) fn algorithm(&self, conv: &Conv) -> Option<&'static str> {
        Some(match self.layer(conv)?.algorithm() {
            None => "direct, bf16",
            Some(ConvAlgorithm::Plain) if is_depthwise(conv) => "depthwise",
            Some(algorithm) => algorithm_name(algorithm),
        })
    }

    /// Why a layer is computed so.
    pub(crate) fn choice(&self, conv: &Conv) -> Option<Choice> {
        self.layer(conv)?.choice
    }

    /// How a layer's products are computed, as [`Products`] says it.
    pub(crate) fn products(&self, conv: &Conv) -> Option<String> {
        Some(match (self.layer(conv)?.algorithm(), Bf16Isa::detect()) {
            (None, Some(isa)) => Products::Bf16(isa).to_string(),
            // The crate `gemm` detects the CPU by itself.
            (Some(ConvAlgorithm::Plain), _) if !is_depthwise(conv) => "exact f32 (gemm crate)".to_string(),
            _ => Products::Exact(Isa::detect()).to_string(),
        })
    }
}

fn is_depthwise(conv: &Conv) -> bool {
    conv.group > 1 && conv.group == conv.in_channels
}

/// Bytes of a map that is worth keeping out of memory: as large as the L2 of several cores.
const LARGE_MAP: usize = 8 << 20;
/// The same where Winograd's algorithm makes the map: strips of it spare memory rather than time.
const LARGE_WINOGRAD_MAP: usize = 32 << 20;
/// How many times as much work the second of two convolutions must be: rows of the first are computed twice.
const SECOND_CONV: usize = 4;
/// The same after a layer of Winograd's algorithm, whose strips are longer, ...
const SECOND_WINOGRAD: usize = 2;
/// ... and the most weights that the second one then has: it reads them for every strip.
const SECOND_WEIGHTS: usize = 1 << 18;

impl Kernels for PackedConvs {
    fn pools(&self, conv: &Conv) -> bool {
        self.layer(conv).is_some_and(|layer| layer.algorithm().is_none_or(ConvAlgorithm::fuses_max_pool))
    }

    fn rounds(&self, conv: &Conv) -> bool {
        self.layer(conv).is_some_and(PackedConv::is_bf16)
    }

    fn starts_strips(&self, conv: &Conv) -> bool {
        self.layer(conv).is_some_and(|layer| {
            let map = layer.pixels().saturating_mul(4 * layer.shape.out_channels);
            match layer.algorithm() {
                None | Some(ConvAlgorithm::Plain) => false,
                Some(ConvAlgorithm::Direct) => map >= LARGE_MAP,
                Some(_) => map >= LARGE_WINOGRAD_MAP,
            }
        })
    }

    fn ends_strips(&self, conv: &Conv, second: &Conv) -> bool {
        let (Some(first), Some(second)) = (self.layer(conv), self.layer(second)) else { return false };
        let may_end = !second.is_bf16() && second.shape.stride == [1, 1];
        let (times, most) = match first.algorithm() {
            Some(ConvAlgorithm::Direct) => (SECOND_CONV, usize::MAX),
            _ => (SECOND_WINOGRAD, SECOND_WEIGHTS),
        };
        may_end
            && second.products() >= first.products().saturating_mul(times)
            && second.shape.weight_len() <= most
    }
}

impl PackedConv {
    fn is_bf16(&self) -> bool {
        matches!(self.prepared, Prepared::Bf16(_))
    }

    /// None of them where it runs in bf16.
    fn algorithm(&self) -> Option<ConvAlgorithm> {
        match &self.prepared {
            Prepared::F32(layer) => Some(layer.algorithm()),
            Prepared::Bf16(_) => None,
        }
    }

    /// Of the output.
    fn pixels(&self) -> usize {
        self.shape.output_size().map_or(0, |(height, width)| height.saturating_mul(width))
    }

    fn products(&self) -> usize {
        self.pixels().saturating_mul(self.shape.weight_len())
    }
}
