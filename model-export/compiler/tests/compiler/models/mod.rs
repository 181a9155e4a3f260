//! Models as people have them: what exporters, converters and caches make of the same network compiles to the same bundle,
//! and what would compute something else is refused by name.
//!
//! - [`widths`]: real numbers of every width, constants of every form.
//! - [`exporters`]: what exporters and optimisers write of the same layers.
//! - [`endings`]: how a head ends in a row of features.
//! - [`files_beside`]: weights in files of their own.
//! - [`refusals`]: what is refused.

mod endings;
mod exporters;
mod files_beside;
mod refusals;
mod widths;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::common::onnxruntime::Input;
use crate::common::people::*;
use crate::common::{heads, trunks};
use frcnn_bundle::Bundle;
use frcnn_core::relative_difference;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, OperatorSetIdProto};

use endings::endings;
use widths::shared;

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
    // Before operator set 16 it says nothing of corners, and takes no half cell from them.
    let mut aligned = full(&heads::roi_align());
    assert_eq!(aligned.opset_import[0].version, 16);
    aligned.opset_import[0].version = 13;
    cases.push(("RoiAlign of set 13".to_string(), aligned.clone(), aligned));
    for (name, model) in [
        ("rois.size(0)", exporters::viewed_by_the_rois()),
        ("Pad", exporters::padded_apart()),
        ("PRelu", exporters::with_prelu(&[0.125])),
    ] {
        cases.push((name.to_string(), model.clone(), model));
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
    let outputs = input.referee(&python, folder.path(), &models, true);
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
