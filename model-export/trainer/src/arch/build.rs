//! Puts a network together, layer on layer.

use std::collections::BTreeMap;

use frcnn_networks::{Conv, Fire, LRN_BETA, LRN_SIZE, Lrn, MaxPool};
use tch::{Device, Kind, Tensor};

use crate::network::{DATA, Op, RPN_DELTAS, RPN_LOGITS, TorchLayer, TorchNetwork};

/// A network under construction. Each method adds to what was added last.
#[derive(Debug)]
pub(super) struct Builder {
    layers: Vec<TorchLayer>,
    weights: BTreeMap<String, Tensor>,
    top: Top,
}

/// A blob: where the next layer goes.
#[derive(Clone, Debug)]
pub(super) struct Top {
    name: String,
    channels: i64,
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
    /// The layers from the pixels to the feature map.
    pub(super) fn trunk(&mut self, layers: &[frcnn_networks::TrunkLayer]) {
        use frcnn_networks::TrunkLayer;
        for layer in layers {
            match *layer {
                TrunkLayer::Conv(name, conv) => self.conv(name, conv),
                TrunkLayer::MaxPool(name, pool) => self.max_pool(name, pool),
                TrunkLayer::Lrn(name, lrn) => self.lrn(name, lrn),
                TrunkLayer::Fire(name, fire) => self.fire(name, fire),
            }
        }
    }

    /// Convolution and ReLU.
    fn conv(&mut self, name: &str, conv: Conv) {
        let [out, kernel, stride, pad, groups] =
            [conv.out, conv.kernel, conv.stride, conv.pad, conv.groups].map(|n| n as i64);
        let inputs = self.top.channels / groups;
        let rms = if self.top.name == DATA { PIXEL_RMS } else { 1.0 };
        let std = he(inputs * kernel * kernel) / rms;
        self.learned(name, &[out, inputs, kernel, kernel], std);
        self.layer(name, Op::Conv { stride, pad, groups }, out);
        self.layer(&format!("{name}_relu"), Op::Relu, out);
    }

    /// Max pooling.
    pub(super) fn max_pool(&mut self, name: &str, pool: MaxPool) {
        let [kernel, stride, pad] = [pool.window.kernel, pool.window.stride, pool.pad].map(|n| n as i64);
        self.layer(name, Op::MaxPool { kernel, stride, pad, ceil: pool.ceil }, self.top.channels);
    }

    /// Local response normalisation.
    fn lrn(&mut self, name: &str, lrn: Lrn) {
        let (alpha, beta, k) = (lrn.alpha.into(), LRN_BETA.into(), lrn.k.into());
        self.layer(name, Op::Lrn { size: LRN_SIZE as i64, alpha, beta, k }, self.top.channels);
    }

    /// SqueezeNet's fire module.
    fn fire(&mut self, name: &str, fire: Fire) {
        let [squeeze, small, large] = fire.convolutions();
        self.conv(&format!("{name}_{}", squeeze.0), squeeze.1);
        let squeezed = self.top.clone();
        self.conv(&format!("{name}_{}", small.0), small.1);
        let small = std::mem::replace(&mut self.top, squeezed);
        self.conv(&format!("{name}_{}", large.0), large.1);
        let large = self.top.clone();
        let channels = small.channels + large.channels;
        self.push(&format!("{name}_concat"), Op::Concat, vec![small.name, large.name], channels);
    }

    /// RoI pooling, one row of features for each RoI.
    pub(super) fn roi_pool(&mut self, name: &str, pooled: usize, stride: usize) {
        let spatial_scale = 1.0 / stride as f32;
        let pooled = pooled as i64;
        self.layer(name, Op::RoiPool { pooled, spatial_scale }, self.top.channels);
        self.flatten(pooled);
    }

    /// RoIAlign with two points along each side of a bin, one row of features for each RoI.
    pub(super) fn roi_align(&mut self, name: &str, pooled: usize, stride: usize) {
        let (pooled, spatial_scale) = (pooled as i64, 1.0 / stride as f32);
        self.layer(name, Op::RoiAlign { pooled, spatial_scale, sampling_ratio: 2 }, self.top.channels);
        self.flatten(pooled);
    }

    /// A region proposal network beside what follows: a convolution of 3x3, and two of 1x1 on it.
    pub(super) fn rpn(&mut self, channels: usize, anchors: usize) {
        let map = self.top.clone();
        let (channels, anchors) = (channels as i64, anchors as i64);
        self.learned("rpn_conv", &[channels, map.channels, 3, 3], 0.01);
        self.layer("rpn_conv", Op::Conv { stride: 1, pad: 1, groups: 1 }, channels);
        self.layer("rpn_conv_relu", Op::Relu, channels);
        let hidden = self.top.clone();
        for (name, out) in [(RPN_LOGITS, anchors), (RPN_DELTAS, 4 * anchors)] {
            self.top = hidden.clone();
            self.learned(name, &[out, channels, 1, 1], 0.01);
            self.layer(name, Op::Conv { stride: 1, pad: 0, groups: 1 }, out);
        }
        self.top = map;
    }

    /// SPPnet's layer: RoI pooling at several levels, all their bins in one row of features called `name`.
    pub(super) fn spatial_pyramid(&mut self, name: &str, levels: &[usize], stride: usize) {
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
    pub(super) fn hidden(&mut self, name: &str, out: usize) {
        let out = out as i64;
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

    pub(super) fn finish(self) -> TorchNetwork {
        TorchNetwork { layers: self.layers, weights: self.weights }
    }

    fn layer(&mut self, name: &str, op: Op, channels: i64) {
        self.push(name, op, vec![self.top.name.clone()], channels);
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<String>, channels: i64) {
        self.layers.push(TorchLayer { name: name.to_string(), op, inputs });
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
