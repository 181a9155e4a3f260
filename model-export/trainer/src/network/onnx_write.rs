//! A network as ONNX.
//!
//! The contract: inputs `data` `[1, 3, H, W]` and `rois` `[R, 5]`, outputs `cls_prob` `[R, K+1]` and `bbox_pred`
//! `[R, 4(K+1)]`, a standard `MaxRoiPool` node in the middle, operator set 13. Dropout does nothing when a network is run,
//! and is left out.

use std::collections::HashMap;

use frcnn_onnx::pb::ModelProto;
use frcnn_onnx::writer::{Dim, OnnxWriter, attr, tensor};
use tch::Tensor;

use super::{DATA, Op, ROIS, TorchLayer, TorchNetwork};
use crate::tensors::bytes;

impl TorchNetwork {
    /// The network as an ONNX model.
    pub(crate) fn to_onnx(&self, name: &str) -> ModelProto {
        let mut onnx = OnnxWriter::new(&format!("fast_rcnn_{name}"));
        onnx.input(DATA, &[Dim::Size(1), Dim::Size(3), Dim::Symbol("H"), Dim::Symbol("W")]);
        onnx.input(ROIS, &[Dim::Symbol("R"), Dim::Size(5)]);
        self.layers_to_onnx(onnx, "R")
    }

    /// A network without RoIs as an ONNX model: `data` `[N, 3, side, side]` to `cls_prob` `[N, K+1]`.
    pub(crate) fn to_classifier_onnx(&self, name: &str, side: u32) -> ModelProto {
        let mut onnx = OnnxWriter::new(name);
        let side = Dim::Size(i64::from(side));
        onnx.input(DATA, &[Dim::Symbol("N"), Dim::Size(3), side, side]);
        self.layers_to_onnx(onnx, "N")
    }

    fn layers_to_onnx(&self, mut onnx: OnnxWriter, rows: &str) -> ModelProto {
        for (name, weight) in &self.weights {
            onnx.initializer(tensor::f32_bytes(name, &weight.size(), bytes(weight)));
        }
        // Readers of a layer that was left out read what it read.
        let mut stand_ins: HashMap<&str, String> = HashMap::new();
        for layer in &self.layers {
            let mut inputs: Vec<String> = layer
                .inputs
                .iter()
                .map(|name| stand_ins.get(name.as_str()).unwrap_or(name).clone())
                .collect();
            if layer.op == Op::Dropout {
                stand_ins.insert(&layer.name, inputs.swap_remove(0));
                continue;
            }
            self.node(&mut onnx, layer, inputs);
        }
        let scores = self.weights.get("cls_score.bias").map_or(0, |bias| bias.numel() as i64);
        let has = |name: &str| self.layers.iter().any(|layer| layer.name == name);
        // Where SVMs have taken the place of softmax, scores are margins.
        let scored = if has("cls_prob") { "cls_prob" } else { "cls_score" };
        for (output, columns) in [(scored, scores), ("bbox_pred", 4 * scores)] {
            if has(output) {
                onnx.output(output, &[Dim::Symbol(rows), Dim::Size(columns)]);
            }
        }
        onnx.finish()
    }

    fn node(&self, onnx: &mut OnnxWriter, layer: &TorchLayer, mut inputs: Vec<String>) {
        let name = &layer.name;
        let weight = format!("{name}.weight");
        let bias = format!("{name}.bias");
        if let Op::RoiPool { .. } = layer.op {
            inputs.push(ROIS.to_string());
        }
        let kernel = self.weights.get(&weight).map(Tensor::size);
        for constant in [weight, bias] {
            if self.weights.contains_key(&constant) {
                inputs.push(constant);
            }
        }
        let square = |side: i64| [side, side];
        let (op_type, attributes) = match layer.op {
            Op::Conv { stride, pad, groups } => (
                "Conv",
                vec![
                    attr::int("group", groups),
                    attr::ints(
                        "kernel_shape",
                        kernel.as_deref().and_then(|k| k.get(2..)).unwrap_or_default(),
                    ),
                    attr::ints("pads", &[pad; 4]),
                    attr::ints("strides", &square(stride)),
                ],
            ),
            Op::MaxPool { kernel, stride, pad, ceil } => (
                "MaxPool",
                vec![
                    attr::int("ceil_mode", i64::from(ceil)),
                    attr::ints("kernel_shape", &square(kernel)),
                    attr::ints("pads", &[pad; 4]),
                    attr::ints("strides", &square(stride)),
                ],
            ),
            Op::Lrn { size, alpha, beta, k } => (
                "LRN",
                vec![
                    attr::int("size", size),
                    attr::float("alpha", alpha as f32),
                    attr::float("beta", beta as f32),
                    attr::float("bias", k as f32),
                ],
            ),
            Op::RoiPool { pooled, spatial_scale } => (
                "MaxRoiPool",
                vec![
                    attr::ints("pooled_shape", &square(pooled)),
                    attr::float("spatial_scale", spatial_scale),
                ],
            ),
            Op::Relu => ("Relu", vec![]),
            Op::Concat => ("Concat", vec![attr::int("axis", 1)]),
            Op::Flatten => ("Flatten", vec![attr::int("axis", 1)]),
            Op::Linear => ("Gemm", vec![attr::int("transB", 1)]),
            Op::Softmax => ("Softmax", vec![attr::int("axis", 1)]),
            Op::Dropout => ("Dropout", vec![]),
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        onnx.node(op_type, name, &inputs, attributes);
    }
}
