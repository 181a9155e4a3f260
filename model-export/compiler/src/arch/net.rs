//! The layers that the published networks are made of, each written under its published name.

use frcnn_onnx::pb::ModelProto;
use frcnn_onnx::writer::{Dim, OnnxWriter, attr, tensor};

use super::weights::Weights;

/// Root mean square of mean-subtracted pixels (about +-128), roughly. The first convolution divides by it, so that
/// activations are of order 1 from there on and He's rule keeps them so.
const PIXEL_RMS: f32 = 60.0;

const DATA: &str = "data";
const BIAS_STD: f32 = 0.01;

/// A tensor of the graph: the output of the layer of that name.
#[derive(Debug)]
pub(super) struct Blob {
    name: String,
    channels: usize,
}

/// A square convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) pad: usize,
    pub(super) groups: usize,
}

impl Conv {
    /// Stride 1, no padding, one group.
    pub(super) const fn new(out: usize, kernel: usize) -> Self {
        Self { out, kernel, stride: 1, pad: 0, groups: 1 }
    }
}

/// Local response normalisation over 5 channels: `x / (k + alpha / 5 * sum of squares) ^ 0.75`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lrn {
    pub(super) alpha: f32,
    pub(super) k: f32,
}

/// What follows the trunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Side of the pooled map.
    pub(super) pooled: usize,
    /// Network pixels per feature cell.
    pub(super) stride: usize,
    pub(super) fc6: usize,
    pub(super) fc7: usize,
}

/// A Fast R-CNN under construction.
#[derive(Debug)]
pub(super) struct Net {
    onnx: OnnxWriter,
    weights: Weights,
}

impl Net {
    /// A graph with its two inputs, and the image blob to start the trunk from.
    pub(super) fn new(name: &str, seed: u64) -> (Self, Blob) {
        let mut onnx = OnnxWriter::new(&format!("fast_rcnn_{name}"));
        onnx.input(DATA, &[Dim::Size(1), Dim::Size(3), Dim::Symbol("H"), Dim::Symbol("W")]);
        onnx.input("rois", &[Dim::Symbol("R"), Dim::Size(5)]);
        (Self { onnx, weights: Weights::new(seed) }, Blob { name: DATA.to_owned(), channels: 3 })
    }

    /// Convolution and ReLU.
    pub(super) fn conv(&mut self, bottom: &Blob, name: &str, conv: Conv) -> Blob {
        let Conv { out, kernel, stride, pad, groups } = conv;
        let inputs = bottom.channels / groups;
        let input_rms = if bottom.name == DATA { PIXEL_RMS } else { 1.0 };
        let std = he(inputs * kernel * kernel) / input_rms;
        let [weight, bias] = self.weights_and_bias(name, &[out, inputs, kernel, kernel], std);
        self.onnx.node(
            "Conv",
            name,
            &[&bottom.name, &weight, &bias],
            [
                attr::int("group", groups as i64),
                attr::ints("kernel_shape", &[kernel as i64; 2]),
                attr::ints("pads", &[pad as i64; 4]),
                attr::ints("strides", &[stride as i64; 2]),
            ],
        );
        Blob { name: self.relu(name), channels: out }
    }

    /// Max pooling that rounds the number of windows up, as Caffe does.
    pub(super) fn max_pool(
        &mut self,
        bottom: &Blob,
        name: &str,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Blob {
        self.onnx.node(
            "MaxPool",
            name,
            &[&bottom.name],
            [
                attr::int("ceil_mode", 1),
                attr::ints("kernel_shape", &[kernel as i64; 2]),
                attr::ints("pads", &[pad as i64; 4]),
                attr::ints("strides", &[stride as i64; 2]),
            ],
        );
        Blob { name: name.to_owned(), channels: bottom.channels }
    }

    pub(super) fn lrn(&mut self, bottom: &Blob, name: &str, lrn: Lrn) -> Blob {
        self.onnx.node(
            "LRN",
            name,
            &[&bottom.name],
            [
                attr::int("size", 5),
                attr::float("alpha", lrn.alpha),
                attr::float("beta", 0.75),
                attr::float("bias", lrn.k),
            ],
        );
        Blob { name: name.to_owned(), channels: bottom.channels }
    }

    /// Stacks the channels of two blobs.
    pub(super) fn concat(&mut self, a: &Blob, b: &Blob, name: &str) -> Blob {
        self.onnx.node("Concat", name, &[&a.name, &b.name], [attr::int("axis", 1)]);
        Blob { name: name.to_owned(), channels: a.channels + b.channels }
    }

    /// RoI pooling, the hidden layers and the two outputs: the rest of every Fast R-CNN.
    pub(super) fn head(mut self, conv: &Blob, head: &Head, classes: usize) -> ModelProto {
        let Head { pooled, stride, fc6, fc7 } = *head;
        self.onnx.node(
            "MaxRoiPool",
            "pool5",
            &[&conv.name, "rois"],
            [
                attr::ints("pooled_shape", &[pooled as i64; 2]),
                attr::float("spatial_scale", 1.0 / stride as f32),
            ],
        );
        self.onnx.node("Flatten", "pool5_flat", &["pool5"], [attr::int("axis", 1)]);
        let features = conv.channels * pooled * pooled;
        self.fc("pool5_flat", "fc6", [fc6, features], he(features));
        let hidden = self.relu("fc6");
        self.fc(&hidden, "fc7", [fc7, fc6], he(fc6));
        let hidden = self.relu("fc7");

        let scores = classes + 1;
        self.fc(&hidden, "cls_score", [scores, fc7], 0.01);
        self.onnx.node("Softmax", "cls_prob", &["cls_score"], [attr::int("axis", 1)]);
        self.fc(&hidden, "bbox_pred", [4 * scores, fc7], 0.001);
        self.onnx.output("cls_prob", &[Dim::Symbol("R"), Dim::Size(scores as i64)]);
        self.onnx.output("bbox_pred", &[Dim::Symbol("R"), Dim::Size(4 * scores as i64)]);
        self.onnx.finish()
    }

    fn fc(&mut self, bottom: &str, name: &str, dims: [usize; 2], std: f32) {
        let [weight, bias] = self.weights_and_bias(name, &dims, std);
        self.onnx.node("Gemm", name, &[bottom, &weight, &bias], [attr::int("transB", 1)]);
    }

    fn relu(&mut self, bottom: &str) -> String {
        let name = format!("{bottom}_relu");
        self.onnx.node("Relu", &name, &[bottom], []);
        name
    }

    /// Adds the two initializers of a layer; the first of `dims` is its number of outputs.
    fn weights_and_bias(&mut self, layer: &str, dims: &[usize], std: f32) -> [String; 2] {
        let names = [format!("{layer}.weight"), format!("{layer}.bias")];
        for (name, dims, std) in [(&names[0], dims, std), (&names[1], &dims[..1], BIAS_STD)] {
            let bytes = self.weights.normal(std, dims.iter().product());
            let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
            self.onnx.initializer(tensor::f32_bytes(name, &dims, bytes));
        }
        names
    }
}

/// He's standard deviation: a layer followed by a ReLU keeps the mean square of what it reads.
fn he(fan_in: usize) -> f32 {
    (2.0 / fan_in as f32).sqrt()
}
