//! Models as people have them: what exporters, converters and caches make of the same network compiles to the same bundle,
//! and what would compute something else is refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy's own exemption for tests ends at functions marked #[test]"
)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::graph::{Blob, Conv, Graph};
use common::onnxruntime::Input;
use common::people::*;
use common::{heads, trunks};
use frcnn_bundle::Bundle;
use frcnn_compiler::{Options, compile};
use frcnn_core::relative_difference;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{FunctionProto, ModelProto, OperatorSetIdProto};

const WIDTHS: [DataType; 4] = [DataType::Float16, DataType::Bfloat16, DataType::Double, DataType::Float];

fn bits(bundle: &Bundle) -> Vec<u32> {
    let sections = 0..bundle.contents().sections.len() as u32;
    sections.flat_map(|id| bundle.weights_as_f32(id).into_owned()).map(|weight| weight.to_bits()).collect()
}

#[track_caller]
fn same(what: &str, model: &ModelProto, plain: &ModelProto) {
    let [found, expected] = [model, plain]
        .map(|model| try_compile(model).unwrap_or_else(|error| panic!("{what}: {error}")).bundle);
    assert!(bits(&found) == bits(&expected), "{what}: the weights differ");
    let graphs = |bundle: &Bundle| {
        let layers = bundle.contents().trunk.layers.iter().chain(&bundle.contents().head.layers);
        layers.map(|layer| (layer.op.clone(), layer.inputs.clone())).collect::<Vec<_>>()
    };
    assert_eq!(graphs(&found), graphs(&expected), "{what}");
}

/// Clips, batch normalisation and constants in nodes; a Gemm head.
fn example() -> ModelProto {
    full(&trunks::mobilenetv2_like())
}

#[test]
fn real_numbers_of_every_width_are_read_as_f32() {
    for width in WIDTHS {
        let mut plain = example();
        tensors(&mut plain).for_each(|tensor| widen(tensor, width));
        for form in [Form::Raw, Form::Numbers] {
            let mut model = example();
            tensors(&mut model).for_each(|tensor| narrow(tensor, width, form));
            declare(&mut model, width);
            same(&format!("{width:?} {form:?}"), &model, &plain);
            // f32 outside, and casts at the ends.
            declare(&mut model, DataType::Float);
            let to = |made: &str| if made.ends_with("inner") { width } else { DataType::Float };
            wrap_ends(&mut model, |given, made| {
                node("Cast", made, &[given], vec![int("to", to(made) as i64)])
            });
            same(&format!("{width:?} {form:?} inside"), &model, &plain);
        }
    }
}

#[test]
fn a_part_of_a_model_may_be_of_another_width() {
    let mut model = full(&heads::gemm_trans_b());
    let mut plain = model.clone();
    let in_head = |name: &str| name.starts_with("fc") || name.starts_with("bbox");
    tensors(&mut model).filter(|t| in_head(&t.name)).for_each(|t| narrow(t, DataType::Float16, Form::Raw));
    tensors(&mut plain).filter(|t| in_head(&t.name)).for_each(|t| widen(t, DataType::Float16));
    let g = graph(&mut model);
    let reads =
        g.node.iter_mut().filter(|node| node.input.first().is_some_and(|input| input == "pool5_flat"));
    reads.for_each(|node| node.input[0] = "half".to_string());
    let at = g.node.iter().position(|node| node.output[0] == "pool5_flat").unwrap();
    // To the type of a weight, as PyTorch's dynamo exporter writes it.
    g.node.insert(at + 1, node("CastLike", "half", &["pool5_flat", "fc6.weight"], vec![]));
    same("CastLike", &model, &plain);

    // An integer constant that a CastLike makes a bound of.
    let mut model = example();
    let g = graph(&mut model);
    for bound in ["zero", "six"] {
        let tensor = g.initializer.iter_mut().find(|tensor| tensor.name == bound).unwrap();
        let value = values(tensor)[0] as i64;
        *tensor = i64s(&format!("{bound}_integer"), &[value]);
        tensor.dims.clear();
    }
    let casts =
        ["zero", "six"].map(|bound| node("CastLike", bound, &[&format!("{bound}_integer"), "data"], vec![]));
    g.node.splice(0..0, casts);
    same("integer bounds", &model, &example());
}

/// A Clip in both halves with the same bounds, and a convolution of one weight before and behind RoI pooling.
fn shared(constant_nodes: bool) -> ModelProto {
    let (mut g, data) = Graph::new("shared");
    for (name, value) in [("low", 0.0), ("high", 6.0)] {
        g.scalar(name, value);
    }
    let clip = |g: &mut Graph, x: &Blob| {
        let name = format!("{}_clip", x.name);
        g.onnx.node("Clip", &name, &[&x.name, "low", "high"], []);
        Blob { name, channels: x.channels }
    };
    let conv = g.conv("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let mut top = clip(&mut g, &conv);
    g.weight("shared.weight", &[16, 16, 1, 1], 0.0, 0.3);
    g.onnx.node("Conv", "conv2", &[&top.name, "shared.weight"], []);
    top = g.roi_pool("pool5", &Blob { name: "conv2".to_owned(), ..top }, 3, 4);
    g.onnx.node("Conv", "conv3", &[&top.name, "shared.weight"], []);
    let flat = g.flatten("pool5_flat", &Blob { name: "conv3".to_owned(), ..top }, 3);
    let fc6 = g.fc("fc6", &flat, 32);
    let top = clip(&mut g, &fc6);
    g.predictors(&top);
    let mut model = full(&g.finish());
    if constant_nodes {
        let g = graph(&mut model);
        let weights = std::mem::take(&mut g.initializer);
        let nodes = weights.into_iter().map(|weight| {
            let name = weight.name.clone();
            node("Constant", &name, &[], vec![tensor_attribute("value", weight)])
        });
        g.node.splice(0..0, nodes.collect::<Vec<_>>());
    }
    model
}

/// How a map of one pixel becomes a row, or a row a row, by nodes that `make` from its argument `x` to `flat`.
fn ending(name: &str, make: impl Fn(&mut Graph)) -> (String, ModelProto) {
    let (mut g, data) = Graph::new(name);
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let pool5 = g.roi_pool("pool5", &conv, 3, 4);
    let top = g.conv_relu("conv2", &pool5, Conv::same(20, 3));
    g.unary("GlobalAveragePool", "x", &top, []);
    for (axis, value) in [("a1", 1), ("a2", 2), ("a3", 3), ("last", -1), ("before_last", -2)] {
        g.integers(axis, &[value]);
    }
    g.integers("both", &[2, 3]);
    g.integers("both_reversed", &[-1, 2]);
    g.integers("from_end", &[-1, -2]);
    make(&mut g);
    g.predictors(&Blob { name: "flat".to_owned(), channels: 20 });
    (name.to_string(), full(&g.finish()))
}

fn endings() -> Vec<(String, ModelProto)> {
    let mut all = Vec::new();
    let mut chain = |name: &str, steps: &[(&'static str, &'static str)]| {
        all.push(ending(name, |g| {
            let mut x = "x".to_string();
            for (position, (op, argument)) in steps.iter().enumerate() {
                let made =
                    if position + 1 == steps.len() { "flat".to_string() } else { format!("s{position}") };
                let attributes =
                    matches!(*op, "Flatten").then(|| frcnn_compiler::onnx_writer::attr::int("axis", 1));
                let inputs: Vec<&str> =
                    [x.as_str()].into_iter().chain((!argument.is_empty()).then_some(*argument)).collect();
                g.onnx.node(op, &made, &inputs, attributes);
                x = made;
            }
        }));
    };
    chain("rows then columns", &[("Squeeze", "a2"), ("Squeeze", "a2")]);
    chain("columns then rows", &[("Squeeze", "a3"), ("Squeeze", "a2")]);
    chain("from the end", &[("Squeeze", "last"), ("Squeeze", "last")]);
    chain("before the last", &[("Squeeze", "before_last"), ("Squeeze", "last")]);
    chain("both at once", &[("Squeeze", "both")]);
    chain("both in another order", &[("Squeeze", "both_reversed")]);
    chain("all from the end, the last first", &[("Squeeze", "from_end")]);
    chain("all of 1", &[("Squeeze", "")]);
    chain("with a layer between", &[("Squeeze", "last"), ("Relu", ""), ("Squeeze", "last")]);
    chain("then flattened", &[("Squeeze", "a3"), ("Flatten", "")]);
    chain("and back", &[("Squeeze", "last"), ("Unsqueeze", "last"), ("Flatten", "")]);
    chain("and back in the middle", &[("Squeeze", "a3"), ("Unsqueeze", "a2"), ("Squeeze", "both")]);
    chain("a row and back", &[("Flatten", ""), ("Unsqueeze", "a2"), ("Squeeze", "last")]);
    chain(
        "a row, a layer and back",
        &[("Flatten", ""), ("Unsqueeze", "last"), ("Relu", ""), ("Squeeze", "a2")],
    );
    for (name, shape) in [
        ("to a line", vec![0, 20, 1]),
        ("to a free line", vec![-1, 20, 1]),
        ("to a pixel", vec![0, -1, 1, 1]),
    ] {
        all.push(ending(name, |g| {
            g.integers("shape", &shape);
            g.onnx.node("Reshape", "s0", &["x", "shape"], []);
            g.onnx.node("Squeeze", "flat", &["s0", if shape.len() == 3 { "a2" } else { "both" }], []);
        }));
    }
    // Means over one axis at a time, of which either is kept or not.
    for (first, second) in [(3, 2), (2, 3), (-1, -2), (-2, -1)] {
        for (first_kept, second_kept) in [(1, 1), (0, 0), (1, 0), (0, 1)] {
            let mean = |axis, kept| {
                [
                    frcnn_compiler::onnx_writer::attr::ints("axes", &[axis]),
                    frcnn_compiler::onnx_writer::attr::int("keepdims", kept),
                ]
            };
            // Behind rows that are gone, columns are axis 2; before columns that are gone, rows are axis -1.
            let second = match (first_kept, first, second) {
                (0, 2, 3) => 2,
                (0, -1, -2) => -1,
                (_, _, second) => second,
            };
            all.push(ending(
                &format!("means over {first} ({first_kept}) and {second} ({second_kept})"),
                |g| {
                    g.onnx.node("ReduceMean", "s0", &["conv2_relu"], mean(first, first_kept));
                    g.onnx.node("ReduceMean", "s1", &["s0"], mean(second, second_kept));
                    g.onnx.node(
                        "Flatten",
                        "flat",
                        &["s1"],
                        [frcnn_compiler::onnx_writer::attr::int("axis", 1)],
                    );
                },
            ));
        }
    }
    all
}

/// Since operator set 18 the axes of a mean are an input: an initializer, or a constant of any form.
#[test]
fn axes_of_means_are_read_wherever_they_stand() {
    for (name, model) in endings().into_iter().filter(|(name, _)| name.starts_with("means")) {
        for form in 0..3 {
            let mut new = model.clone();
            new.opset_import[0].version = 18;
            let g = graph(&mut new);
            let mut constants = Vec::new();
            for (position, mean) in g.node.iter_mut().filter(|node| node.op_type == "ReduceMean").enumerate()
            {
                let place = mean.attribute.iter().position(|attribute| attribute.name == "axes").unwrap();
                let axes = mean.attribute.remove(place).ints;
                let name = format!("axes{position}");
                mean.input.push(name.clone());
                let attribute = match form {
                    0 => {
                        g.initializer.push(i64s(&name, &axes));
                        continue;
                    }
                    1 => tensor_attribute("value", i64s("", &axes)),
                    _ => ints("value_ints", &axes),
                };
                constants.push(node("Constant", &name, &[], vec![attribute]));
            }
            g.node.splice(0..0, constants);
            same(&name, &new, &model);
        }
    }
}

#[test]
fn means_over_other_axes_are_refused() {
    let attr = |axis| [frcnn_compiler::onnx_writer::attr::ints("axes", &[axis])];
    for (first, second) in [(1, 2), (3, 3), (0, 3), (3, 1), (2, 5)] {
        let (_, model) = ending("wrong", |g| {
            g.onnx.node("ReduceMean", "s0", &["conv2_relu"], attr(first));
            g.onnx.node("ReduceMean", "s1", &["s0"], attr(second));
            g.onnx.node("Flatten", "flat", &["s1"], [frcnn_compiler::onnx_writer::attr::int("axis", 1)]);
        });
        let error = refusal(&model);
        assert!(error.contains("(ReduceMean)"), "{first} {second}: {error}");
    }
}

#[test]
fn maps_of_one_pixel_become_rows_in_every_way() {
    for (name, model) in endings() {
        try_compile(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Before operator set 13, axes were attributes.
        let mut old = model.clone();
        old.opset_import[0].version = 11;
        let g = graph(&mut old);
        for node in g.node.iter_mut().filter(|n| ["Squeeze", "Unsqueeze"].contains(&&*n.op_type)) {
            if let Some(axes) = node.input.get(1).cloned() {
                let axes = g.initializer.iter().find(|tensor| tensor.name == axes).unwrap();
                let axes: Vec<i64> =
                    axes.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
                node.attribute = vec![ints("axes", &axes)];
                node.input.truncate(1);
            }
        }
        same(&name, &old, &model);
    }
}

#[test]
fn axes_that_are_none_or_too_long_are_refused() {
    for (axes, words) in [
        (&[4i64][..], "axes [4]"),
        (&[-5], "axes [-5]"),
        (&[2, 2], "axes [2, 2]"),
        (&[1], "1 x 1"),
        (&[0], "1 x 1"),
    ] {
        let (_, mut model) = ending("wrong", |g| g.onnx.node("Squeeze", "flat", &["x", "both"], []));
        let tensor = graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "both").unwrap();
        *tensor = i64s("both", axes);
        let error = refusal(&model);
        assert!(error.contains("`flat` (Squeeze)") && error.contains(words), "{axes:?}: {error}");
    }
}

/// ONNX Runtime runs the widened file, this project the narrow one.
#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cases: Vec<(String, ModelProto, ModelProto)> = Vec::new();
    for width in WIDTHS {
        let (mut plain, mut model) = (example(), example());
        tensors(&mut plain).for_each(|tensor| widen(tensor, width));
        tensors(&mut model).for_each(|tensor| narrow(tensor, width, Form::Raw));
        declare(&mut model, width);
        cases.push((format!("{width:?}"), model, plain));
    }
    for (name, model) in endings()
        .into_iter()
        .chain([("shared".to_string(), shared(false)), ("shared constants".to_string(), shared(true))])
    {
        cases.push((name, model.clone(), model));
    }
    let paths: Vec<PathBuf> = (0..cases.len()).map(|i| folder.path().join(format!("{i}.onnx"))).collect();
    for (path, (_, _, plain)) in paths.iter().zip(&cases) {
        fs::write(path, plain.encode_to_vec()).unwrap();
    }
    let bundle = |(name, model, _): &(String, ModelProto, ModelProto)| {
        try_compile(model).unwrap_or_else(|error| panic!("{name}: {error}")).bundle
    };
    let bundles: Vec<Arc<Bundle>> = cases.iter().map(bundle).collect();
    let models: Vec<(PathBuf, &Bundle)> =
        paths.into_iter().zip(bundles.iter().map(|bundle| &**bundle)).collect();
    let input = Input::new();
    let outputs = input.referee(&python, folder.path(), &models);
    for (expected, (bundle, (name, ..))) in outputs.iter().zip(bundles.iter().zip(&cases)) {
        for (found, expected) in input.run(bundle).iter().zip(expected) {
            // The same f32 weights: what is left is the order of sums.
            let difference = relative_difference(found, expected);
            assert!(difference <= 1e-5, "{name}: off by {difference:e} of the largest");
        }
    }
}

#[test]
fn names_of_nodes_say_nothing() {
    for names in [|_: usize| String::new(), |_: usize| "node".to_string(), |i: usize| format!("n{}", i % 3)] {
        for source in [trunks::resnet_like(), heads::sppnet(), heads::matmul_constant_node()] {
            let mut model = full(&source);
            for (position, node) in graph(&mut model).node.iter_mut().enumerate() {
                node.name = names(position);
            }
            same("names", &model, &full(&source));
        }
    }
}

#[test]
fn the_standard_domain_has_two_names() {
    let mut model = example();
    model.opset_import[0].domain = "ai.onnx".to_string();
    model.opset_import.push(OperatorSetIdProto { domain: "com.example".to_string(), version: 1 });
    graph(&mut model).node.iter_mut().step_by(2).for_each(|node| node.domain = "ai.onnx".to_string());
    same("ai.onnx", &model, &example());
}

fn assert_refused(model: &ModelProto, words: &[&str]) {
    let error = refusal(model);
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn operators_of_others_are_refused() {
    for op in ["Conv", "Relu", "MaxRoiPool", "Softmax"] {
        let mut model = example();
        let node = graph(&mut model)
            .node
            .iter_mut()
            .find(|node| node.op_type == op)
            .unwrap_or_else(|| panic!("{op}"));
        node.domain = "com.example".to_string();
        let name = node.name.clone();
        assert_refused(&model, &["com.example", op, &name]);
    }
}

#[test]
fn functions_of_the_models_own_are_refused() {
    for domain in ["", "ai.onnx", "pkg.example"] {
        let mut model = example();
        let relu =
            FunctionProto { name: Some("Softmax".into()), domain: Some(domain.into()), ..Default::default() };
        model.functions.push(relu);
        for node in graph(&mut model).node.iter_mut().filter(|node| node.op_type == "Softmax") {
            node.domain = domain.to_string();
        }
        assert_refused(&model, &["Softmax", "function", "inline"]);
    }
}

#[test]
fn operator_sets_are_told() {
    let mut model = example();
    model.opset_import[0].version = 6;
    assert_refused(&model, &["operator set 6"]);
    model.opset_import.clear();
    assert_refused(&model, &["operator set"]);
    model.opset_import =
        [13, 17].map(|version| OperatorSetIdProto { version, ..Default::default() }).to_vec();
    assert_refused(&model, &["[13, 17]"]);
}

#[test]
fn training_is_told() {
    const WORDS: [&str; 2] = ["training mode", "model.eval()"];
    let batch_norm = |model: &mut ModelProto| {
        graph(model).node.iter().position(|node| node.op_type == "BatchNormalization").unwrap()
    };
    let mut model = example();
    let at = batch_norm(&mut model);
    graph(&mut model).node[at].attribute.push(int("training_mode", 1));
    assert_refused(&model, &WORDS);

    let mut model = example();
    let at = batch_norm(&mut model);
    graph(&mut model).node[at].output.extend(["mean_out".to_string(), "var_out".to_string()]);
    assert_refused(&model, &WORDS);

    let bool_tensor = |name: &str, value| tensor(name, DataType::Bool, &[], vec![u8::from(value)]);
    let dropped = |mode: Option<bool>, as_node: bool| {
        let mut model = full(&heads::dropout_and_identity());
        let g = graph(&mut model);
        g.initializer.retain(|tensor| tensor.name != "ratio");
        g.initializer.push(f32s("ratio", &[], &[0.5]));
        if let Some(mode) = mode {
            if as_node {
                let constant =
                    node("Constant", "mode", &[], vec![tensor_attribute("value", bool_tensor("", mode))]);
                g.node.insert(0, constant);
            } else {
                g.initializer.push(bool_tensor("mode", mode));
            }
        }
        for node in g.node.iter_mut().filter(|node| node.op_type == "Dropout") {
            node.input.truncate(1);
            node.input.push("ratio".to_string());
            node.input.extend(mode.map(|_| "mode".to_string()));
        }
        model
    };
    for as_node in [false, true] {
        assert_refused(&dropped(Some(true), as_node), &[&WORDS[..], &["Dropout"]].concat());
        try_compile(&dropped(Some(false), as_node)).unwrap();
    }
    try_compile(&dropped(None, false)).unwrap();

    // What a dropout is made of where the operator set has none.
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
    g.node[at].output[0] = "fc6_kept".to_string();
    g.node.insert(at + 1, node("RandomUniformLike", "mask", &["fc6_kept"], vec![]));
    g.node.insert(at + 2, node("Mul", "fc6_relu", &["fc6_kept", "mask"], vec![]));
    assert_refused(&model, &[&WORDS[..], &["RandomUniformLike"]].concat());
}

#[test]
fn quantised_models_are_told() {
    const WORDS: [&str; 2] = ["quantised", "export the float model"];
    let scale = || f32s("scale", &[], &[0.1]);
    // Weights as integers, made real by a node, of either domain.
    for domain in ["", "com.microsoft"] {
        let mut model = full(&heads::gemm_trans_b());
        let g = graph(&mut model);
        let weight = g.initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        let len = weight.dims.iter().product::<i64>() as usize;
        *weight = tensor("fc6.quantised", DataType::Int8, &weight.dims.clone(), vec![3; len]);
        g.initializer.push(scale());
        let mut made = node("DequantizeLinear", "fc6.weight", &["fc6.quantised", "scale"], vec![]);
        made.domain = domain.to_string();
        g.node.insert(0, made);
        assert_refused(&model, &[&WORDS[..], &["DequantizeLinear"]].concat());
    }
    // By arithmetic, and as an operand.
    for data_type in [DataType::Int8, DataType::Uint8, DataType::Int4, DataType::Float8e4m3fn] {
        let mut model = full(&heads::gemm_trans_b());
        let g = graph(&mut model);
        let weight = g.initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        let len = weight.dims.iter().product::<i64>() as usize;
        *weight = tensor("fc6.quantised", data_type, &weight.dims.clone(), vec![3; len]);
        g.initializer.push(scale());
        g.node.insert(0, node("Cast", "fc6.real", &["fc6.quantised"], vec![int("to", 1)]));
        g.node.insert(1, node("Mul", "fc6.weight", &["fc6.real", "scale"], vec![]));
        assert_refused(&model, &[&WORDS[..], &["fc6.quantised"]].concat());
    }
    // Wide integers, which hold shapes elsewhere, where real numbers belong.
    for (data_type, bytes) in [(DataType::Int32, 4), (DataType::Int64, 8)] {
        for operand in ["fc6.weight", "fc6.bias"] {
            let mut model = full(&heads::gemm_trans_b());
            let weight =
                graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == operand).unwrap();
            let len = weight.dims.iter().product::<i64>() as usize;
            *weight = tensor(operand, data_type, &weight.dims.clone(), vec![0; bytes * len]);
            assert_refused(&model, &[&WORDS[..], &[operand]].concat());
        }
    }
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    g.node.iter_mut().find(|node| node.name == "fc6").unwrap().op_type = "QLinearMatMul".to_string();
    assert_refused(&model, &[&WORDS[..], &["QLinearMatMul"]].concat());
}

#[test]
fn integers_are_no_real_numbers() {
    for (input, data_type) in [("data", DataType::Uint8), ("rois", DataType::Int64)] {
        let mut model = full(&heads::gemm_trans_b());
        wrap_ends(&mut model, |given, made| node("Cast", made, &[given], vec![int("to", 1)]));
        let info = graph(&mut model).input.iter_mut().find(|info| info.name == input).unwrap();
        element_type(info, data_type);
        assert_refused(&model, &[input, data_type.as_str_name(), "float input"]);
    }
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
    g.node[at].output[0] = "fc6_real".to_string();
    g.node.insert(at + 1, node("Cast", "fc6_whole", &["fc6_real"], vec![int("to", 7)]));
    g.node.insert(at + 2, node("Cast", "fc6_relu", &["fc6_whole"], vec![int("to", 1)]));
    assert_refused(&model, &["fc6_whole", "cast to real numbers"]);
}

mod files_beside {
    use super::*;

    /// A model whose weights lie in `location`.
    fn model(location: &str) -> (ModelProto, Vec<u8>) {
        let (mut model, mut file) = (example(), vec![0; 64]);
        for tensor in &mut graph(&mut model).initializer {
            move_out(tensor, location, &mut file);
        }
        (model, file)
    }

    fn compile_at(path: &Path) -> Result<Vec<u32>, String> {
        let compiled = compile(path, &manifest(), &Options::default(), &mut |_| {});
        compiled.map(|compiled| bits(&compiled.bundle)).map_err(|error| error.to_string())
    }

    fn write(folder: &Path, model: &ModelProto) -> PathBuf {
        let path = folder.join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        path
    }

    #[test]
    fn are_read_where_they_lie_or_where_links_lead() {
        let expected = bits(&try_compile(&example()).unwrap().bundle);
        for location in ["model.onnx.data", "weights/all.bin", "./weights/all.bin"] {
            let folder = tempfile::tempdir().unwrap();
            let (model, file) = model(location);
            let path = write(folder.path(), &model);
            let data = folder.path().join(location);
            fs::create_dir_all(data.parent().unwrap()).unwrap();
            fs::write(&data, &file).unwrap();
            assert!(compile_at(&path).unwrap() == expected, "{location}");

            // A hub's cache: both are links to blobs elsewhere.
            let cache = tempfile::tempdir().unwrap();
            let snapshot = cache.path().join("snapshot");
            fs::create_dir_all(snapshot.join(location).parent().unwrap()).unwrap();
            symlink(&path, snapshot.join("model.onnx")).unwrap();
            symlink(&data, snapshot.join(location)).unwrap();
            assert!(compile_at(&snapshot.join("model.onnx")).unwrap() == expected, "{location}");
            // A link to the model alone.
            let alone = cache.path().join("alone.onnx");
            symlink(&path, &alone).unwrap();
            assert!(compile_at(&alone).unwrap() == expected, "{location}");
        }
    }

    #[test]
    fn are_named_when_they_are_missing_or_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (mut model, file) = model("model.onnx.data");
        let path = write(folder.path(), &model);
        let refused = |path: &Path, words: &[&str]| {
            let error = compile_at(path).unwrap_err();
            for word in words.iter().chain(&["model.onnx: node"]) {
                assert!(error.contains(word), "`{word}` is not in: {error}");
            }
        };
        refused(&path, &["model.onnx.data", "`zero`", "No such file"]);
        let data = folder.path().join("model.onnx.data");
        fs::write(&data, &file[..file.len() - 1]).unwrap();
        refused(&path, &["model.onnx.data", "is it complete?"]);
        fs::remove_file(&data).unwrap();
        fs::create_dir(&data).unwrap();
        refused(&path, &["model.onnx.data", "not a file"]);
        fs::remove_dir(&data).unwrap();
        fs::write(&data, &file).unwrap();
        compile_at(&path).unwrap();

        for (key, value, words) in [
            ("offset", "18446744073709551615", "is it complete?"),
            ("offset", "-1", "not a number"),
            ("length", "1", "its shape makes"),
            ("length", "many", "not a number"),
            ("location", "", "not named"),
            ("location", "../model.onnx.data", "not a path below"),
            ("location", "weights/../../model.onnx.data", "not a path below"),
            ("location", data.to_str().unwrap(), "not a path below"),
        ] {
            let mut changed = model.clone();
            let tensor = &mut graph(&mut changed).initializer[0];
            tensor.external_data.iter_mut().find(|entry| entry.key == key).unwrap().value = value.to_string();
            refused(&write(folder.path(), &changed), &[words]);
        }
        // What nothing reads need not be there.
        let mut unread = graph(&mut model).initializer[0].clone();
        unread.name = "unread".to_string();
        unread.external_data[0].value = "nowhere.bin".to_string();
        graph(&mut model).initializer.push(unread);
        compile_at(&write(folder.path(), &model)).unwrap();
    }
}
