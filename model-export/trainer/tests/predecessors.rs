//! SPPnet and R-CNN, trained on a few drawn images: all their stages, and that a stage is done once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn run(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frcnn-train"));
    let output = command.env("OMP_WAIT_POLICY", "passive").args(args).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn ok(args: &[&str]) {
    let (succeeded, said) = run(args);
    assert!(succeeded, "{args:?}: {said}");
}

/// The names in `stages.jsonl`.
fn stages(run_dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(run_dir.join("stages.jsonl")).unwrap();
    let stage = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["stage"].as_str().unwrap().to_string()
    };
    text.lines().map(stage).collect()
}

fn train(method: &str, expected: &[&str], files: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (data, run_dir) = (folder.path().join("data"), folder.path().join("run"));
    let (data, out) = (data.to_str().unwrap(), run_dir.to_str().unwrap());
    ok(&["synth", data, "--images", "5", "--seed", "3"]);
    let small =
        ["--arch", "tiny", "--scales", "120", "--lr", "0.01", "--iterations", "4", "--rois-per-image", "16"];
    ok(&[&["fit", "--method", method, "--data", data, "--out", out], &small[..]].concat());
    assert_eq!(stages(&run_dir), expected);
    for file in files {
        assert!(run_dir.join(file).is_file(), "{file}");
    }

    // What is done is not done again, and what is missing is.
    let svms = fs::read(run_dir.join("svms.safetensors")).unwrap();
    for file in ["svms.safetensors", "model.onnx"] {
        fs::remove_file(run_dir.join(file)).unwrap();
    }
    ok(&["fit", "--resume", "--out", out]);
    assert_eq!(stages(&run_dir)[expected.len()..], ["svms", "export"]);
    assert!(fs::read(run_dir.join("svms.safetensors")).unwrap() == svms, "the SVMs differ");

    let (succeeded, said) = run(&["export", out, "-o", "never.onnx"]);
    assert!(!succeeded && said.contains("model.onnx"), "{said}");
    let (succeeded, said) =
        run(&["fit", "--method", method, "--data", data, "--arch", "tiny", "--out", "never", "--fc-only"]);
    assert!(!succeeded && said.contains("--method"), "{said}");
}

#[test]
fn sppnet() {
    let expected = ["pool", "fine-tune", "features", "svms", "boxes", "export"];
    train("sppnet", &expected, &["model.onnx", "manifest.json", "pooled.f32", "fc7.f32", "pool5.f32"]);
}

#[test]
fn r_cnn() {
    let expected = ["fine-tune", "features", "svms", "boxes", "export"];
    train("rcnn", &expected, &["model.onnx", "manifest.json", "svm.safetensors", "fc7.f32", "pool5.f32"]);
}
