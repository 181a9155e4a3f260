//! SPPnet and R-CNN through every command that takes a bundle.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, json_lines, stdout, succeed, text};

/// A new network of `method`, compiled; the manifest is `change`d before.
fn compiled(folder: &Path, method: &str, change: impl Fn(&mut Value)) -> String {
    let [onnx, manifest, svm, bundle] =
        ["model.onnx", "manifest.json", "svm.safetensors", "model.frcnn"].map(|name| folder.join(name));
    succeed(&["new", "--arch", "squeezenet", "--method", method, "--classes", "3", "-o", text(&onnx)]);
    let mut json: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert_eq!((&json["scores"], &json["score_threshold"]), (&"margins".into(), &Value::from(-1.0)));
    change(&mut json);
    fs::write(&manifest, json.to_string()).unwrap();
    let of_method = if method == "rcnn" { vec!["--method", "rcnn", "--svm", text(&svm)] } else { vec![] };
    succeed(&[&["compile", text(&onnx), "-o", text(&bundle)], &of_method[..]].concat());
    text(&bundle).to_string()
}

#[test]
fn every_command_runs_them() {
    let fixture = Fixture::get();
    for (method, name, words) in [
        ("sppnet", "sppnet", "6 x 6, 3 x 3, 2 x 2, 1 x 1, spatial scale 0.125"),
        ("rcnn", "r-cnn", "warped to 227 x 227, 16 of it context"),
    ] {
        let folder = fixture.fresh(method);
        let bundle = compiled(&folder, method, |manifest| manifest["scales"] = vec![96, 128].into());
        let table = stdout(&succeed(&["inspect", &bundle]));
        assert!(table.contains(words) && table.contains(name) && table.contains("margins"), "{table}");
        let json: Value = serde_json::from_str(&stdout(&succeed(&["inspect", &bundle, "--json"]))).unwrap();
        assert_eq!((&json["method"], &json["cost"]["method"]), (&name.into(), &name.into()));

        let boxes = folder.join("boxes.json");
        fs::write(&boxes, r#"{"a": [[10, 10, 60, 60], [0, 0, 119, 89], [50, 20, 90, 80]]}"#).unwrap();
        let photo = fixture.path("photos/a.png");
        let detect = |threshold: &str| {
            let threshold = ["--score-threshold", threshold];
            let usual = ["detect", &bundle, &photo, "--json", "--proposals", text(&boxes)];
            json_lines(&succeed(&[&usual[..], &threshold].concat()))[0]["detections"]
                .as_array()
                .unwrap()
                .clone()
        };
        let all = detect("-100");
        assert!(all.len() >= 3 && all.len() > detect("100").len(), "{all:?}");
        let scores: Vec<f64> = all.iter().map(|found| found["score"].as_f64().unwrap()).collect();
        assert!(scores.iter().any(|score| !(0.0..=1.0).contains(score)), "no margin: {scores:?}");
        let out = folder.join("out");
        succeed(&[
            "detect",
            &bundle,
            &photo,
            "--proposals",
            text(&boxes),
            "--score-threshold",
            "-100",
            "--out",
            text(&out),
        ]);
        assert!(out.join("a.png").exists());

        let bench = ["bench", &bundle, "--runs", "1", "--rois", "5", "--size", "90x120", "--json"];
        let report: Value = serde_json::from_str(&stdout(&succeed(&bench))).unwrap();
        for stage in ["trunk", "roi_pool", "head"] {
            assert!(report["stages"][stage]["p50_ms"].as_f64().unwrap() > 0.0, "{stage}: {report}");
        }
        if method == "rcnn" {
            assert_eq!(report["blob"], serde_json::json!([[90, 120]]));
        }
    }
}

#[test]
fn mistakes_are_named() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("predecessors-errors");
    compiled(&folder, "rcnn", |_| {});
    let [onnx, svm, bundle] =
        ["model.onnx", "svm.safetensors", "b.frcnn"].map(|name| text(&folder.join(name)).to_string());
    let compile = |more: &[&str]| frcnn(&[&["compile", &onnx, "-o", &bundle], more].concat());
    fails(&compile(&[]), 1, &["model.onnx", "no MaxRoiPool"]);
    fails(&compile(&["--method", "rcnn"]), 2, &["--svm"]);
    fails(&compile(&["--svm", &svm]), 2, &["--method"]);
    fails(&compile(&["--method", "rcnn", "--svm", &onnx]), 1, &["model.onnx", "not a safetensors file"]);
    let rcnn = ["--method", "rcnn", "--svm", &svm];
    fails(&compile(&[&rcnn[..], &["--svd", "auto", "--data", "x"]].concat()), 2, &["--svd auto"]);
    // What the manifest leaves out is what suits SVMs; what it says must.
    let manifest = folder.join("manifest.json");
    let classes = r#""classes": ["bg", "a", "b", "c"]"#;
    fs::write(&manifest, format!("{{{classes}}}")).unwrap();
    assert!(compile(&rcnn).status.success());
    fs::write(&manifest, format!(r#"{{{classes}, "scores": "probabilities"}}"#)).unwrap();
    fails(&compile(&rcnn), 1, &["manifest.json", "margins"]);
    fs::write(&manifest, r#"{"classes": ["bg", "a"]}"#).unwrap();
    fails(&compile(&rcnn), 1, &["scores 4 classes", "names 2"]);
    // The SVMs of another network must not be lost either.
    let new = ["new", "--arch", "squeezenet", "--method", "rcnn", "--classes", "2", "-o"];
    let other = text(&folder.join("other.onnx")).to_string();
    fs::remove_file(&manifest).unwrap();
    fails(&frcnn(&[&new[..], &[&other]].concat()), 1, &["svm.safetensors: exists and differs"]);
    assert!(!folder.join("other.onnx").exists());
}
