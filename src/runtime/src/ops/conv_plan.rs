//! How each convolution of a network is computed: decided of its sizes, before its weights are packed.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Conv, Op, Precision, Regions, SectionId, Shape};
use frcnn_kernels::{
    Bf16Conv, Bf16Isa, ConvAlgorithm, ConvCandidate, ConvShape, ConvWeights, Cpu, F16Isa, Int8Conv,
};

use super::choice::Choice;
use super::conv_shape;
use crate::crops::TRUNK_BATCH;
use crate::fusion::Kernels;
use crate::network::trunk_shapes;
use crate::tuning::{algorithm_name, shape_name};

/// Layers may share weights and read them with another stride, dilation or number of groups: each is packed by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvKey {
    pub(super) weight: SectionId,
    /// Of one map of no size.
    pub(super) shape: ConvShape,
}

impl ConvKey {
    pub(super) fn of(conv: &Conv) -> ConvKey {
        ConvKey { weight: conv.weight, shape: conv_shape(conv, [1, 0, 0]) }
    }
}

/// In which numbers a convolution multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    /// Weights of 16 bits, which are widened to f32 as they are read.
    Widened,
    /// f16 weights, and products in f16 where an algorithm has them.
    F16,
    Bf16,
    Int8,
}

/// One convolution.
#[derive(Clone, Debug)]
pub(crate) struct ConvPlan {
    pub(crate) name: String,
    pub(super) key: ConvKey,
    /// On maps of the size for which it is prepared.
    pub(crate) shape: ConvShape,
    pub(super) numbers: Numbers,
    /// The algorithm, where there is a choice.
    pub(super) choice: Option<Choice>,
}

impl ConvPlan {
    /// All convolutions of a network, on maps of the size that they get from a photo of usual shape, by the algorithms that are
    /// expected to take least time.
    pub(crate) fn all(contents: &Contents) -> Vec<ConvPlan> {
        let [image, map] = trunk_shapes(contents);
        // How many maps a layer reads at once.
        let blobs = match contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => 1,
            Regions::Warp(_) => TRUNK_BATCH,
        };
        let rpn = contents.rpn.iter().map(|rpn| (&rpn.graph, map, 1));
        let head = (&contents.head, contents.region_shape(map), 1);
        let graphs = [(&contents.trunk, image, blobs), head].into_iter().chain(rpn);
        let mut layers = HashMap::new();
        for (graph, input, batch) in graphs {
            let shapes = graph.infer(input).unwrap_or_default();
            for layer in &graph.layers {
                let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
                let Op::Conv(conv) = &layer.op else { continue };
                if let Some(&Shape::Map { height, width, .. }) = input {
                    let key = ConvKey::of(conv);
                    let shape = conv_shape(conv, [batch, height, width]);
                    let numbers = numbers(contents, conv, &shape);
                    let mut plan =
                        ConvPlan { name: layer.name.clone(), key: key.clone(), shape, numbers, choice: None };
                    let candidates = plan.candidates();
                    plan.choice = ConvCandidate::choose(&candidates, |candidate| candidate.flops)
                        .map(|candidate| Choice { candidate, ms: None });
                    layers.insert(key, plan);
                }
            }
        }
        // In an order that is always the same: of layers that are alike, it decides which gets less memory.
        let mut layers: Vec<ConvPlan> = layers.into_values().collect();
        layers.sort_by(|a, b| (&a.name, a.key.weight).cmp(&(&b.name, b.key.weight)));
        layers
    }

    /// Its sizes, in words.
    pub(crate) fn shape_name(&self) -> String {
        let numbers = match self.numbers {
            Numbers::Widened => "16 bits",
            Numbers::F16 => "f16",
            Numbers::F32 | Numbers::Bf16 | Numbers::Int8 => "32 bits",
        };
        shape_name(&self.shape, numbers)
    }

    /// The algorithms among which there is a choice, if there is one.
    pub(crate) fn candidates(&self) -> Vec<ConvCandidate> {
        let candidates = |weights| ConvCandidate::all(Cpu::detect(), &self.shape, weights);
        self.weights().map_or_else(Vec::new, candidates)
    }

    /// How its weights are kept and multiplied; `None` in bf16 and int8.
    fn weights(&self) -> Option<ConvWeights> {
        match self.numbers {
            Numbers::F32 => Some(ConvWeights::F32),
            Numbers::Widened => Some(ConvWeights::Half),
            Numbers::F16 => Some(ConvWeights::F16),
            Numbers::Bf16 | Numbers::Int8 => None,
        }
    }

    /// None in bf16 and int8.
    pub(super) fn algorithm(&self) -> Option<ConvAlgorithm> {
        self.choice.map(|choice| choice.candidate.algorithm)
    }

    /// Bytes of its packed weights; saturates.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let bytes = match self.numbers {
            Numbers::F32 | Numbers::Widened | Numbers::F16 => {
                self.choice.map_or(0, |choice| choice.candidate.weight_bytes)
            }
            Numbers::Bf16 => Bf16Conv::packed_bytes(&self.shape),
            Numbers::Int8 => Int8Conv::packed_bytes(&self.shape),
        };
        bytes as u64
    }

    /// Values of scratch that it takes on maps of the size of `shape`; saturates.
    fn scratch_len(&self, shape: &ConvShape, threads: usize) -> usize {
        match (self.numbers, self.algorithm().zip(self.weights())) {
            (Numbers::Bf16, _) => Bf16Conv::scratch_len(threads),
            (Numbers::Int8, _) => Int8Conv::scratch_len(shape, threads),
            (_, Some(computed)) => shape.scratch_len(computed, Cpu::detect(), threads),
            (_, None) => 0,
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

/// In which numbers this CPU multiplies a convolution on maps of the size of `shape`.
fn numbers(contents: &Contents, conv: &Conv, shape: &ConvShape) -> Numbers {
    let in_f16 =
        || F16Isa::detect().is_some() && ConvWeights::of_f16(Cpu::detect(), shape) == ConvWeights::F16;
    let precision = contents.sections.get(conv.weight as usize).map(|section| section.precision);
    match precision {
        Some(Precision::Int8) => Numbers::Int8,
        Some(Precision::Bf16) if Bf16Isa::detect().is_some() && conv.group == 1 => Numbers::Bf16,
        Some(Precision::F16) if in_f16() => Numbers::F16,
        Some(Precision::Bf16 | Precision::F16) => Numbers::Widened,
        Some(Precision::F32) | None => Numbers::F32,
    }
}

/// All convolutions of a network.
#[derive(Debug, Default)]
pub(crate) struct ConvPlans(HashMap<ConvKey, ConvPlan>);

impl<'a> FromIterator<&'a ConvPlan> for ConvPlans {
    fn from_iter<I: IntoIterator<Item = &'a ConvPlan>>(plans: I) -> ConvPlans {
        ConvPlans(plans.into_iter().map(|plan| (plan.key.clone(), plan.clone())).collect())
    }
}

impl ConvPlans {
    fn get(&self, conv: &Conv) -> Option<&ConvPlan> {
        self.0.get(&ConvKey::of(conv))
    }

    /// The weights of each, and the bytes that they take packed; those saturate.
    pub(crate) fn weights(&self) -> impl Iterator<Item = (SectionId, u64)> {
        self.0.values().map(|plan| (plan.key.weight, plan.weight_bytes()))
    }

    /// Values of scratch of a layer on maps of a batch size, a height and a width; saturates.
    pub(crate) fn scratch_len(&self, conv: &Conv, size: [usize; 3], threads: usize) -> usize {
        self.get(conv).map_or(0, |plan| plan.scratch_len(&conv_shape(conv, size), threads))
    }

    /// By which algorithm a layer is computed, if in f32.
    pub(crate) fn algorithm(&self, conv: &Conv) -> Option<ConvAlgorithm> {
        self.get(conv)?.algorithm()
    }

    /// How its weights are kept and multiplied, if not in bf16 or int8.
    pub(crate) fn kept(&self, conv: &Conv) -> Option<ConvWeights> {
        self.get(conv)?.weights()
    }

    /// The algorithm, in the field's words.
    pub(crate) fn algorithm_name(&self, conv: &Conv) -> Option<&'static str> {
        let plan = self.get(conv)?;
        Some(match (plan.numbers, plan.algorithm()) {
            (Numbers::Bf16, _) => "direct, bf16",
            (Numbers::Int8, _) if plan.shape.is_pointwise() => "GEMM, int8",
            (Numbers::Int8, _) => "im2row and GEMM, int8",
            (_, algorithm) => algorithm_name(algorithm?),
        })
    }

    /// Why a layer is computed so.
    pub(crate) fn choice(&self, conv: &Conv) -> Option<Choice> {
        self.get(conv)?.choice
    }
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

impl Kernels for ConvPlans {
    fn pools(&self, conv: &Conv) -> bool {
        self.get(conv).is_some_and(|plan| match plan.algorithm() {
            Some(algorithm) => algorithm.fuses_max_pool(),
            None => plan.numbers == Numbers::Bf16,
        })
    }

    fn computes(&self, conv: &Conv) -> bool {
        self.get(conv).is_some_and(|plan| plan.weights().is_some())
    }

    fn rounds(&self, conv: &Conv) -> bool {
        self.get(conv).is_some_and(|plan| plan.numbers == Numbers::Bf16)
    }

    fn starts_strips(&self, conv: &Conv) -> bool {
        self.get(conv).is_some_and(|plan| {
            let map = plan.pixels().saturating_mul(4 * plan.shape.out_channels);
            match plan.algorithm() {
                None | Some(ConvAlgorithm::Plain | ConvAlgorithm::Depthwise) => false,
                Some(ConvAlgorithm::Direct) => map >= LARGE_MAP,
                Some(_) => map >= LARGE_WINOGRAD_MAP,
            }
        })
    }

    fn goes_on_strips(&self, conv: &Conv, second: &Conv) -> bool {
        let (Some(first), Some(second)) = (self.get(conv), self.get(second)) else { return false };
        let by_rows = |plan: &ConvPlan| {
            matches!(plan.algorithm(), Some(ConvAlgorithm::Direct | ConvAlgorithm::Depthwise))
        };
        let map = first.pixels().saturating_mul(4 * first.shape.out_channels);
        let is_cheap = second.algorithm() == Some(ConvAlgorithm::Depthwise) || second.shape.is_pointwise();
        by_rows(first) && by_rows(second) && is_cheap && map >= Cpu::detect().caches.l2_per_core()
    }

    fn ends_strips(&self, conv: &Conv, second: &Conv) -> bool {
        let (Some(first), Some(second)) = (self.get(conv), self.get(second)) else { return false };
        let may_end = second.algorithm().is_some() && second.shape.stride == [1, 1];
        let (times, most) = match first.algorithm() {
            Some(ConvAlgorithm::Direct) => (SECOND_CONV, usize::MAX),
            _ => (SECOND_WINOGRAD, SECOND_WEIGHTS),
        };
        may_end
            && second.products() >= first.products().saturating_mul(times)
            && second.shape.weight_len() <= most
    }
}
