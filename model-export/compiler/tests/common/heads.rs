//! One model per way of writing a head: what exporters make of the same layers. The trunk is one convolution of stride 4,
//! and RoIs are pooled to 3x3 cells of 16 channels, 144 features.

use frcnn_compiler::onnx_writer::{Dim, attr, tensor};
use frcnn_onnx::pb::tensor_proto::DataType;
use frcnn_onnx::pb::{ModelProto, TensorProto};

use super::Case;
use super::graph::{Blob, CLASSES, Conv, Graph, fc_std};

/// Every model of this file.
pub(crate) const ALL: &[Case] = &[
    ("gemm_trans_b", gemm_trans_b),
    ("gemm_no_trans", gemm_no_trans),
    ("matmul_initializer", matmul_initializer),
    ("matmul_transposed_initializer", matmul_transposed_initializer),
    ("matmul_constant_node", matmul_constant_node),
    ("matmul_identity_weight", matmul_identity_weight),
    ("reshape_minus_one", reshape_minus_one),
    ("reshape_zero", reshape_zero),
    ("reshape_computed", reshape_computed),
    ("dropout_and_identity", dropout_and_identity),
    ("outputs_swapped", outputs_swapped),
    ("softmax_last_axis", softmax_last_axis),
    ("softmax_outside", softmax_outside),
    ("fixed_rois", fixed_rois),
    ("rois_first", rois_first),
    ("exporter_names", exporter_names),
    ("one_hidden_layer", one_hidden_layer),
    ("no_relu_between", no_relu_between),
    ("c4_head", c4_head),
    ("sppnet", sppnet),
    ("sppnet_reshaped", sppnet_reshaped),
    ("sppnet_boxes_from_pooled", sppnet_boxes_from_pooled),
    ("roi_align", roi_align),
];

const POOLED: i64 = 3;

/// Stem and RoI pooling.
fn pool5(g: &mut Graph, data: &Blob) -> Blob {
    let stem = Conv { stride: 4, ..Conv::same(16, 5) };
    let conv = g.conv_relu("conv1", data, stem);
    g.roi_pool("pool5", &conv, POOLED, 4)
}

/// A graph up to the flattened features.
fn flat(name: &str) -> (Graph, Blob) {
    let (mut g, data) = Graph::new(name);
    let pool5 = pool5(&mut g, &data);
    let flat = g.flatten("pool5_flat", &pool5, POOLED);
    (g, flat)
}

/// `Gemm` with the weight as [out, in]: what `torch.nn.Linear` becomes.
pub(crate) fn gemm_trans_b() -> ModelProto {
    let (g, flat) = flat("gemm_trans_b");
    g.hidden_and_outputs(&flat)
}

/// How a layer's weight reaches its `MatMul` or `Gemm`.
#[derive(Clone, Copy)]
enum Weight {
    /// An initializer of [in, out].
    Initializer,
    /// A `Transpose` of an initializer of [out, in].
    Transposed,
    /// A `Constant` node.
    ConstantNode,
    /// An initializer through an `Identity`, as shared weights are exported.
    Identity,
}

fn input_major_weight(g: &mut Graph, name: &str, [inputs, out]: [i64; 2], form: Weight) -> String {
    let std = fc_std(name, inputs);
    let stored = format!("{name}.weight");
    let used = format!("{name}.weight_used");
    match form {
        Weight::Initializer => return g.weight(&stored, &[inputs, out], 0.0, std),
        Weight::Transposed => {
            g.weight(&stored, &[out, inputs], 0.0, std);
            g.onnx.node("Transpose", &used, &[&stored], [attr::ints("perm", &[1, 0])]);
        }
        Weight::ConstantNode => {
            let value = g.random_tensor("", &[inputs, out], 0.0, std);
            g.onnx.node("Constant", &used, &[], [attr::tensor("value", value)]);
        }
        Weight::Identity => {
            g.weight(&stored, &[inputs, out], 0.0, std);
            g.onnx.node("Identity", &used, &[&stored], []);
        }
    }
    used
}

/// `Gemm` with the weight as [in, out].
pub(crate) fn gemm_no_trans() -> ModelProto {
    layers("gemm_no_trans", |g, name, x, out| {
        let weight = input_major_weight(g, name, [x.channels, out], Weight::Initializer);
        let bias = g.weight(&format!("{name}.bias"), &[out], 0.0, 0.1);
        g.onnx.node("Gemm", name, &[&x.name, &weight, &bias], []);
    })
}

/// `MatMul` and `Add`, the weight an initializer.
pub(crate) fn matmul_initializer() -> ModelProto {
    layers("matmul_initializer", |g, name, x, out| matmul(g, name, x, out, Weight::Initializer))
}

/// `MatMul` and `Add`, the weight transposed in the graph.
pub(crate) fn matmul_transposed_initializer() -> ModelProto {
    layers("matmul_transposed_initializer", |g, name, x, out| matmul(g, name, x, out, Weight::Transposed))
}

/// `MatMul` and `Add`, the weight a `Constant` node.
pub(crate) fn matmul_constant_node() -> ModelProto {
    layers("matmul_constant_node", |g, name, x, out| matmul(g, name, x, out, Weight::ConstantNode))
}

/// `MatMul` and `Add`, the weight through an `Identity`.
pub(crate) fn matmul_identity_weight() -> ModelProto {
    layers("matmul_identity_weight", |g, name, x, out| matmul(g, name, x, out, Weight::Identity))
}

/// The bias comes first, which is how PyTorch exports it.
fn matmul(g: &mut Graph, name: &str, x: &Blob, out: i64, form: Weight) {
    let weight = input_major_weight(g, name, [x.channels, out], form);
    let bias = g.weight(&format!("{name}.bias"), &[out], 0.0, 0.1);
    let product = format!("{name}_matmul");
    g.onnx.node("MatMul", &product, &[&x.name, &weight], []);
    g.onnx.node("Add", name, &[&bias, &product], []);
}

/// The plain head with every fully connected layer written by `fc`.
fn layers(name: &str, fc: impl Fn(&mut Graph, &str, &Blob, i64)) -> ModelProto {
    let (mut g, mut top) = flat(name);
    for (name, out) in [("fc6", 32), ("fc7", 24)] {
        fc(&mut g, name, &top, out);
        top = g.relu(&Blob { name: name.to_owned(), channels: out });
    }
    fc(&mut g, "cls_score", &top, CLASSES + 1);
    g.onnx.node("Softmax", "cls_prob", &["cls_score"], [attr::int("axis", 1)]);
    fc(&mut g, "bbox_pred", &top, 4 * (CLASSES + 1));
    g.finish()
}

/// `Reshape` to the constant [-1, 144], an initializer.
pub(crate) fn reshape_minus_one() -> ModelProto {
    reshaped("reshape_minus_one", |g, features| {
        g.integers("shape", &[-1, features]);
    })
}

/// `Reshape` to the constant [0, -1], a `Constant` node: 0 keeps the number of RoIs.
pub(crate) fn reshape_zero() -> ModelProto {
    reshaped("reshape_zero", |g, _| {
        let shape = tensor::i64("", &[2], &[0, -1]);
        g.onnx.node("Constant", "shape", &[], [attr::tensor("value", shape)]);
    })
}

/// `Reshape` to a shape that the graph computes: `x.view(x.size(0), -1)`.
pub(crate) fn reshape_computed() -> ModelProto {
    reshaped("reshape_computed", |g, _| {
        g.onnx.initializer(tensor::i64("first", &[], &[0]));
        g.integers("axes", &[0]);
        g.integers("rest", &[-1]);
        g.onnx.node("Shape", "pool5_shape", &["pool5"], []);
        g.onnx.node("Gather", "roi_count", &["pool5_shape", "first"], [attr::int("axis", 0)]);
        g.onnx.node("Unsqueeze", "roi_count_1d", &["roi_count", "axes"], []);
        g.onnx.node("Concat", "shape", &["roi_count_1d", "rest"], [attr::int("axis", 0)]);
    })
}

/// The plain head with `Reshape` for `Flatten`; `shape` defines the tensor of that name.
fn reshaped(name: &str, shape: impl Fn(&mut Graph, i64)) -> ModelProto {
    let (mut g, data) = Graph::new(name);
    let pool5 = pool5(&mut g, &data);
    let features = pool5.channels * POOLED * POOLED;
    shape(&mut g, features);
    g.onnx.node("Reshape", "pool5_flat", &["pool5", "shape"], []);
    g.hidden_and_outputs(&Blob { name: "pool5_flat".to_owned(), channels: features })
}

/// `Dropout` with its ratio and training_mode inputs, `Dropout` with neither, and `Identity`, before and after the layers
/// and before the outputs.
pub(crate) fn dropout_and_identity() -> ModelProto {
    let (mut g, flat) = flat("dropout_and_identity");
    g.scalar("ratio", 0.5);
    g.onnx.initializer(TensorProto {
        name: "training_mode".to_owned(),
        data_type: DataType::Bool as i32,
        raw_data: vec![0],
        ..Default::default()
    });
    let mut top = g.unary("Identity", "pool5_identity", &flat, []);
    let fc6 = g.fc("fc6", &top, 32);
    top = g.relu(&fc6);
    g.onnx.node("Dropout", "drop6", &[&top.name, "ratio", "training_mode"], []);
    let fc7 = g.fc("fc7", &Blob { name: "drop6".to_owned(), ..top }, 24);
    top = g.relu(&fc7);
    top = g.unary("Dropout", "drop7", &top, []);
    let score = g.fc("cls_score", &top, CLASSES + 1);
    let score = g.unary("Identity", "cls_score_identity", &score, []);
    g.unary("Softmax", "cls_prob", &score, [attr::int("axis", 1)]);
    let deltas = g.fc("bbox_deltas", &top, 4 * (CLASSES + 1));
    g.unary("Identity", "bbox_pred", &deltas, []);
    g.finish()
}

/// `bbox_pred` is the first output.
pub(crate) fn outputs_swapped() -> ModelProto {
    let mut model = gemm_trans_b();
    model.graph.as_mut().unwrap().output.reverse();
    model
}

/// The softmax's axis counted from the end.
pub(crate) fn softmax_last_axis() -> ModelProto {
    let mut model = gemm_trans_b();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let softmax = nodes.iter_mut().find(|node| node.op_type == "Softmax").unwrap();
    softmax.attribute = vec![attr::int("axis", -1)];
    model
}

/// The output is `cls_score`: whoever runs the model applies the softmax.
pub(crate) fn softmax_outside() -> ModelProto {
    let mut model = gemm_trans_b();
    let graph = model.graph.as_mut().unwrap();
    graph.node.retain(|node| node.op_type != "Softmax");
    graph.output[0].name = "cls_score".to_owned();
    model
}

/// Exported for 32 RoIs, and no other number.
pub(crate) fn fixed_rois() -> ModelProto {
    let mut g = Graph::empty("fixed_rois");
    let data = g.data_input(3);
    g.rois_input(Dim::Size(32));
    let pool5 = pool5(&mut g, &data);
    let flat = g.flatten("pool5_flat", &pool5, POOLED);
    g.hidden_and_outputs(&flat)
}

/// `rois` is the first input.
pub(crate) fn rois_first() -> ModelProto {
    let mut model = gemm_trans_b();
    model.graph.as_mut().unwrap().input.reverse();
    model
}

/// Values and initializers named as PyTorch names them: `/fc6/Gemm_output_0`, `model.fc6.weight`.
pub(crate) fn exporter_names() -> ModelProto {
    let mut model = gemm_trans_b();
    let graph = model.graph.as_mut().unwrap();
    let kept = ["data", "rois", "cls_prob", "bbox_pred"];
    let initializers: Vec<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    let rename = |name: &mut String| {
        if initializers.contains(name) {
            *name = format!("model.{name}");
        } else if !kept.contains(&name.as_str()) {
            *name = format!("/{name}/output_0");
        }
    };
    graph.initializer.iter_mut().for_each(|tensor| rename(&mut tensor.name));
    for node in &mut graph.node {
        node.name = format!("/{}/{}", node.name, node.op_type);
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
    }
    model
}

/// fc6 and no fc7.
pub(crate) fn one_hidden_layer() -> ModelProto {
    let (mut g, flat) = flat("one_hidden_layer");
    let fc6 = g.fc("fc6", &flat, 32);
    let top = g.relu(&fc6);
    g.predictors(&top);
    g.finish()
}

/// fc6 feeds fc7 with no ReLU between them, as in a head that was factored before it was exported.
pub(crate) fn no_relu_between() -> ModelProto {
    let (mut g, flat) = flat("no_relu_between");
    let fc6 = g.fc("fc6", &flat, 32);
    let fc7 = g.fc("fc7", &fc6, 24);
    let top = g.relu(&fc7);
    g.predictors(&top);
    g.finish()
}

/// Convolutions after RoI pooling, a strided residual block with batch normalisation, global average pooling and no
/// hidden layer: the C4 head of ResNet detectors. Pooled 6x6.
pub(crate) fn c4_head() -> ModelProto {
    let (mut g, data) = Graph::new("c4_head");
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let pooled = g.roi_pool("pool5", &conv, 6, 4);
    let no_bias = Conv { bias: false, ..Conv::default() };
    let branch = g.conv("layer4.conv1", &pooled, Conv { out: 8, ..no_bias });
    let branch = g.batch_norm("layer4.bn1", &branch, 1e-5);
    let branch = g.relu(&branch);
    let branch = g.conv("layer4.conv2", &branch, Conv { stride: 2, bias: false, ..Conv::same(20, 3) });
    let branch = g.batch_norm("layer4.bn2", &branch, 1e-5);
    let shortcut = g.conv("layer4.downsample", &pooled, Conv { out: 20, stride: 2, ..no_bias });
    let sum = g.binary("Add", "layer4.add", &branch, &shortcut.name);
    let top = g.relu(&sum);
    let mean = g.unary("GlobalAveragePool", "avgpool", &top, []);
    let flat = g.flatten("avgpool_flat", &mean, 1);
    g.predictors(&flat);
    g.finish()
}

/// Levels of different sizes, one not square, in no order.
const LEVELS: [[i64; 2]; 4] = [[3, 3], [1, 1], [2, 4], [2, 2]];

/// The levels of SPPnet from one map, each flattened by `flatten`, joined in the order of `joined`.
fn levels(g: &mut Graph, data: &Blob, joined: [usize; 4], flatten: fn(&mut Graph, &Blob)) -> Blob {
    let conv = g.conv_relu("conv1", data, Conv { stride: 4, ..Conv::same(16, 5) });
    let mut rows = Vec::new();
    for [height, width] in LEVELS {
        let name = format!("pool5_{height}x{width}");
        let shape = attr::ints("pooled_shape", &[height, width]);
        g.onnx.node("MaxRoiPool", &name, &[&conv.name, "rois"], [shape, attr::float("spatial_scale", 0.25)]);
        let level = Blob { name, channels: conv.channels * height * width };
        flatten(g, &level);
        rows.push(Blob { name: format!("{}_flat", level.name), ..level });
    }
    let joined = joined.map(|level| &rows[level]);
    g.concat("pool5", &joined)
}

fn flatten_level(g: &mut Graph, level: &Blob) {
    g.onnx.node("Flatten", &format!("{}_flat", level.name), &[&level.name], [attr::int("axis", 1)]);
}

/// SPPnet with a softmax, the levels joined in another order than they are pooled in.
pub(crate) fn sppnet() -> ModelProto {
    let (mut g, data) = Graph::new("sppnet");
    let pool5 = levels(&mut g, &data, [2, 0, 3, 1], flatten_level);
    g.hidden_and_outputs(&pool5)
}

/// The same flattened by `Reshape`, through `Identity`, and joined along the last axis.
pub(crate) fn sppnet_reshaped() -> ModelProto {
    let (mut g, data) = Graph::new("sppnet_reshaped");
    g.integers("row", &[0, -1]);
    let flatten = |g: &mut Graph, level: &Blob| {
        let identity = format!("{}_identity", level.name);
        g.onnx.node("Identity", &identity, &[&level.name], []);
        g.onnx.node("Reshape", &format!("{}_flat", level.name), &[&identity, "row"], []);
    };
    let pool5 = levels(&mut g, &data, [0, 1, 2, 3], flatten);
    let mut model = g.hidden_and_outputs(&pool5);
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.iter_mut().find(|node| node.name == "pool5").unwrap().attribute = vec![attr::int("axis", -1)];
    model
}

/// SPPnet as published: box regressors on the pooled features, and plain scores.
pub(crate) fn sppnet_boxes_from_pooled() -> ModelProto {
    let (mut g, data) = Graph::new("sppnet_boxes_from_pooled");
    let pool5 = levels(&mut g, &data, [0, 1, 2, 3], flatten_level);
    let fc6 = g.fc("fc6", &pool5, 32);
    let top = g.relu(&fc6);
    let fc7 = g.fc("fc7", &top, 24);
    let top = g.relu(&fc7);
    g.fc("cls_score", &top, CLASSES + 1);
    g.fc("bbox_pred", &pool5, 4 * (CLASSES + 1));
    g.output("cls_score", CLASSES + 1);
    g.output("bbox_pred", 4 * (CLASSES + 1));
    g.onnx.finish()
}

/// `RoiAlign` in the place of `MaxRoiPool`.
pub(crate) fn roi_align() -> ModelProto {
    let (mut g, data) = Graph::new("roi_align");
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    // RoiAlign takes boxes and batch indices apart.
    for (name, values) in [("zero", [0]), ("one", [1]), ("five", [5]), ("axis", [1])] {
        g.integers(name, &values);
    }
    g.onnx.node("Slice", "boxes", &["rois", "one", "five", "axis"], []);
    g.onnx.node("Slice", "batch_column", &["rois", "zero", "one", "axis"], []);
    g.onnx.node("Squeeze", "batch", &["batch_column", "axis"], []);
    g.onnx.node("Cast", "batch_indices", &["batch"], [attr::int("to", DataType::Int64 as i64)]);
    g.onnx.node(
        "RoiAlign",
        "pool5",
        &[&conv.name, "boxes", "batch_indices"],
        [
            attr::int("output_height", 3),
            attr::int("output_width", 3),
            attr::int("sampling_ratio", 2),
            attr::float("spatial_scale", 0.25),
        ],
    );
    let pool5 = Blob { name: "pool5".to_owned(), ..conv };
    let flat = g.flatten("pool5_flat", &pool5, 3);
    g.hidden_and_outputs(&flat)
}
