//! What `emit_onnx` writes: the same network, for the compiler and for ONNX Runtime.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::onnxruntime::Input;
use frcnn_bundle::{Bundle, Contents, Manifest, Op};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::{
    Compiled, Description, Options, Precision, Svd, compile, description_of, emit_onnx, onnx_writer,
};
use frcnn_core::{largest_difference, relative_difference};
use frcnn_onnx::pb::ModelProto;

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(["__background__", "a", "b", "c"].map(str::to_string).to_vec());
    manifest.scales = vec![240];
    manifest
}

/// Writes the model into `folder` and compiles it.
fn compile_in(folder: &Path, name: &str, model: &ModelProto, options: &Options) -> Compiled {
    let path = folder.join(name).with_extension("onnx");
    onnx_writer::write(model, &path).unwrap();
    compile(&path, &manifest(), options, &mut |_| {}).unwrap()
}

fn again(bundle: &Bundle) -> Arc<Bundle> {
    let folder = tempfile::tempdir().unwrap();
    compile_in(folder.path(), "again", &emit_onnx(bundle).unwrap(), &Options::default()).bundle
}

/// Models that compile and are written: `same_upper` pads by an amount that depends on the image.
fn good() -> impl Iterator<Item = common::Case> {
    common::good().filter(|(name, _)| *name != "same_upper")
}

/// All of a bundle but names, and the ONNX file that it was made of.
fn unnamed(bundle: &Bundle) -> Contents {
    let mut contents = bundle.contents().clone();
    contents.origin.onnx_sha256 = [0; 32];
    contents.manifest.name.clear();
    let Contents { trunk, head, rpn, sections, .. } = &mut contents;
    let graphs = [trunk, head].into_iter().chain(rpn.as_mut().map(|rpn| &mut rpn.graph));
    graphs.flat_map(|graph| &mut graph.layers).for_each(|layer| layer.name.clear());
    sections.iter_mut().for_each(|section| section.name.clear());
    contents
}

/// Of what torchvision exported whole come the parts, and a manifest that says the rest.
#[test]
fn a_whole_detector_is_emitted_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts, json] =
        ["whole.onnx", "parts.onnx", "manifest.json"].map(|name| folder.path().join(name));
    let text = common::detector::text(&common::detector::Numbers::default());
    let model = common::nodes::model(&text, &["boxes", "labels", "scores"]);
    std::fs::write(&whole, prost::Message::encode_to_vec(&model)).unwrap();
    let compiled = |path: &Path, description: Description| {
        compile(path, description, &Options::default(), &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"))
            .bundle
    };
    let first = compiled(&whole, Description::default());
    let emitted = emit_onnx(&first).unwrap();
    let graph = emitted.graph.as_ref().unwrap();
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let of_rpn = (0..3).flat_map(|map| [format!("rpn_logits.{map}"), format!("rpn_deltas.{map}")]);
    let expected: Vec<String> =
        ["cls_prob", "bbox_pred"].map(str::to_string).into_iter().chain(of_rpn).collect();
    assert_eq!(outputs, expected);
    assert_eq!(graph.node.iter().filter(|node| node.op_type == "RoiAlign").count(), 2);
    onnx_writer::write(&emitted, &parts).unwrap();
    std::fs::write(&json, description_of(first.contents()).unwrap()).unwrap();
    let second = compiled(&parts, Description::load(&json).unwrap());
    assert_eq!(unnamed(&first), unnamed(&second));
    assert!(bits(&first) == bits(&second), "the weights differ");
}

fn bits(bundle: &Bundle) -> Vec<u32> {
    let sections = 0..bundle.contents().sections.len() as u32;
    sections.flat_map(|id| bundle.weights_as_f32(id).into_owned()).map(|weight| weight.to_bits()).collect()
}

#[test]
fn what_was_emitted_compiles_to_the_same_bundle() {
    for (name, model) in good() {
        let folder = tempfile::tempdir().unwrap();
        let first = compile_in(folder.path(), name, &model(), &Options::default()).bundle;
        let second = again(&first);
        // All but the hash of the ONNX file that it was made from; this compares sections by their hashes, too.
        let origin = first.contents().origin.clone();
        assert_eq!(first.contents(), &Contents { origin, ..second.contents().clone() }, "{name}");
        assert!(bits(&first) == bits(&second), "{name}: the weights differ");
    }
}

/// Other runtimes get the very values that the device multiplies.
#[test]
fn rounded_weights_are_emitted_as_f32() {
    for precision in [Precision::F16, Precision::Bf16] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { precision, ..Options::default() };
        let rounded = compile_in(folder.path(), "model", &common::heads::gemm_trans_b(), &options).bundle;
        let again = again(&rounded);
        assert_eq!(
            (rounded.contents().precision(), again.contents().precision()),
            (precision, Precision::F32)
        );
        assert!(bits(&rounded) == bits(&again), "{precision:?}: the weights differ");
    }
}

#[test]
fn factored_layers_are_emitted_as_two() {
    let folder = tempfile::tempdir().unwrap();
    let svd = Svd::parse_ranks("fc6=7,fc7=5").unwrap();
    let model = common::heads::gemm_trans_b();
    let first = compile_in(folder.path(), "model", &model, &Options { svd, ..Options::default() }).bundle;
    let names: Vec<String> =
        emit_onnx(&first).unwrap().graph.unwrap().node.into_iter().map(|node| node.name).collect();
    assert!(["fc6_L", "fc6_U", "fc7_L", "fc7_U"].iter().all(|name| names.contains(&name.to_string())));

    let second = again(&first);
    assert!(bits(&first) == bits(&second), "the weights differ");
    let gemms = |bundle: &Bundle| {
        let layers = bundle.contents().head.layers.clone().into_iter();
        layers.filter(|layer| matches!(layer.op, Op::Gemm(_))).collect::<Vec<_>>()
    };
    let (first, second) = (gemms(&first), gemms(&second));
    // The compiler names hidden layers by their order.
    assert_eq!(second.iter().map(|l| &*l.name).collect::<Vec<_>>()[..4], ["fc6", "fc7", "fc8", "fc9"]);
    assert_eq!(first.len(), second.len());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((&a.op, &a.inputs), (&b.op, &b.inputs));
    }
}

#[test]
fn onnx_runtime_computes_the_same() {
    let Some(python) = frcnn_testkit::python("onnxruntime", "numpy, onnx, onnxruntime") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input = Input::new();

    let compiled = |(name, model): (&str, ModelProto), svd| {
        (name.to_string(), compile_in(folder, name, &model, &Options { svd, ..Options::default() }))
    };
    let squeezenet = || ("squeezenet", new_model(Arch::SqueezeNet, 3, 0).unwrap().onnx);
    let svd = Svd::parse_ranks("fc6=40,fc7=20").unwrap();
    let mut models: Vec<(String, Compiled)> =
        good().map(|(name, model)| compiled((name, model()), Svd::None)).collect();
    models.push(compiled(squeezenet(), Svd::None));
    let (_, factored) = compiled(squeezenet(), svd);
    let drift = factored.report.drift.clone().unwrap();
    models.push(("factored".to_string(), factored));
    let paths: Vec<_> = models.iter().map(|(name, _)| folder.join(format!("{name}_emitted.onnx"))).collect();
    for (path, (_, compiled)) in paths.iter().zip(&models) {
        onnx_writer::write(&emit_onnx(&compiled.bundle).unwrap(), path).unwrap();
    }
    let mut read: Vec<(PathBuf, &Bundle)> =
        paths.into_iter().zip(models.iter().map(|(_, compiled)| &*compiled.bundle)).collect();
    let (_, factored) = &read[read.len() - 1];
    read.push((folder.join("squeezenet.onnx"), factored));
    let outputs = input.referee(&python, folder, &read, true);

    for (outputs, (name, compiled)) in outputs.iter().zip(&models) {
        for (found, expected) in outputs.iter().zip(input.run(&compiled.bundle)) {
            // Sums of up to 18,432 products, added up in another order.
            let difference = relative_difference(found, &expected);
            assert!(difference <= 1e-4, "{name}: off by {difference:e} of the largest");
        }
    }
    let [.., factored, whole] = &outputs[..] else { panic!("no outputs") };
    for (found, expected, drift) in
        [(&factored[0], &whole[0], drift.cls_prob), (&factored[1], &whole[1], drift.bbox_pred)]
    {
        // The report looked at other RoIs, and half as many: its largest change says how large changes are, no more.
        let difference = largest_difference(found, expected);
        assert!(difference > drift / 4.0 && difference < drift * 4.0, "{difference:e}, drift {drift:e}");
    }
}
