//! What a deployer wants to know about a compiled network.

use frcnn::NetworkCost;
use frcnn_bundle::{ChannelOrder, Factored, Precision};
use serde::Serialize;

use crate::calibrate::CalibratedInput;

/// The result of compiling, in figures.
#[derive(Clone, Debug, Serialize)]
pub struct CompileReport {
    /// Layers, parameters, multiply-accumulates and bytes at the manifest's nominal size.
    pub cost: NetworkCost,
    /// The layers that were factored.
    pub factored: Vec<FactoredLayer>,
    /// Why a layer that `--svd-energy` covers was left whole.
    pub not_factored: Vec<String>,
    /// What the network is taken to read, which no ONNX file says.
    pub input: AssumedInput,
    /// How closely the lowered network, before factoring, follows the ONNX model.
    pub agreement: Agreement,
    /// What factoring changed, if any layer was factored.
    pub drift: Option<Drift>,
    /// What weights are stored as, the coarsest where layers differ.
    pub precision: Precision,
    /// What rounding weights to it changed, if it is f16 or bf16.
    pub rounding: Option<Drift>,
    /// What became of each layer, if some are int8.
    pub int8: Option<Int8Report>,
    /// Length of the bundle.
    pub file_bytes: u64,
}

/// A network of which some layers are int8.
#[derive(Clone, Debug, Serialize)]
pub struct Int8Report {
    /// Photos whose values the steps of int8 were chosen by.
    pub photos: usize,
    /// Regions of them.
    pub regions: usize,
    /// All layers with weights that could be int8, in the order in which they run.
    pub layers: Vec<StoredLayer>,
}

/// What the weights of a layer are stored as.
#[derive(Clone, Debug, Serialize)]
pub struct StoredLayer {
    /// The layer.
    pub layer: String,
    /// What its weights are.
    pub precision: Precision,
    /// `|W - Q| / |W|` in the Frobenius norm, where `Q` is what they were rounded to.
    pub weight_error: f64,
    /// How the layer's input becomes u8, if it is int8, or would.
    pub input: Option<CalibratedInput>,
}

/// What the network is taken to read, as the manifest says or leaves to the defaults, and where it went.
#[derive(Clone, Debug, Serialize)]
pub struct AssumedInput {
    /// The order of the channels.
    pub channel_order: ChannelOrder,
    /// The value of the brightest pixel, before means and deviations.
    pub pixel_scale: f32,
    /// Subtracted, in that order and scale.
    pub pixel_means: [f32; 3],
    /// Divided by, in that order and scale.
    pub pixel_stds: [f32; 3],
    /// Of the box coder.
    pub box_weights: [f32; 4],
    /// All of it in one sentence for people.
    pub assumed: String,
    /// The graph's own layers that do more to the image and were taken out of it.
    pub in_graph: Vec<String>,
    /// The convolutions whose weights took channel order, scale and deviations.
    pub folded_into: Vec<String>,
    /// Layers that had to be added, where no convolution could take them.
    pub added: Vec<String>,
}

/// A layer that became two thinner ones.
#[derive(Clone, Debug, Serialize)]
pub struct FactoredLayer {
    /// The layer as it was.
    pub layer: String,
    /// Features that it reads.
    pub in_features: usize,
    /// Features that it makes.
    pub out_features: usize,
    /// Singular values kept.
    pub rank: usize,
    /// Share of the squared singular values kept, in 0..=1.
    pub energy: f64,
    /// `|W - U L| / |W|` in the Frobenius norm.
    pub relative_error: f64,
    /// Weights of the layer, bias not counted.
    pub parameters_before: u64,
    /// Weights of the two layers, bias not counted.
    pub parameters_after: u64,
}

impl FactoredLayer {
    /// The bundle's record of it.
    pub(crate) fn record(&self) -> Factored {
        Factored {
            layer: self.layer.clone(),
            features: [self.in_features as u32, self.out_features as u32],
            rank: self.rank as u32,
            energy: self.energy as f32,
            relative_error: self.relative_error as f32,
        }
    }
}

/// Largest differences between the lowered network and tract-onnx's own run of the ONNX file on the same
/// seeded input, each relative to the largest magnitude of its stage.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Rows and columns of the blob, or of R-CNN's crops.
    pub blob: [usize; 2],
    /// RoIs.
    pub rois: usize,
    /// The trunk's feature map, of several the farthest.
    pub conv: f64,
    /// Class probabilities, or margins.
    pub cls_prob: f64,
    /// Box deltas.
    pub bbox_pred: f64,
    /// Logits and deltas of the RPN's head, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpn: Option<f64>,
}

/// Largest absolute changes that one step of compiling alone makes to the head's outputs, on the same input.
#[derive(Clone, Debug, Serialize)]
pub struct Drift {
    /// Of a class probability, or margin.
    pub cls_prob: f64,
    /// Of a box delta.
    pub bbox_pred: f64,
}
