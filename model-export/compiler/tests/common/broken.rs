//! Models with one thing wrong each. Every one is valid ONNX, unless its line says otherwise: the compiler is what must refuse it.

use frcnn_compiler::onnx_writer::{Dim, attr, tensor};
use frcnn_onnx::pb::{ModelProto, NodeProto};

use super::Case;
use super::graph::{CLASSES, Conv, Graph};
use super::heads::gemm_trans_b;

/// Every model of this file.
pub(crate) const ALL: &[Case] = &[
    ("no_roi_pool", no_roi_pool),
    ("two_roi_pools", two_roi_pools),
    ("levels_of_two_scales", levels_of_two_scales),
    ("levels_of_two_rois", levels_of_two_rois),
    ("level_not_flattened", level_not_flattened),
    ("level_left_out", level_left_out),
    ("level_twice", level_twice),
    ("erf_in_trunk", erf_in_trunk),
    ("einsum_in_head", einsum_in_head),
    ("missing_rois", missing_rois),
    ("one_channel", one_channel),
    ("bbox_pred_width", bbox_pred_width),
    ("one_output", one_output),
    ("extra_output", extra_output),
];

/// No RoI pooling of any kind: a classifier of whole images, whose input `rois` is never read.
pub(crate) fn no_roi_pool() -> ModelProto {
    let (mut g, data) = Graph::new("no_roi_pool");
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let mean = g.unary("GlobalAveragePool", "pool5", &conv, []);
    let flat = g.flatten("pool5_flat", &mean, 1);
    g.hidden_and_outputs(&flat)
}

/// Two `MaxRoiPool`s, `pool4` and `pool5`, on maps of two strides.
pub(crate) fn two_roi_pools() -> ModelProto {
    let (mut g, data) = Graph::new("two_roi_pools");
    let fine = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(8, 5) });
    let coarse = g.conv_relu("conv2", &fine, Conv { stride: 2, ..Conv::same(12, 3) });
    let pool4 = g.roi_pool("pool4", &fine, 3, 4);
    let pool5 = g.roi_pool("pool5", &coarse, 3, 8);
    let both = g.concat("pooled", &[&pool4, &pool5]);
    let flat = g.flatten("pool5_flat", &both, 3);
    g.hidden_and_outputs(&flat)
}

/// An SPPnet of which `change` makes something else.
fn changed_sppnet(change: impl Fn(&mut NodeProto)) -> ModelProto {
    let mut model = super::heads::sppnet();
    model.graph.as_mut().unwrap().node.iter_mut().for_each(change);
    model
}

/// Two levels that see the same map at two scales.
pub(crate) fn levels_of_two_scales() -> ModelProto {
    changed_sppnet(|node| {
        if node.name == "pool5_1x1" {
            node.attribute = vec![attr::ints("pooled_shape", &[1, 1]), attr::float("spatial_scale", 0.125)];
        }
    })
}

/// A level with RoIs of its own.
pub(crate) fn levels_of_two_rois() -> ModelProto {
    let mut model = changed_sppnet(|node| {
        if node.name == "pool5_1x1" {
            node.input[1] = "other_rois".to_owned();
        }
    });
    let input = &mut model.graph.as_mut().unwrap().input;
    let mut rois = input.iter().find(|input| input.name == "rois").unwrap().clone();
    rois.name = "other_rois".to_owned();
    input.push(rois);
    model
}

/// A level goes through a `Relu` before it is flattened.
pub(crate) fn level_not_flattened() -> ModelProto {
    changed_sppnet(|node| {
        if node.name == "pool5_1x1_flat" {
            node.op_type = "Relu".to_owned();
            node.attribute.clear();
        }
    })
}

/// Only three of four levels are joined; the fourth leads nowhere.
pub(crate) fn level_left_out() -> ModelProto {
    changed_sppnet(|node| {
        if node.name == "pool5" {
            node.input.pop();
        }
    })
}

/// A level is joined twice in place of another, which has as many features.
pub(crate) fn level_twice() -> ModelProto {
    changed_sppnet(|node| {
        if node.name == "pool5" {
            node.input.push(node.input[0].clone());
        }
    })
}

/// The trunk's node `conv1_erf` is an `Erf`, which the vocabulary does not have.
pub(crate) fn erf_in_trunk() -> ModelProto {
    let (mut g, data) = Graph::new("erf_in_trunk");
    let conv = g.conv("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let erf = g.unary("Erf", "conv1_erf", &conv, []);
    g.plain_head(&erf, 3, 4)
}

/// The head's node `pool5_flat` is an `Einsum`, which the vocabulary does not have.
pub(crate) fn einsum_in_head() -> ModelProto {
    let (mut g, data) = Graph::new("einsum_in_head");
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let pool5 = g.roi_pool("pool5", &conv, 3, 4);
    let sums = g.unary("Einsum", "pool5_flat", &pool5, [attr::string("equation", "rchw->rc")]);
    g.hidden_and_outputs(&sums)
}

/// `rois` is a constant in the graph; the only input is `data`.
pub(crate) fn missing_rois() -> ModelProto {
    let mut model = gemm_trans_b();
    let graph = model.graph.as_mut().unwrap();
    graph.input.retain(|input| input.name != "rois");
    graph.initializer.push(tensor::f32("rois", &[1, 5], &[0.0, 8.0, 8.0, 40.0, 32.0]));
    model
}

/// `data` has one channel, a grey image.
pub(crate) fn one_channel() -> ModelProto {
    let mut g = Graph::empty("one_channel");
    let data = g.data_input(1);
    g.rois_input(Dim::Symbol("R"));
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    g.plain_head(&conv, 3, 4)
}

/// `bbox_pred` has 4K columns, no box for the background, where 4(K+1) belong.
pub(crate) fn bbox_pred_width() -> ModelProto {
    let (mut g, data) = Graph::new("bbox_pred_width");
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let pool5 = g.roi_pool("pool5", &conv, 3, 4);
    let flat = g.flatten("pool5_flat", &pool5, 3);
    let score = g.fc("cls_score", &flat, CLASSES + 1);
    g.unary("Softmax", "cls_prob", &score, [attr::int("axis", 1)]);
    g.fc("bbox_pred", &flat, 4 * CLASSES);
    g.output("cls_prob", CLASSES + 1);
    g.output("bbox_pred", 4 * CLASSES);
    g.onnx.finish()
}

/// `cls_prob` is the only output.
pub(crate) fn one_output() -> ModelProto {
    let mut model = gemm_trans_b();
    let graph = model.graph.as_mut().unwrap();
    graph.node.retain(|node| node.name != "bbox_pred");
    graph.initializer.retain(|tensor| !tensor.name.starts_with("bbox_pred."));
    graph.output.retain(|output| output.name == "cls_prob");
    model
}

/// The hidden layer `fc7_relu` is an output too, the first of three, and no name tells which the scores are.
pub(crate) fn extra_output() -> ModelProto {
    let (mut g, data) = Graph::new("extra_output");
    g.output("fc7_relu", 24);
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let mut model = g.plain_head(&conv, 3, 4);
    let graph = model.graph.as_mut().unwrap();
    let outputs = graph.node.iter_mut().flat_map(|node| &mut node.output);
    for name in outputs.chain(graph.output.iter_mut().map(|output| &mut output.name)) {
        if name == "cls_prob" {
            *name = "scores".to_owned();
        }
    }
    model
}
