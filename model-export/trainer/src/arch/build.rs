//! Puts a network together, layer on layer.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::network::{DATA, Layer, Network, Op};

/// A network under construction. Each method adds to what was added last.
#[derive(Debug)]
pub(super) struct Builder {
    layers: Vec<Layer>,
    weights: BTreeMap<String, Tensor>,
    top: Top,
}

/// A blob: where the next layer goes.
#[derive(Clone, Debug)]
pub(super) struct Top {
    name: String,
    channels: i64,
}

/// A square convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) out: i64,
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) pad: i64,
    pub(super) groups: i64,
}

impl Conv {
    /// Stride 1, no padding, one group.
    pub(super) const fn new(out: i64, kernel: i64) -> Conv {
        Conv { out, kernel, stride: 1, pad: 0, groups: 1 }
    }
}

/// Root mean square of mean-subtracted pixels (about +-128), roughly. The first convolution divides by it, so that
/// activations are of order 1 from there on and He's rule keeps them so.
pub(crate) const PIXEL_RMS: f64 = 60.0;

impl Default for Builder {
    fn default() -> Builder {
        let top = Top { name: DATA.to_string(), channels: 3 };
        Builder { layers: Vec::new(), weights: BTreeMap::new(), top }
    }
}

impl Builder {
    /// Convolution and ReLU.
    pub(super) fn conv(&mut self, name: &str, conv: Conv) {
        let Conv { out, kernel, stride, pad, groups } = conv;
        let inputs = self.top.channels / groups;
        let rms = if self.top.name == DATA { PIXEL_RMS } else { 1.0 };
        let std = he(inputs * kernel * kernel) / rms;
        self.learned(name, &[out, inputs, kernel, kernel], std);
        self.layer(name, Op::Conv { stride, pad, groups }, out);
        self.layer(&format!("{name}_relu"), Op::Relu, out);
    }

    /// Max pooling that rounds the number of windows up, as Caffe does, or down, as torchvision's AlexNet does.
    pub(super) fn max_pool(&mut self, name: &str, [kernel, stride, pad]: [i64; 3], ceil: bool) {
        self.layer(name, Op::MaxPool { kernel, stride, pad, ceil }, self.top.channels);
    }

    /// Local response normalisation over 5 channels with beta 0.75.
    pub(super) fn lrn(&mut self, name: &str, alpha: f64, k: f64) {
        self.layer(name, Op::Lrn { size: 5, alpha, beta: 0.75, k }, self.top.channels);
    }

    /// SqueezeNet's fire module: 1x1 squeezes the channels, 1x1 and 3x3 side by side expand them.
    pub(super) fn fire(&mut self, name: &str, squeeze: i64) {
        self.conv(&format!("{name}_squeeze1x1"), Conv::new(squeeze, 1));
        let squeezed = self.top.clone();
        self.conv(&format!("{name}_expand1x1"), Conv::new(4 * squeeze, 1));
        let small = std::mem::replace(&mut self.top, squeezed);
        self.conv(&format!("{name}_expand3x3"), Conv { pad: 1, ..Conv::new(4 * squeeze, 3) });
        let large = self.top.name.clone();
        self.push(&format!("{name}_concat"), Op::Concat, vec![small.name, large], 8 * squeeze);
    }

    /// RoI pooling, one row of features for each RoI.
    pub(super) fn roi_pool(&mut self, name: &str, pooled: i64, stride: i64) {
        let spatial_scale = 1.0 / stride as f32;
        self.layer(name, Op::RoiPool { pooled, spatial_scale }, self.top.channels);
        self.flatten(pooled);
    }

    /// SPPnet's layer: RoI pooling at several levels, all their bins in one row of features called `name`.
    pub(super) fn spatial_pyramid(&mut self, name: &str, levels: &[i64], stride: i64) {
        let map = self.top.clone();
        let mut rows = Vec::with_capacity(levels.len());
        let mut features = 0;
        for &level in levels {
            self.top = map.clone();
            self.roi_pool(&format!("{name}_{level}x{level}"), level, stride);
            features += self.top.channels;
            rows.push(self.top.name.clone());
        }
        self.push(name, Op::Concat, rows, features);
    }

    /// A map of `side` x `side` cells as one row of features.
    pub(super) fn flatten(&mut self, side: i64) {
        let name = format!("{}_flat", self.top.name);
        self.layer(&name, Op::Flatten, self.top.channels * side * side);
    }

    /// A hidden fully connected layer, ReLU and dropout.
    pub(super) fn hidden(&mut self, name: &str, out: i64) {
        self.learned(name, &[out, self.top.channels], he(self.top.channels));
        self.layer(name, Op::Linear, out);
        self.layer(&format!("{name}_relu"), Op::Relu, out);
        self.layer(&format!("{name}_dropout"), Op::Dropout, out);
    }

    /// The two sibling layers, for K + 1 classes.
    pub(super) fn outputs(&mut self, scores: i64) {
        let hidden = self.top.clone();
        self.scores(scores);
        self.learned("bbox_pred", &[4 * scores, hidden.channels], 0.001);
        self.top = hidden;
        self.layer("bbox_pred", Op::Linear, 4 * scores);
    }

    /// The classification layer alone.
    pub(super) fn scores(&mut self, scores: i64) {
        self.learned("cls_score", &[scores, self.top.channels], 0.01);
        self.layer("cls_score", Op::Linear, scores);
        self.layer("cls_prob", Op::Softmax, scores);
    }

    pub(super) fn finish(self) -> Network {
        Network { layers: self.layers, weights: self.weights }
    }

    fn layer(&mut self, name: &str, op: Op, channels: i64) {
        self.push(name, op, vec![self.top.name.clone()], channels);
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<String>, channels: i64) {
        self.layers.push(Layer { name: name.to_string(), op, inputs });
        self.top = Top { name: name.to_string(), channels };
    }

    fn learned(&mut self, name: &str, dims: &[i64], std: f64) {
        let weight = Tensor::randn(dims, (Kind::Float, Device::Cpu)) * std;
        self.weights.insert(format!("{name}.weight"), weight);
        let bias = Tensor::zeros(dims.get(..1).unwrap_or_default(), (Kind::Float, Device::Cpu));
        self.weights.insert(format!("{name}.bias"), bias);
    }
}

/// He's standard deviation: a layer followed by a ReLU keeps the mean square of what it reads.
fn he(fan_in: i64) -> f64 {
    (2.0 / fan_in as f64).sqrt()
}
