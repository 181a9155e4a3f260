//! The two graphs of a detector as lists of layers in a small vocabulary, and what goes with them.

use serde::{Deserialize, Serialize};

use crate::{Cascade, Int8, Manifest, RoiAlign, Rpn, Shape};

/// Everything in a bundle but the weights' bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// Classes, preprocessing, thresholds and box conventions.
    pub manifest: Manifest,
    /// What the device subtracts from blue, green and red pixels, 0..255, before the resize:
    /// [`Manifest::blob_means`], unless the ONNX graph subtracts means of its own.
    pub blob_means: [f32; 3],
    /// Image blob to feature maps: one input `[H, W, 3]`; the maps that regions are pooled from, the finest first, see
    /// [`Contents::pooled_maps`], then those that only the RPN reads. The blob is blue, green, red whatever the manifest says
    /// of the ONNX file's input, see [`NetworkInput`](crate::NetworkInput).
    pub trunk: Graph,
    /// How a region becomes what the head reads.
    pub regions: Regions,
    /// A region's features to predictions: one input, see [`Contents::region_shape`], outputs `cls_prob` and
    /// `bbox_pred`.
    pub head: Graph,
    /// Where each weight lies in the file; layers refer to these by position.
    pub sections: Vec<Section>,
    /// The fully connected layers that were factored.
    pub factored: Vec<Factored>,
    /// What drops regions before the head runs.
    pub cascade: Option<Cascade>,
    /// What proposes regions, where the network learned to.
    pub rpn: Option<Rpn>,
    /// The board for which its layers' precisions were chosen, if they were chosen for one.
    pub board: Option<String>,
    /// Where it all came from.
    pub origin: Origin,
}

/// How a region becomes what the head reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regions {
    /// The trunk runs on the whole image, and regions of its map are pooled: Fast R-CNN and SPPnet.
    RoiPooling(RoiPooling),
    /// Regions are cut out of the image, and the trunk runs on each: R-CNN.
    Warp(Warp),
    /// The trunk runs on the whole image, and regions are sampled from the one of its maps that suits their size.
    RoiAlign(RoiAlign),
}

/// RoI max pooling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoiPooling {
    /// Rows and columns of bins: of one level in Fast R-CNN, of several, which lie one after the other, in SPPnet.
    pub pooled: Vec<[u32; 2]>,
    /// Feature-map cells per network pixel: 1/16 for VGG16.
    pub spatial_scale: f32,
}

/// Cutting a region out of the image and resizing it, whatever its shape, to a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warp {
    /// Side of the square: what the network reads.
    pub side: u32,
    /// Pixels of the square, on each of its sides, that show what is around the region.
    pub context: u32,
}

impl Warp {
    /// The `context` of the published R-CNN (Girshick et al., CVPR 2014, appendix A).
    pub const PUBLISHED_CONTEXT: u32 = 16;
}

/// The published systems that a bundle can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectionMethod {
    /// One pooled level of one feature map.
    FastRcnn,
    /// Several pooled levels of one feature map.
    Sppnet,
    /// The whole network on each region.
    RCnn,
    /// A region proposal network on the same feature maps.
    FasterRcnn,
}

impl DetectionMethod {
    /// As `inspect` and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            DetectionMethod::FastRcnn => "fast-rcnn",
            DetectionMethod::Sppnet => "sppnet",
            DetectionMethod::RCnn => "r-cnn",
            DetectionMethod::FasterRcnn => "faster-rcnn",
        }
    }
}

/// A layer graph. Value 0 is the graph's input; layer `i` makes value `i + 1`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The layers, each after those whose values it reads.
    pub layers: Vec<Layer>,
    /// The values that the graph gives.
    pub outputs: Vec<u32>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The published blob name where there is one: `conv5_3`, `fc6_L`, `cls_score`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The values that it reads.
    pub inputs: Vec<u32>,
}

/// Position in [`Contents::sections`].
pub type SectionId = u32;

/// The vocabulary. Every attribute is explicit and sizes stay free: a graph fits any blob size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// 2-D cross-correlation.
    Conv(Conv),
    /// Largest value of each window; padding never wins.
    MaxPool(Pool),
    /// Mean of each window.
    AveragePool {
        /// The window.
        pool: Pool,
        /// Whether padded cells count in the divisor.
        count_include_pad: bool,
    },
    /// Mean over the whole map, which becomes 1 x 1.
    GlobalAveragePool,
    /// Across channels: `x / (k + alpha / size * sum of x^2 over the window)^beta`.
    Lrn {
        /// Channels in the window.
        size: u32,
        /// Weight of the squares' mean.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Added to the mean.
        k: f32,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, else `alpha * x`.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `min(max(x, low), high)`.
    Clip {
        /// Lower bound; may be negative infinity.
        low: f32,
        /// Upper bound; may be infinity.
        high: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// Joins maps along their channels.
    Concat,
    /// Sum of two maps; a 1 x 1 map is spread over the other.
    Add,
    /// Product of two maps; a 1 x 1 map is spread over the other.
    Mul,
    /// `x * scale + shift` with one scale and shift per channel.
    Affine(Affine),
    /// A map as one row of values, in the map's own order: rows, columns, channels last.
    Flatten,
    /// `x W + b`.
    Gemm(Gemm),
    /// Over the features of each row.
    Softmax,
    /// The first map with the rows and columns of the second, of which nothing else is read: row `i` of `m` is the first
    /// map's row `floor(i * n / m)` of `n`, and so are columns.
    Upsample,
}

/// Attributes and weights of a convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Channels read.
    pub in_channels: u32,
    /// Channels made.
    pub out_channels: u32,
    /// Rows and columns of the kernel.
    pub kernel: [u32; 2],
    /// Step down and right.
    pub stride: [u32; 2],
    /// Distance between taps.
    pub dilation: [u32; 2],
    /// Zeros added at the top, left, bottom and right.
    pub pads: [u32; 4],
    /// Groups of channels that do not see each other.
    pub group: u32,
    /// `[Kh, Kw, Ci/group, Co]`.
    pub weight: SectionId,
    /// `[Co]`.
    pub bias: Option<SectionId>,
}

/// The window of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Rows and columns of the window.
    pub kernel: [u32; 2],
    /// Step down and right.
    pub stride: [u32; 2],
    /// Cells added at the top, left, bottom and right.
    pub pads: [u32; 4],
    /// Whether a last, partial window counts; it must start inside the map or its leading padding.
    pub ceil_mode: bool,
}

/// Weights of a per-channel scale and shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    /// Channels read and made.
    pub channels: u32,
    /// `[C]`.
    pub scale: SectionId,
    /// `[C]`.
    pub shift: SectionId,
}

/// Sizes and weights of a fully connected layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gemm {
    /// Features read.
    pub in_features: u32,
    /// Features made.
    pub out_features: u32,
    /// `[in, out]`.
    pub weight: SectionId,
    /// `[out]`.
    pub bias: Option<SectionId>,
}

/// One tensor of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Such as `conv5_3.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u32>,
    /// What its values are.
    pub precision: Precision,
    /// Of int8 values: what makes real numbers of them.
    pub int8: Option<Int8>,
    /// Where it starts, in bytes from the start of the file; a multiple of 64.
    pub offset: u64,
    /// Its length: [`Precision::bytes`] for each value.
    pub bytes: u64,
    /// xxh3-128 of its bytes.
    pub hash: u128,
}

impl Contents {
    /// The graphs by their names: `trunk`, `head` and, where there are such, `rpn` and `judge`.
    pub fn graphs(&self) -> impl Iterator<Item = (&'static str, &Graph)> {
        let rpn = self.rpn.iter().map(|rpn| ("rpn", &rpn.graph));
        let judge = self.cascade.iter().map(|cascade| ("judge", &cascade.judge));
        [("trunk", &self.trunk), ("head", &self.head)].into_iter().chain(rpn).chain(judge)
    }

    /// The layers of all graphs.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.graphs().flat_map(|(_, graph)| &graph.layers)
    }

    /// The published system that this is.
    pub fn method(&self) -> DetectionMethod {
        match &self.regions {
            Regions::Warp(_) => DetectionMethod::RCnn,
            Regions::RoiPooling(pooling) if pooling.pooled.len() > 1 => DetectionMethod::Sppnet,
            Regions::RoiPooling(_) | Regions::RoiAlign(_) if self.rpn.is_some() => {
                DetectionMethod::FasterRcnn
            }
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => DetectionMethod::FastRcnn,
        }
    }

    /// The names of the trunk's maps: `conv`, or with a pyramid `p2` and so on, by their levels.
    pub fn map_names(&self) -> Vec<String> {
        match &self.regions {
            Regions::RoiAlign(align) => {
                let levels = (align.level_rule.finest_level..).zip(&self.trunk.outputs);
                levels.map(|(level, _)| format!("p{level}")).collect()
            }
            Regions::RoiPooling(_) | Regions::Warp(_) => {
                let others = (1..self.trunk.outputs.len()).map(|map| format!("conv.{map}"));
                ["conv".to_string()].into_iter().chain(others).collect()
            }
        }
    }

    /// How many of the trunk's maps, from the first, regions are pooled from; of R-CNN 1, the map that its head reads.
    pub fn pooled_maps(&self) -> usize {
        match &self.regions {
            Regions::RoiAlign(align) => align.spatial_scales.len(),
            Regions::RoiPooling(_) | Regions::Warp(_) => 1,
        }
    }

    /// What the head reads of one region when the trunk gives `map`: pooled bins as a map, bins of several levels as a
    /// row (rows, columns, channels last, level after level), or the map itself where it is that of a region.
    pub fn region_shape(&self, map: Shape) -> Shape {
        let channels = map.channels();
        let levels = match &self.regions {
            Regions::Warp(_) => return map,
            Regions::RoiPooling(pooling) => &pooling.pooled[..],
            Regions::RoiAlign(align) => std::slice::from_ref(&align.pooled),
        };
        match *levels {
            [[height, width]] => Shape::Map { height: height as usize, width: width as usize, channels },
            ref levels => {
                let bins: usize =
                    levels.iter().map(|&[height, width]| height as usize * width as usize).sum();
                Shape::Flat { features: bins.saturating_mul(channels) }
            }
        }
    }

    /// The coarsest precision of any section.
    pub fn precision(&self) -> Precision {
        let is_there = |precision: &Precision| self.sections.iter().any(|s| s.precision == *precision);
        Precision::ALL.into_iter().rev().find(is_there).unwrap_or_default()
    }

    /// How many layers have weights of each precision, of those that may have another than f32; the coarsest first.
    pub fn layer_precisions(&self) -> Vec<(Precision, usize)> {
        let graphs = || self.graphs().filter(|&(which, _)| which != "judge");
        let layers = || graphs().flat_map(|(_, graph)| &graph.layers);
        let weights =
            || layers().filter_map(|layer| self.sections.get(layer.op.reducible_weight()? as usize));
        let count = |precision| weights().filter(|section| section.precision == precision).count();
        let counts = Precision::ALL.into_iter().rev().map(|precision| (precision, count(precision)));
        counts.filter(|&(_, layers)| layers > 0).collect()
    }

    /// The same in words: `int8 12 layers, f16 10, f32 4`, or `f32` where all are alike.
    pub fn precision_names(&self) -> String {
        match &self.layer_precisions()[..] {
            [] => Precision::F32.name().to_string(),
            [(only, _)] => only.name().to_string(),
            [(first, layers), rest @ ..] => {
                let rest = rest.iter().map(|(precision, layers)| format!(", {} {layers}", precision.name()));
                format!("{} {layers} layers", first.name()) + &rest.collect::<String>()
            }
        }
    }

    /// Whether the layer with these weights computes in bf16.
    pub fn is_bf16(&self, weight: SectionId) -> bool {
        self.sections.get(weight as usize).is_some_and(|section| section.precision == Precision::Bf16)
    }
}

impl Section {
    /// Values in it; `None` when there are too many to count.
    pub fn values(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::from(d)))
    }

    /// Whether its length is that of its values.
    pub(crate) fn length_fits(&self) -> bool {
        self.values().and_then(|values| values.checked_mul(self.precision.bytes())) == Some(self.bytes)
    }
}

/// A fully connected layer that was replaced by two thinner ones, see [`Factored::factors`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factored {
    /// The layer as it was: `fc6`.
    pub layer: String,
    /// Features read and made by the layer as it was.
    pub features: [u32; 2],
    /// Singular values kept.
    pub rank: u32,
    /// Share of the squared singular values kept, in 0..=1.
    pub energy: f32,
    /// `|W - U L| / |W|` in the Frobenius norm, measured on the factors as they are stored.
    pub relative_error: f32,
}

impl Factored {
    /// The names of the two layers in its place, in the order in which they run: the published `fc6_L` and `fc6_U`.
    pub fn factors(&self) -> [String; 2] {
        ["L", "U"].map(|factor| format!("{}_{factor}", self.layer))
    }
}

/// What weights are stored as. Each layer has its own: those of ungrouped convolutions and of fully connected layers may be
/// of any, all others, and biases, are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    F32,
    /// The upper half of it, 8 significant bits. Layers of such weights round what they read to bf16, too, on CPUs that
    /// multiply such values.
    Bf16,
    /// IEEE half precision, 11 significant bits and magnitudes up to 65504. On CPUs that compute in it, layers of such weights
    /// round what they read to f16, too; on others they compute in f32, as if the rounded weights were f32.
    F16,
    /// Whole numbers from -127 to 127, each to be multiplied by the scale of its output channel: see [`Int8`].
    Int8,
}

impl Precision {
    /// Every precision, the exactest first.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8];

    /// As the command line and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
        }
    }

    /// The length of a value.
    pub const fn bytes(self) -> u64 {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
            Precision::Int8 => 1,
        }
    }
}

/// Where a bundle came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// SHA-256 of the ONNX file.
    pub onnx_sha256: [u8; 32],
    /// `frcnn-compiler` and its version.
    pub compiler: String,
}

impl Op {
    /// The operator's name as tables and messages show it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::MaxPool(_) => "MaxPool",
            Op::AveragePool { .. } => "AveragePool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::Lrn { .. } => "LRN",
            Op::Relu => "Relu",
            Op::LeakyRelu { .. } => "LeakyRelu",
            Op::Clip { .. } => "Clip",
            Op::Sigmoid => "Sigmoid",
            Op::HardSigmoid { .. } => "HardSigmoid",
            Op::HardSwish => "HardSwish",
            Op::Concat => "Concat",
            Op::Add => "Add",
            Op::Mul => "Mul",
            Op::Affine(_) => "Affine",
            Op::Flatten => "Flatten",
            Op::Gemm(_) => "Gemm",
            Op::Softmax => "Softmax",
            Op::Upsample => "Upsample",
        }
    }

    /// Whether it works on maps, and could not be a layer of a cascade's judge.
    pub fn is_on_maps(&self) -> bool {
        matches!(
            self,
            Op::Conv(_)
                | Op::MaxPool(_)
                | Op::AveragePool { .. }
                | Op::GlobalAveragePool
                | Op::Lrn { .. }
                | Op::Concat
                | Op::Upsample
        )
    }

    /// The weights that may be of another precision than f32.
    pub fn reducible_weight(&self) -> Option<SectionId> {
        match self {
            Op::Conv(conv) if conv.group == 1 => Some(conv.weight),
            Op::Gemm(gemm) => Some(gemm.weight),
            _ => None,
        }
    }

    /// The sections that the layer reads, weight first.
    pub fn sections(&self) -> impl Iterator<Item = SectionId> + use<> {
        let (first, second) = match self {
            Op::Conv(conv) => (Some(conv.weight), conv.bias),
            Op::Gemm(gemm) => (Some(gemm.weight), gemm.bias),
            Op::Affine(affine) => (Some(affine.scale), Some(affine.shift)),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}
