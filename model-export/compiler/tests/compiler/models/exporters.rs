//! What exporters, optimisers and converters write of the same network.

use std::fs;

use frcnn_bundle::Manifest;
use frcnn_compiler::{Compiled, Options, compile};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto};

use super::widths::shared;
use super::{bits, example, same};
use crate::common::graph::{Conv, Graph};
use crate::common::people::*;
use crate::common::{heads, trunks};

/// The declared dimensions of the input `data`.
fn dims(model: &mut ModelProto) -> &mut Vec<Dimension> {
    let data = graph(model).input.iter_mut().find(|input| input.name == "data").unwrap();
    let Value::TensorType(tensor) = data.r#type.as_mut().unwrap().value.as_mut().unwrap();
    &mut tensor.shape.get_or_insert_with(TensorShapeProto::default).dim
}

fn place_of(model: &mut ModelProto, op: &str) -> usize {
    graph(model).node.iter().position(|node| node.op_type == op).unwrap()
}

/// `x.view(rois.size(0), -1)` in place of the `Flatten`.
pub(crate) fn viewed_by_the_rois() -> ModelProto {
    let mut model = full(&heads::gemm_trans_b());
    let at = place_of(&mut model, "Flatten");
    let g = graph(&mut model);
    let [given, made] = [g.node[at].input[0].clone(), g.node[at].output[0].clone()];
    let mut first = i64s("first", &[0]);
    first.dims.clear();
    g.initializer.extend([first, i64s("axis", &[0]), i64s("rest", &[-1])]);
    let shape = [
        node("Shape", "size", &["rois"], vec![]),
        node("Gather", "count", &["size", "first"], vec![int("axis", 0)]),
        node("Unsqueeze", "counts", &["count", "axis"], vec![]),
        node("Concat", "target", &["counts", "rest"], vec![int("axis", 0)]),
        node("Reshape", &made, &[&given, "target"], vec![]),
    ];
    g.node.splice(at..=at, shape);
    model
}

/// The first convolution's pads in a node of their own.
pub(crate) fn padded_apart() -> ModelProto {
    let mut model = full(&heads::gemm_trans_b());
    let at = place_of(&mut model, "Conv");
    let g = graph(&mut model);
    let conv = &mut g.node[at];
    let pads = conv.attribute.iter().position(|attribute| attribute.name == "pads").unwrap();
    let pads = conv.attribute.remove(pads).ints;
    let given = std::mem::replace(&mut conv.input[0], "padded".to_string());
    g.initializer.push(i64s("amounts", &[0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]]));
    g.node.insert(at, node("Pad", "padded", &[&given, "amounts"], vec![]));
    model
}

/// A `PRelu` of one slope for each `LeakyRelu` of 0.125.
pub(crate) fn with_prelu(slopes: &[f32]) -> ModelProto {
    let mut model = leaky();
    let g = graph(&mut model);
    g.initializer.push(f32s("slope", &[slopes.len() as i64, 1, 1], slopes));
    for node in g.node.iter_mut().filter(|node| node.op_type == "LeakyRelu") {
        node.op_type = "PRelu".to_string();
        node.attribute.clear();
        node.input.push("slope".to_string());
    }
    model
}

fn leaky() -> ModelProto {
    let mut model = full(&heads::gemm_trans_b());
    let at = place_of(&mut model, "Relu");
    let node = &mut graph(&mut model).node[at];
    node.op_type = "LeakyRelu".to_string();
    node.attribute.push(AttributeProto {
        name: "alpha".to_string(),
        f: 0.125,
        r#type: AttributeType::Float as i32,
        ..Default::default()
    });
    model
}

#[test]
fn what_asks_the_rois_how_many_they_are_reads_what_is_pooled() {
    same("rois.size(0)", &viewed_by_the_rois(), &full(&heads::gemm_trans_b()));
}

#[test]
fn zeros_around_a_map_are_the_pads_of_its_convolutions() {
    same("Pad", &padded_apart(), &full(&heads::gemm_trans_b()));
    // What is not of zeros, not constant or not around the map stays a layer that there is none of.
    let mut valued = padded_apart();
    graph(&mut valued).initializer.push(f32s("value", &[], &[1.0]));
    let mut reflected = padded_apart();
    let mut channels = padded_apart();
    for (model, change) in [
        (
            &mut valued,
            &(|pad: &mut NodeProto| pad.input.push("value".to_string())) as &dyn Fn(&mut NodeProto),
        ),
        (&mut reflected, &|pad: &mut NodeProto| {
            pad.attribute.push(AttributeProto {
                name: "mode".to_string(),
                s: b"reflect".to_vec(),
                r#type: AttributeType::String as i32,
                ..Default::default()
            });
        }),
    ] {
        let at = place_of(model, "Pad");
        change(&mut graph(model).node[at]);
    }
    let amounts =
        graph(&mut channels).initializer.iter_mut().find(|tensor| tensor.name == "amounts").unwrap();
    *amounts = i64s("amounts", &[0, 1, 2, 2, 0, 0, 2, 2]);
    for model in [valued, reflected, channels] {
        let error = refusal(&model);
        assert!(error.contains("padded") && error.contains("with zeros"), "{error}");
    }
}

#[test]
fn a_slope_that_is_learned_is_one_for_all_channels() {
    same("PRelu", &with_prelu(&[0.125]), &leaky());
    same("PRelu of each", &with_prelu(&[0.125; 16]), &leaky());
    let mut slopes = [0.125; 16];
    slopes[15] = 0.25;
    let error = refusal(&with_prelu(&slopes));
    assert!(error.contains("PRelu") && error.contains("one for all"), "{error}");
}

#[test]
fn weights_may_be_listed_among_the_inputs() {
    for first in [false, true] {
        let mut model = example();
        let g = graph(&mut model);
        let mut weights: Vec<_> = g
            .initializer
            .iter()
            .map(|weight| {
                let mut info = g.input[0].clone();
                info.name.clone_from(&weight.name);
                info
            })
            .collect();
        if first {
            std::mem::swap(&mut weights, &mut g.input);
        }
        g.input.append(&mut weights);
        same("keep_initializers_as_inputs", &model, &example());
    }
}

#[test]
fn nodes_may_stand_in_any_order() {
    let reversed = |source: &frcnn_onnx::pb::ModelProto| {
        let mut model = full(source);
        graph(&mut model).node.reverse();
        model
    };
    // Branches come in another order then, and tract-onnx's run is what these are held to.
    for source in [heads::gemm_trans_b(), heads::reshape_computed(), trunks::resnet_like(), heads::sppnet()] {
        let [found, expected] = [reversed(&source), full(&source)].map(|model| {
            let mut bits = bits(&try_compile(&model).unwrap().bundle);
            bits.sort_unstable();
            bits
        });
        assert!(found == expected, "the weights differ");
    }
    // But none in a circle.
    let mut model = full(&heads::gemm_trans_b());
    let at = place_of(&mut model, "Relu");
    let g = graph(&mut model);
    let reads = g.node[at].input[0].clone();
    let made = g.node[at].output[0].clone();
    let maker = g.node.iter_mut().find(|node| node.output[0] == reads).unwrap();
    maker.input[0] = made;
    let error = refusal(&model);
    assert!(error.contains("reads what is made of its own output"), "{error}");
}

#[test]
fn a_node_may_have_the_name_of_another_s_output() {
    let mut model = example();
    let g = graph(&mut model);
    let names: Vec<String> = g.node.iter().map(|node| node.output[0].clone()).collect();
    for (node, name) in g.node.iter_mut().skip(1).zip(names) {
        node.name = name;
    }
    g.node[0].name.clear();
    same("names", &model, &example());
}

#[test]
fn a_batch_may_be_of_any_size() {
    for size in [
        Some(dimension::Value::DimParam("N".to_string())),
        Some(dimension::Value::DimValue(8)),
        Some(dimension::Value::DimValue(-1)),
        None,
    ] {
        let mut model = example();
        dims(&mut model)[0].value.clone_from(&size);
        same(&format!("{size:?}"), &model, &example());
    }
}

#[test]
fn other_outputs_than_scores_and_deltas_are_left_out() {
    let mut model = example();
    let g = graph(&mut model);
    let mut features = g.output[0].clone();
    features.name = "fc7".to_string();
    g.output.insert(1, features);
    same("features", &model, &example());
    // Where names do not tell.
    for output in &mut graph(&mut model).output {
        output.name = format!("{}_out", output.name);
    }
    let error = refusal(&model);
    assert!(
        error.contains("gives 3 (`") && error.contains("call them `cls_prob` and `bbox_pred`"),
        "{error}"
    );
}

/// Activations in the layers before them, as ONNX Runtime's level "extended" leaves them.
fn fused(model: &mut ModelProto) {
    model.opset_import.push(OperatorSetIdProto { domain: "com.microsoft".to_string(), version: 1 });
    let g = graph(model);
    let bounds = |name: &str| values(g.initializer.iter().find(|tensor| tensor.name == name).unwrap())[0];
    let mut fused = 0;
    let mut nodes: Vec<NodeProto> = Vec::new();
    for node in std::mem::take(&mut g.node) {
        let before = nodes.last_mut().filter(|before| {
            ["Conv", "Gemm"].contains(&&*before.op_type) && node.input.first() == before.output.first()
        });
        // Gemm is joined with no Clip.
        let before = before.filter(|before| before.op_type == "Conv" || node.op_type != "Clip");
        let (Some(before), "Relu" | "Clip" | "LeakyRelu") = (before, &*node.op_type) else {
            nodes.push(node);
            continue;
        };
        let attribute = |name: &str, r#type: AttributeType| AttributeProto {
            name: name.to_string(),
            r#type: r#type as i32,
            ..Default::default()
        };
        let mut activation = attribute("activation", AttributeType::String);
        activation.s = node.op_type.clone().into_bytes();
        before.attribute.push(activation);
        let numbers = match &*node.op_type {
            "Clip" => vec![bounds(&node.input[1]), bounds(&node.input[2])],
            "LeakyRelu" => vec![node.attribute[0].f],
            _ => Vec::new(),
        };
        if before.op_type == "Conv" && !numbers.is_empty() {
            let mut params = attribute("activation_params", AttributeType::Floats);
            params.floats = numbers;
            before.attribute.push(params);
        } else if let Some(&alpha) = numbers.first() {
            before
                .attribute
                .push(AttributeProto { f: alpha, ..attribute("activation_alpha", AttributeType::Float) });
        }
        before.op_type = format!("Fused{}", before.op_type);
        before.domain = "com.microsoft".to_string();
        before.output = node.output;
        fused += 1;
    }
    g.node = nodes;
    assert!(fused > 0);
}

#[test]
fn what_onnx_runtime_has_fused_is_taken_apart() {
    for (name, plain) in
        [("Clip", shared(false)), ("Relu", full(&heads::gemm_trans_b())), ("LeakyRelu", leaky())]
    {
        let mut model = plain.clone();
        fused(&mut model);
        same(name, &model, &plain);
    }
    // A sum with another map goes before the activation.
    let (mut g, data) = Graph::new("sum");
    let stem = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let branch = g.conv("conv2", &stem, Conv::same(16, 3));
    let sum = g.binary("Add", "sum", &branch, &stem.name);
    let top = g.relu(&sum);
    let pooled = g.roi_pool("pool5", &top, 3, 4);
    let flat = g.flatten("pool5_flat", &pooled, 3);
    let plain = full(&g.hidden_and_outputs(&flat));
    let mut model = plain.clone();
    model.opset_import.push(OperatorSetIdProto { domain: "com.microsoft".to_string(), version: 1 });
    let g = graph(&mut model);
    g.node.retain(|node| node.output[0] != "sum" && node.output[0] != top.name);
    let conv = g.node.iter_mut().find(|node| node.output[0] == "conv2").unwrap();
    conv.op_type = "FusedConv".to_string();
    conv.domain = "com.microsoft".to_string();
    conv.input.push(stem.name.clone());
    conv.output[0].clone_from(&top.name);
    conv.attribute.push(AttributeProto {
        name: "activation".to_string(),
        s: b"Relu".to_vec(),
        r#type: AttributeType::String as i32,
        ..Default::default()
    });
    same("a sum", &model, &plain);
}

#[test]
fn what_else_is_onnx_runtime_s_own_is_refused_with_what_to_do() {
    for (domain, op) in [("com.microsoft", "QuickGelu"), ("com.microsoft.nchwc", "Conv")] {
        let mut model = full(&heads::gemm_trans_b());
        let at = place_of(&mut model, "Conv");
        let node = &mut graph(&mut model).node[at];
        (node.domain, node.op_type) = (domain.to_string(), op.to_string());
        let error = refusal(&model);
        for word in [domain, op, "optimised by ONNX Runtime", "ORT_ENABLE_BASIC"] {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
    // An activation that is not known.
    let mut model = full(&heads::gemm_trans_b());
    fused(&mut model);
    for attribute in graph(&mut model).node.iter_mut().flat_map(|node| &mut node.attribute) {
        if attribute.name == "activation" {
            attribute.s = b"Tanh".to_vec();
        }
    }
    assert!(refusal(&model).contains("ORT_ENABLE_BASIC"));
}

/// Pixels as they are.
fn bytes() -> Manifest {
    Manifest { pixel_means: [0.0; 3], ..manifest() }
}

fn compiled(model: &ModelProto, manifest: &Manifest) -> Result<Compiled, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    compile(&path, manifest, &Options::default(), &mut |_| {}).map_err(|error| error.to_string())
}

#[test]
fn an_image_may_be_of_bytes_and_channels_last() {
    let plain = full(&heads::gemm_trans_b());
    let expected = compiled(&plain, &bytes()).unwrap();
    for (is_bytes, is_last, cast_first) in
        [(true, false, true), (false, true, true), (true, true, true), (true, true, false)]
    {
        let mut model = plain.clone();
        let mut steps = Vec::new();
        if is_bytes {
            steps.push(("Cast", int("to", DataType::Float as i64)));
            element_type(&mut graph(&mut model).input[0], DataType::Uint8);
        }
        if is_last {
            steps.push(("Transpose", ints("perm", &[0, 3, 1, 2])));
            dims(&mut model)[1..].rotate_left(1);
        }
        if !cast_first {
            steps.reverse();
        }
        let g = graph(&mut model);
        let mut given = "data".to_string();
        for (place, (op, attribute)) in steps.into_iter().enumerate() {
            let made = format!("step{place}");
            for node in g.node.iter_mut().skip(place) {
                node.input
                    .iter_mut()
                    .filter(|input| **input == given)
                    .for_each(|input| input.clone_from(&made));
            }
            g.node.insert(place, node(op, &made, &[&given], vec![attribute]));
            given = made;
        }
        let found = compiled(&model, &bytes()).unwrap();
        let what = format!("bytes {is_bytes}, channels last {is_last}");
        assert!(bits(&found.bundle) == bits(&expected.bundle), "{what}");
        assert_eq!(found.bundle.contents().blob_means, expected.bundle.contents().blob_means, "{what}");
        // The published means are none of bytes.
        let refused = compiled(&model, &manifest());
        assert_eq!(refused.is_err(), is_bytes, "{what}");
        if let Err(error) = refused {
            assert!(error.contains("model.onnx") && error.contains("\"pixel_means\": [0, 0, 0]"), "{error}");
        }
    }
}

#[test]
fn what_is_no_onnx_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (b"PK\x03\x04\x14\x00model/data.pkl", "torch.save"),
        (b"\x80\x02}q\x00", "torch.save"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x1c\x00\x00\x00ORTM", ".ort"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"\x89FRCNN\r\n", "a bundle already"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = compile(&path, &manifest(), &Options::default(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("model.onnx") && error.contains(words), "{error}");
    }
}
