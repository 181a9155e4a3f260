//! The two graphs of a detector as lists of layers in a small vocabulary, and what goes with them.

use serde::{Deserialize, Serialize};

use crate::{Manifest, Shape};

/// Everything in a bundle but the weights' bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// Classes, preprocessing, thresholds and box conventions.
    pub manifest: Manifest,
    /// What the device subtracts from blue, green and red pixels, 0..255, before the resize:
    /// [`Manifest::blob_means`], unless the ONNX graph subtracts means of its own.
    pub blob_means: [f32; 3],
    /// Image blob to feature map: one input `[H, W, 3]`, one output. The blob is blue, green, red whatever the manifest
    /// says of the ONNX file's input, see [`NetworkInput`](crate::NetworkInput).
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
    /// What the weights of layers with many products are stored as.
    pub precision: Precision,
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
}

impl DetectionMethod {
    /// As `inspect` and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            DetectionMethod::FastRcnn => "fast-rcnn",
            DetectionMethod::Sppnet => "sppnet",
            DetectionMethod::RCnn => "r-cnn",
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Where it starts, in bytes from the start of the file; a multiple of 64.
    pub offset: u64,
    /// Its length: [`Precision::bytes`] for each value.
    pub bytes: u64,
    /// xxh3-128 of its bytes.
    pub hash: u128,
}

impl Contents {
    /// The published system that this is.
    pub fn method(&self) -> DetectionMethod {
        match &self.regions {
            Regions::Warp(_) => DetectionMethod::RCnn,
            Regions::RoiPooling(pooling) if pooling.pooled.len() > 1 => DetectionMethod::Sppnet,
            Regions::RoiPooling(_) => DetectionMethod::FastRcnn,
        }
    }

    /// What the head reads of one region when the trunk gives `map`: pooled bins as a map, bins of several levels as a
    /// row (rows, columns, channels last, level after level), or the map itself where it is that of a region.
    pub fn region_shape(&self, map: Shape) -> Shape {
        let Regions::RoiPooling(pooling) = &self.regions else { return map };
        let channels = map.channels();
        match pooling.pooled[..] {
            [[height, width]] => Shape::Map { height: height as usize, width: width as usize, channels },
            ref levels => {
                let bins: usize =
                    levels.iter().map(|&[height, width]| height as usize * width as usize).sum();
                Shape::Flat { features: bins.saturating_mul(channels) }
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

/// What weights are stored as. In a network of 16-bit weights these are the weights of ungrouped convolutions and of fully
/// connected layers, but for the layer that reads the image. All others, and biases, stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    F32,
    /// The upper half of it, 8 significant bits. Layers of such weights round what they read to bf16, too, on CPUs that
    /// multiply such values.
    Bf16,
    /// IEEE half precision, 11 significant bits and magnitudes up to 65504. Layers of such weights compute in f32, as if
    /// the rounded weights were f32.
    F16,
}

impl Precision {
    /// Every precision, the exactest first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

    /// As the command line and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    /// The length of a value.
    pub const fn bytes(self) -> u64 {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
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
        }
    }

    /// The weights that may have 16 bits in a network of such weights.
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
