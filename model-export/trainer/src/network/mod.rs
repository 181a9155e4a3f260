//! A Fast R-CNN as a list of layers in a small vocabulary, with its weights.
//!
//! One list serves everything: it is trained and run with libtorch, and written as ONNX. What others wrote as ONNX is read and
//! lowered by the compiler, and run in [`Compiled`]. Layers and blobs carry the published names (`conv5_3`, `pool5`, `fc6`); a layer's output has the layer's name.
//!
//! Letters: `N` images, `R` RoIs, `C` channels, `H x W` the blob, `Hf x Wf` the feature map, `P` pooled side, `K` object
//! classes. Tensors are channels first, as in ONNX.

mod any;
mod compiled;
mod onnx_write;
mod roi_align;
mod roi_pool;
mod run;

use std::collections::BTreeMap;

use tch::{Device, Tensor};

pub(crate) use any::AnyNetwork;
pub(crate) use compiled::Compiled;
pub(crate) use run::{Rois, Run};

/// A named tensor between layers.
pub(crate) type StageTensor = (String, Tensor);

/// The image blob `[N, 3, H, W]`.
pub(crate) const DATA: &str = "data";
/// RoIs `[R, 5]` in network pixels: index of the image in the batch, x1, y1, x2, y2.
pub(crate) const ROIS: &str = "rois";
/// What a region proposal network says of each of A anchors at a cell, `[N, A, Hf, Wf]`: how likely it is an object.
pub(crate) const RPN_LOGITS: &str = "rpn_logits";
/// And where that object is, `[N, 4A, Hf, Wf]`: tx, ty, tw, th of the first anchor, then of the next.
pub(crate) const RPN_DELTAS: &str = "rpn_deltas";

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// Weights `[Co, Ci / groups, Kh, Kw]` and bias `[Co]`.
    Conv {
        stride: i64,
        pad: i64,
        groups: i64,
    },
    Relu,
    MaxPool {
        kernel: i64,
        stride: i64,
        pad: i64,
        ceil: bool,
    },
    /// `x / (k + alpha / size * sum of squares over size channels) ^ beta`.
    Lrn {
        size: i64,
        alpha: f64,
        beta: f64,
        k: f64,
    },
    /// Stacks channels.
    Concat,
    /// Each of R RoIs becomes `P x P` bins, the maximum of a bin in each channel.
    RoiPool {
        pooled: i64,
        spatial_scale: f32,
    },
    /// Each of R RoIs becomes `P x P` bins, the mean of `sampling_ratio` squared points of a bin in each channel.
    RoiAlign {
        pooled: i64,
        spatial_scale: f32,
        sampling_ratio: i64,
    },
    Flatten,
    /// Zeroes a share of what it reads while training, and scales the rest up.
    Dropout,
    /// Weights `[out, in]` and, unless it is the first half of a factored layer, bias `[out]`.
    Linear,
    Softmax,
}

/// One layer: its name is also its output's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TorchLayer {
    pub(crate) name: String,
    pub(crate) op: Op,
    /// Outputs of earlier layers, or [`DATA`].
    pub(crate) inputs: Vec<String>,
}

/// A network and its weights.
#[derive(Debug)]
pub(crate) struct TorchNetwork {
    /// In an order in which every input is already computed.
    pub(crate) layers: Vec<TorchLayer>,
    /// `LAYER.weight` and `LAYER.bias`.
    pub(crate) weights: BTreeMap<String, Tensor>,
}

impl TorchNetwork {
    /// The layer that pools RoIs, in every Fast R-CNN exactly one.
    fn pooling(&self) -> Option<(&TorchLayer, f32)> {
        self.layers.iter().find_map(|layer| match layer.op {
            Op::RoiPool { spatial_scale, .. } | Op::RoiAlign { spatial_scale, .. } => {
                Some((layer, spatial_scale))
            }
            _ => None,
        })
    }

    /// Feature cells per network pixel.
    pub(crate) fn spatial_scale(&self) -> f32 {
        self.pooling().map_or(1.0, |(_, scale)| scale)
    }

    /// Whether RoIs are sampled between cells, and not rounded to them.
    pub(crate) fn aligns(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.op, Op::RoiAlign { .. }))
    }

    /// The blob that is pooled: `conv5_3`, say.
    pub(crate) fn feature_map(&self) -> &str {
        self.pooling().and_then(|(layer, _)| layer.inputs.first()).map_or(DATA, String::as_str)
    }

    /// Names of the layers that have weights, in order.
    pub(crate) fn learned(&self) -> impl Iterator<Item = &str> {
        self.layers
            .iter()
            .filter(|layer| matches!(layer.op, Op::Conv { .. } | Op::Linear))
            .map(|layer| layer.name.as_str())
    }

    /// Whether a layer reads the image blob itself.
    pub(crate) fn reads_pixels(&self, layer: &str) -> bool {
        self.layers.iter().any(|l| l.name == layer && l.inputs.iter().any(|input| input == DATA))
    }

    /// Names of the convolutions, in order.
    pub(crate) fn convolutions(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().filter(|l| matches!(l.op, Op::Conv { .. })).map(|layer| layer.name.as_str())
    }

    /// Moves the weights.
    pub(crate) fn move_to(&mut self, device: Device) {
        for weight in self.weights.values_mut() {
            *weight = weight.to_device(device);
        }
    }

    /// Makes every blob of the trunk `factor` times smaller and nothing else: the first convolution's weights shrink, and
    /// the biases of all. ReLU and max pooling pass a factor on.
    ///
    /// Gives whether that could be done: local response normalisation passes none on, and bounds the blobs itself.
    pub(crate) fn shrink_features(&mut self, factor: f64) -> bool {
        if self.layers.iter().any(|layer| matches!(layer.op, Op::Lrn { .. })) {
            return false;
        }
        for layer in self.layers.iter().filter(|layer| matches!(layer.op, Op::Conv { .. })) {
            let parts: &[&str] = if self.reads_pixels(&layer.name) { &["weight", "bias"] } else { &["bias"] };
            for part in parts {
                if let Some(tensor) = self.weights.get_mut(&format!("{}.{part}", layer.name)) {
                    *tensor = &*tensor / factor;
                }
            }
        }
        true
    }

    /// Makes a layer's weights, not its biases, `factor` times smaller.
    pub(crate) fn shrink_weight(&mut self, layer: &str, factor: f64) {
        if let Some(weight) = self.weights.get_mut(&format!("{layer}.weight")) {
            *weight = &*weight / factor;
        }
    }

    /// Makes `bbox_pred` give plain regressions where it gave normalised ones: `W *= sigma; b = b * sigma + mu`, each of
    /// its rows by its own class and coordinate.
    pub(crate) fn fold_bbox(&mut self, normalisation: &Normalisation) {
        let (mean, std) = normalisation.tensors(self.device());
        self.scale_bbox(&std, &(&std * 0.0), &mean);
    }

    /// The inverse of [`TorchNetwork::fold_bbox`]: for weights that come folded and are to be trained on.
    pub(crate) fn unfold_bbox(&mut self, normalisation: &Normalisation) {
        let (mean, std) = normalisation.tensors(self.device());
        self.scale_bbox(&std.reciprocal(), &-mean, &(&std * 0.0));
    }

    /// `W *= scale; b = (b + before) * scale + after`.
    fn scale_bbox(&mut self, scale: &Tensor, before: &Tensor, after: &Tensor) {
        tch::no_grad(|| {
            if let Some(weight) = self.weights.get_mut("bbox_pred.weight") {
                *weight = &*weight * scale.unsqueeze(1);
            }
            if let Some(bias) = self.weights.get_mut("bbox_pred.bias") {
                *bias = (&*bias + before) * scale + after;
            }
        });
    }

    fn device(&self) -> Device {
        self.weights.values().next().map_or(Device::Cpu, Tensor::device)
    }
}

/// Means and standard deviations of the regression targets, 4 for each of K + 1 classes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normalisation {
    pub(crate) mean: Vec<[f32; 4]>,
    pub(crate) std: Vec<[f32; 4]>,
}

impl Normalisation {
    fn tensors(&self, device: Device) -> (Tensor, Tensor) {
        let flat = |rows: &[[f32; 4]]| Tensor::from_slice(rows.as_flattened()).to_device(device);
        (flat(&self.mean), flat(&self.std))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Arch, Regions};
    use tch::Kind;

    #[test]
    fn shrunk_features_are_the_same_but_for_the_factor() {
        let mut network = Arch::SqueezeNet.network(2, Regions::default());
        for (name, weight) in &mut network.weights {
            if name.ends_with(".bias") {
                *weight = weight.randn_like();
            }
        }
        let data = Tensor::randn([1, 3, 60, 70], (Kind::Float, Device::Cpu)) * 60.0;
        let features = |network: &TorchNetwork| {
            let map = network.feature_map().to_string();
            network.run(Run::default(), &data, &[], &[&map]).remove(&map).unwrap()
        };
        let before = features(&network);
        assert!(network.shrink_features(8.0));
        let difference = (features(&network) * 8.0 - &before).abs().max().double_value(&[]);
        // A power of two: every product and sum is the same but for its exponent.
        assert_eq!(difference, 0.0);
        assert!(before.abs().max().double_value(&[]) > 1.0);
    }

    #[test]
    fn normalised_features_are_left_as_they_are() {
        let mut network = Arch::CaffeNet.network(2, Regions::default());
        let before = network.weights["conv1.weight"].copy();
        assert!(!network.shrink_features(8.0));
        assert_eq!(network.weights["conv1.weight"], before);
    }

    #[test]
    fn one_layer_shrinks() {
        let mut network = Arch::Tiny.network(2, Regions::default());
        let copies = network.weights.iter().map(|(name, weight)| (name.clone(), weight.copy()));
        let before: BTreeMap<_, _> = copies.collect();
        network.shrink_weight("fc6", 4.0);
        for (name, weight) in &network.weights {
            let factor = if name == "fc6.weight" { 4.0 } else { 1.0 };
            assert_eq!(weight * factor, before[name], "{name}");
        }
    }
}
