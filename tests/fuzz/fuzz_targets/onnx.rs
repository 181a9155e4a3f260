//! ONNX models, compiled.
#![no_main]

// Models of every kind that the compiler takes, and some that it refuses.
#[path = "../../../model-export/compiler/tests/common/mod.rs"]
mod common;

use frcnn_bundle::Manifest;
use frcnn_compiler::{Options, Svd, compile};
use frcnn_fuzz::folder::Folder;
use frcnn_fuzz::{caught_panics_are_no_findings, seed};
use libfuzzer_sys::fuzz_target;
use prost::Message;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fn manifest() -> Manifest {
    // The background is one more.
    let classes = common::graph::CLASSES as usize + 1;
    let mut manifest = Manifest::new((0..classes).map(|i| format!("class{i}")).collect());
    manifest.scales = vec![32];
    manifest.max_long_side = 64;
    manifest
}

fuzz_target!(
    init: {
        seed(|| {
            let detector = common::detector::text(&common::detector::Numbers::default());
            let detector = common::nodes::model(&detector, &["boxes", "labels", "scores"]);
            let good = common::good().map(|(name, model)| (format!("{name}.onnx"), model().encode_to_vec()));
            good.chain([("detector.onnx".to_string(), detector.encode_to_vec())]).collect()
        });
        // What tract panics on is to be caught and named.
        caught_panics_are_no_findings();
    },
    |model: &[u8]| {
        let svd = if model.len() % 4 == 0 { Svd::Energy(0.9) } else { Svd::None };
        let path = FOLDER.with(|folder| folder.write("model.onnx", model));
        let _ = compile(&path, &manifest(), &Options { svd, ..Options::default() }, &mut |_| {});
    }
);
