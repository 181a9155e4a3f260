//! A network as ONNX.
//!
//! The contract: inputs `data` `[1, 3, H, W]` and `rois` `[R, 5]`, outputs `cls_prob` `[R, K+1]` and `bbox_pred`
//! `[R, 4(K+1)]`, a standard `MaxRoiPool` node in the middle, operator set 13; or a `RoiAlign` node and operator set 16. A region
//! proposal network adds the outputs `rpn_logits.0` `[1, A, Hf, Wf]` and `rpn_deltas.0` `[1, 4A, Hf, Wf]`. Dropout does nothing
//! when a network is run, and is left out.

use std::collections::HashMap;

use frcnn_onnx::pb::ModelProto;
use frcnn_onnx::pb::tensor_proto::DataType;
use frcnn_onnx::writer::{Dim, OnnxWriter, attr, tensor};
use tch::Tensor;

use super::{DATA, Op, ROIS, RPN_DELTAS, RPN_LOGITS, TorchLayer, TorchNetwork};
use crate::tensors::bytes;

/// The first operator set in which `RoiAlign` says where cells' centres lie.
const ROI_ALIGN_OPSET: i64 = 16;
/// RoIs without the index of their image, and the index alone.
const ROI_BOXES: &str = "rois_boxes";
const ROI_BATCH: &str = "rois_batch";

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
        for (output, anchors) in [(RPN_LOGITS, 1), (RPN_DELTAS, 4)] {
            let bias = self.weights.get(&format!("{RPN_LOGITS}.bias"));
            if let Some(bias) = bias.filter(|_| has(output)) {
                let channels = anchors * bias.numel() as i64;
                let shape = [Dim::Size(1), Dim::Size(channels), Dim::Symbol("Hf"), Dim::Symbol("Wf")];
                onnx.output(&blob(output), &shape);
            }
        }
        let mut model = onnx.finish();
        if self.aligns() {
            for set in &mut model.opset_import {
                set.version = set.version.max(ROI_ALIGN_OPSET);
            }
        }
        model
    }

    /// The two tensors that a `RoiAlign` node reads in the place of `rois`.
    fn split_rois(onnx: &mut OnnxWriter) {
        onnx.initializer(tensor::i64("rois_columns", &[4], &[1, 2, 3, 4]));
        onnx.initializer(tensor::i64("rois_image", &[], &[0]));
        onnx.node("Gather", ROI_BOXES, &[ROIS, "rois_columns"], [attr::int("axis", 1)]);
        onnx.node("Gather", "rois_images", &[ROIS, "rois_image"], [attr::int("axis", 1)]);
        onnx.node("Cast", ROI_BATCH, &["rois_images"], [attr::int("to", DataType::Int64 as i64)]);
    }

    fn node(&self, onnx: &mut OnnxWriter, layer: &TorchLayer, mut inputs: Vec<String>) {
        let name = &layer.name;
        let weight = format!("{name}.weight");
        let bias = format!("{name}.bias");
        if let Op::RoiPool { .. } = layer.op {
            inputs.push(ROIS.to_string());
        }
        if let Op::RoiAlign { .. } = layer.op {
            Self::split_rois(onnx);
            inputs.extend([ROI_BOXES, ROI_BATCH].map(str::to_string));
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
            Op::RoiAlign { pooled, spatial_scale, sampling_ratio } => (
                "RoiAlign",
                vec![
                    attr::string("coordinate_transformation_mode", "output_half_pixel"),
                    attr::string("mode", "avg"),
                    attr::int("output_height", pooled),
                    attr::int("output_width", pooled),
                    attr::int("sampling_ratio", sampling_ratio),
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
        onnx.node(op_type, &blob(name), &inputs, attributes);
    }
}

/// A layer's output as the file calls it: those of a region proposal network by the number of the map, of which there is one.
fn blob(layer: &str) -> String {
    if layer == RPN_LOGITS || layer == RPN_DELTAS { format!("{layer}.0") } else { layer.to_string() }
}
