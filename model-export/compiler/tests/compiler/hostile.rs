//! Models that are made to hurt: each is refused with the node or value that does it, at once and without memory for it.

use std::time::{Duration, Instant};

use crate::common::people::*;
use crate::common::{heads, trunks};
use frcnn_compiler::Options;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};

fn plain() -> ModelProto {
    full(&heads::gemm_trans_b())
}

#[track_caller]
fn assert_refused(model: &ModelProto, words: &[&str]) {
    let start = Instant::now();
    let error = refusal(model);
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    assert!(error.len() < 3_000, "{} bytes of message", error.len());
    // Seconds on a loaded machine; what would be computed would take minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn attribute<'a>(model: &'a mut ModelProto, op: &str, name: &str) -> &'a mut AttributeProto {
    let node = graph(model).node.iter_mut().find(|node| node.op_type == op).unwrap();
    if !node.attribute.iter().any(|attribute| attribute.name == name) {
        node.attribute.push(int(name, 0));
    }
    node.attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
}

fn dim(info: &mut ValueInfoProto, place: usize) -> &mut Dimension {
    let Value::TensorType(tensor) = info.r#type.as_mut().unwrap().value.as_mut().unwrap();
    &mut tensor.shape.as_mut().unwrap().dim[place]
}

#[test]
fn a_fixed_number_of_rois_has_a_limit() {
    for count in [10_001, 1 << 31, 1 << 62, i64::MAX] {
        let mut model = plain();
        let rois = graph(&mut model).input.iter_mut().find(|info| info.name == "rois").unwrap();
        dim(rois, 0).value = Some(dimension::Value::DimValue(count));
        assert_refused(&model, &["`rois`", &count.to_string(), "10000"]);
    }
    // Few enough, of too many features: 10,000 x 64 x 64 x 64.
    let mut model = plain();
    let rois = graph(&mut model).input.iter_mut().find(|info| info.name == "rois").unwrap();
    dim(rois, 0).value = Some(dimension::Value::DimValue(10_000));
    attribute(&mut model, "MaxRoiPool", "pooled_shape").ints = vec![64, 64];
    let weight = graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
    *weight = f32s("fc6.weight", &[32, 16 * 64 * 64], &vec![0.01; 32 * 16 * 64 * 64]);
    assert_refused(&model, &["10000 RoIs", "bytes", "limit"]);
}

#[test]
fn attributes_out_of_range_are_named() {
    let cases: [(&str, &str, &[i64]); 19] = [
        ("MaxPool", "ceil_mode", &[1025]),
        ("MaxPool", "ceil_mode", &[-1]),
        ("MaxPool", "kernel_shape", &[0, 2]),
        ("MaxPool", "kernel_shape", &[1 << 40, 2]),
        ("MaxPool", "kernel_shape", &[2]),
        ("MaxPool", "strides", &[0, 0]),
        ("MaxPool", "strides", &[-1, 1]),
        ("MaxPool", "pads", &[i64::MAX; 4]),
        ("Conv", "pads", &[1 << 31; 4]),
        ("Conv", "pads", &[-1; 4]),
        ("Conv", "dilations", &[0, 0]),
        ("Conv", "strides", &[1 << 33, 1]),
        ("Conv", "kernel_shape", &[5, 5]),
        ("Conv", "group", &[0]),
        ("Conv", "group", &[i64::MAX]),
        ("MaxRoiPool", "pooled_shape", &[0, 7]),
        ("MaxRoiPool", "pooled_shape", &[1 << 32, 1 << 32]),
        ("Flatten", "axis", &[i64::MIN]),
        ("Softmax", "axis", &[i64::MAX]),
    ];
    for (op, name, values) in cases {
        let mut model = full(&trunks::vgg_like());
        let node = {
            let attribute = attribute(&mut model, op, name);
            *attribute = if let [value] = values
                && attribute.ints.is_empty()
            {
                int(name, *value)
            } else {
                ints(name, values)
            };
            graph(&mut model).node.iter().find(|node| node.op_type == op).unwrap().name.clone()
        };
        assert_refused(&model, &[&format!("`{node}` ({op})")]);
    }
    // Of another type, and twice.
    let mut model = full(&trunks::vgg_like());
    *attribute(&mut model, "Conv", "strides") = int("strides", 1);
    assert_refused(&model, &["(Conv)", "`strides`", "INTS"]);
    let mut model = full(&trunks::vgg_like());
    let node = graph(&mut model).node.iter_mut().find(|node| node.op_type == "Conv").unwrap();
    node.attribute.push(ints("strides", &[2, 2]));
    assert_refused(&model, &["(Conv)", "`strides`", "twice"]);
    for scale in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30] {
        let mut model = plain();
        attribute(&mut model, "MaxRoiPool", "spatial_scale").f = scale;
        assert_refused(&model, &["scale"]);
    }
}

/// Puts nodes that make `fc6.bias` of little before the others.
fn bias_made_by(nodes: Vec<NodeProto>, weights: Vec<tract_onnx::pb::TensorProto>) -> ModelProto {
    let mut model = plain();
    let g = graph(&mut model);
    g.initializer.retain(|tensor| tensor.name != "fc6.bias");
    g.initializer.extend(weights);
    g.node.splice(0..0, nodes);
    model
}

#[test]
fn constants_that_expand_are_not_made() {
    let huge = [1 << 20, 1 << 20];
    let one = || f32s("one", &[1, 1], &[1.0]);
    for (op, inputs, weights) in [
        ("ConstantOfShape", vec!["huge"], vec![i64s("huge", &huge)]),
        ("ConstantOfShape", vec!["huge"], vec![i64s("huge", &[i64::MAX, i64::MAX])]),
        ("ConstantOfShape", vec!["huge"], vec![i64s("huge", &[-1])]),
        ("Expand", vec!["one", "huge"], vec![one(), i64s("huge", &huge)]),
        ("Tile", vec!["one", "huge"], vec![one(), i64s("huge", &huge)]),
        ("Pad", vec!["one", "huge"], vec![one(), i64s("huge", &[1 << 20, 1 << 20, 1 << 20, 1 << 20])]),
        (
            "Range",
            vec!["from", "to", "step"],
            [("from", 0.0), ("to", 1e12), ("step", 1.0)].map(|(name, v)| f32s(name, &[], &[v])).to_vec(),
        ),
        (
            "Range",
            vec!["from", "to", "step"],
            [("from", 0.0), ("to", 1.0), ("step", 0.0)].map(|(name, v)| f32s(name, &[], &[v])).to_vec(),
        ),
        ("Multinomial", vec!["one"], vec![one()]),
        ("Resize", vec!["one", "", "huge"], vec![one(), i64s("huge", &huge)]),
    ] {
        let model = bias_made_by(vec![node(op, "fc6.bias", &inputs, vec![])], weights);
        assert_refused(&model, &["`fc6.bias_node`", op]);
    }
    // By and by: each step doubles what the one before made.
    let doubled: Vec<NodeProto> = (0..40)
        .map(|i| {
            let (given, made) = (format!("d{i}"), format!("d{}", i + 1));
            node("Concat", &made, &[&given, &given], vec![int("axis", 0)])
        })
        .collect();
    let mut model = bias_made_by(doubled, vec![f32s("d0", &[1], &[1.0])]);
    graph(&mut model).node.iter_mut().find(|node| node.name == "fc6").unwrap().input[2] = "d40".to_string();
    assert_refused(&model, &["(Concat)", "limit"]);
    // An outer product, and a gather of many from few.
    let column = || f32s("column", &[8192, 1], &[1.0; 8192]);
    let row = || f32s("row", &[1, 8192], &[1.0; 8192]);
    for op in ["MatMul", "Mul", "Add"] {
        let model =
            bias_made_by(vec![node(op, "fc6.bias", &["column", "row"], vec![])], vec![column(), row()]);
        assert_refused(&model, &["`fc6.bias_node`", "limit"]);
    }
    let indices = i64s("indices", &[0; 8192]);
    let gather = node("Gather", "fc6.bias", &["row", "indices"], vec![int("axis", 0)]);
    assert_refused(&bias_made_by(vec![gather], vec![row(), indices]), &["`fc6.bias_node`", "limit"]);
}

#[test]
fn tensors_have_what_they_declare() {
    for (dims, words) in [
        (vec![32, 1 << 40], "shape"),
        (vec![i64::MAX, i64::MAX], "makes no sense"),
        (vec![-1, 144], "makes no sense"),
        (vec![1 << 62, 4, 4], "makes no sense"),
        (vec![32, 145], "is the file complete?"),
        (vec![0, 144], "is the file complete?"),
    ] {
        let mut model = plain();
        let weight =
            graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        weight.dims = dims.clone();
        let words = if dims == [32, 1 << 40] { "4 GiB" } else { words };
        assert_refused(&model, &["`fc6`", "`fc6.weight`", words]);
    }
    for (data_type, words) in [
        (DataType::String as i32, "STRING"),
        (99, "99"),
        (-1, "-1"),
        (DataType::Complex64 as i32, "COMPLEX64"),
        (0, "UNDEFINED"),
    ] {
        let mut model = plain();
        let weight =
            graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        weight.data_type = data_type;
        assert_refused(&model, &["`fc6`", "`fc6.weight`", words]);
    }
    // Nothing at all.
    let mut model = plain();
    let weight = graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
    weight.raw_data.clear();
    assert_refused(&model, &["`fc6.weight`", "is the file complete?"]);
}

#[test]
fn graphs_in_knots_are_refused() {
    // A circle in the trunk, in the head, and of one node.
    for (op, from) in [("Relu", "fc7_relu"), ("Conv", "conv1_relu")] {
        let mut model = plain();
        let node = graph(&mut model).node.iter_mut().find(|node| node.op_type == op).unwrap();
        let name = node.name.clone();
        node.input[0] = if op == "Relu" { from.to_string() } else { node.output[0].clone() };
        let error = refusal(&model);
        assert!(
            error.contains(&format!("`{name}`")) || error.contains("come") || error.contains("read"),
            "{error}"
        );
    }
    let mut model = plain();
    let copy = graph(&mut model).node[0].clone();
    graph(&mut model).node.push(copy);
    assert_refused(&model, &["made twice"]);
    let mut model = plain();
    graph(&mut model).node.retain(|node| node.name != "fc6");
    assert_refused(&model, &["`fc6`"]);
    let mut model = plain();
    graph(&mut model).node.iter_mut().for_each(|node| node.input.clear());
    refusal(&model);
    let mut model = plain();
    graph(&mut model).node.iter_mut().for_each(|node| node.output.clear());
    refusal(&model);
}

#[test]
fn graphs_in_nodes_are_refused() {
    let mut inner = GraphProto::default();
    for depth in 0..90 {
        let branch =
            AttributeProto { name: "then_branch".into(), g: Some(inner), r#type: 5, ..Default::default() };
        let attributes = if depth == 0 { vec![] } else { vec![branch] };
        inner = GraphProto { node: vec![node("If", "x", &["one"], attributes)], ..Default::default() };
    }
    for depth in [1, 30] {
        let mut graph_of = inner.clone();
        for _ in depth..90 {
            graph_of = graph_of.node[0].attribute.first().and_then(|a| a.g.clone()).unwrap_or_default();
        }
        let branch =
            AttributeProto { name: "then_branch".into(), g: Some(graph_of), r#type: 5, ..Default::default() };
        let model = bias_made_by(
            vec![node("If", "fc6.bias", &["one"], vec![branch])],
            vec![f32s("one", &[], &[1.0])],
        );
        assert_refused(&model, &["`fc6.bias_node`", "If"]);
    }
    let branch =
        AttributeProto { name: "then_branch".into(), g: Some(inner), r#type: 5, ..Default::default() };
    let model =
        bias_made_by(vec![node("If", "fc6.bias", &["one"], vec![branch])], vec![f32s("one", &[], &[1.0])]);
    assert_refused(&model, &["recursion limit"]);
}

/// What is read beyond an operator's inputs is read by others.
#[test]
fn nodes_have_no_inputs_too_many() {
    for (op, input) in [
        ("Conv", "conv1.bias"),
        ("Relu", "conv1"),
        ("MaxRoiPool", "rois"),
        ("Gemm", "pool5"),
        ("Flatten", ""),
    ] {
        let mut model = plain();
        let node = graph(&mut model).node.iter_mut().find(|node| node.op_type == op).unwrap();
        node.input.extend(["", input].map(str::to_string));
        let name = node.name.clone();
        assert_refused(&model, &[&format!("`{name}` ({op})")]);
    }
    // Names of any length make no message of any length.
    let mut model = plain();
    graph(&mut model).node[0].op_type = "Long".repeat(10_000);
    assert_refused(&model, &["LongLong", "and so on"]);
}

#[test]
fn graphs_have_limits() {
    let chain = |count: usize| {
        let mut model = plain();
        let g = graph(&mut model);
        let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
        let relus = (0..count).map(|i| {
            let given = if i == 0 { "fc6_relu".to_string() } else { format!("r{}", i - 1) };
            node("Relu", &format!("r{i}"), &[&given], vec![])
        });
        g.node.splice(at + 1..at + 1, relus.collect::<Vec<_>>());
        g.node.iter_mut().find(|node| node.name == "fc7").unwrap().input[0] = format!("r{}", count - 1);
        model
    };
    assert_refused(&chain(10_001), &["nodes", "10000"]);
    assert_refused(&chain(9_000), &["(Relu)", "1500"]);

    // One weight, read by many layers.
    let mut model = plain();
    let g = graph(&mut model);
    let side = 2048;
    g.initializer.push(f32s("square", &[side, side], &vec![1e-4; (side * side) as usize]));
    let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
    let first = f32s("widen", &[32, side], &vec![1e-3; 32 * side as usize]);
    let last = f32s("narrow", &[side, 32], &vec![1e-3; 32 * side as usize]);
    g.initializer.extend([first, last]);
    let mut nodes = vec![node("MatMul", "m0", &["fc6_relu", "widen"], vec![])];
    nodes.extend(
        (0..600).map(|i| node("MatMul", &format!("m{}", i + 1), &[&format!("m{i}"), "square"], vec![])),
    );
    nodes.push(node("MatMul", "narrowed", &["m600", "narrow"], vec![]));
    g.node.splice(at + 1..at + 1, nodes);
    g.node.iter_mut().find(|node| node.name == "fc7").unwrap().input[0] = "narrowed".to_string();
    assert_refused(&model, &["(MatMul)", "many layers read one tensor"]);

    // Channels that double.
    let mut model = plain();
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "conv1_relu").unwrap();
    let nodes = (0..60).map(|i| {
        let given = if i == 0 { "conv1_relu".to_string() } else { format!("c{}", i - 1) };
        node("Concat", &format!("c{i}"), &[&given, &given], vec![int("axis", 1)])
    });
    g.node.splice(at + 1..at + 1, nodes.collect::<Vec<_>>());
    g.node.iter_mut().find(|node| node.op_type == "MaxRoiPool").unwrap().input[0] = "c59".to_string();
    assert_refused(&model, &["(Concat)", "channels", "limit"]);

    // Many maps alive at a time.
    let mut model = full(&trunks::vgg_like());
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "conv1_2_relu").unwrap();
    let names: Vec<String> = (0..1_400).map(|i| format!("b{i}")).collect();
    let mut nodes: Vec<NodeProto> =
        names.iter().map(|name| node("Sigmoid", name, &["conv1_2_relu"], vec![])).collect();
    nodes.push(node(
        "Concat",
        "joined",
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
        vec![int("axis", 1)],
    ));
    nodes.push(node("Conv", "narrowed", &["joined", "narrow"], vec![]));
    g.initializer.push(f32s("narrow", &[10, 14_000, 1, 1], &vec![1e-4; 140_000]));
    g.node.splice(at + 1..at + 1, nodes);
    g.node.iter_mut().find(|node| node.name == "pool1").unwrap().input[0] = "narrowed".to_string();
    assert_refused(&model, &["bytes", "limit"]);
}

#[test]
fn bytes_that_promise_more_than_there_is() {
    let model = plain().encode_to_vec();
    let huge_len = |mut bytes: Vec<u8>, at: usize| {
        bytes.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        bytes
    };
    for at in [1, 3, 5, 20, 40] {
        let _ = try_compile_bytes(&huge_len(model.clone(), at), &Options::default());
    }
    for bytes in
        [vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], [0x0b; 10_000].to_vec(), [0x3a, 0x80].repeat(50_000)]
    {
        let error = try_compile_bytes(&bytes, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("model.onnx"), "{error}");
    }
    // Two million nodes of no bytes.
    let nodes = [0x0a, 0].repeat(2_000_000);
    let bytes = [
        vec![0x3a],
        vec![
            0x80 | (nodes.len() & 0x7f) as u8,
            0x80 | (nodes.len() >> 7 & 0x7f) as u8,
            0x80 | (nodes.len() >> 14 & 0x7f) as u8,
            (nodes.len() >> 21) as u8,
        ],
        nodes,
    ]
    .concat();
    let error = try_compile_bytes(&bytes, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("more than 1000000"), "{error}");
}
