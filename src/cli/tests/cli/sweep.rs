//! `frcnn sweep`, and `frcnn compile --svd auto`.

use std::fs;

use serde_json::Value;

use crate::dataset::voc;
use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

#[test]
fn every_setting_is_measured_and_the_smallest_that_loses_nothing_recommended() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "sweep");
    let (model, manifest, boxes) =
        (fixture.path("model.onnx"), fixture.path("small.json"), root.join("boxes.json"));
    let (csv, plot) = (root.join("sweep.csv"), root.join("sweep.svg"));
    let data = ["--manifest", &manifest, "--data", text(&root), "--proposals", text(&boxes)];
    let sweep = |more: &[&str]| frcnn(&[&["sweep", &model], &data[..], more].concat());
    let files = ["--csv", text(&csv), "--plot", text(&plot), "--max-drop", "100", "--json"];
    let output = sweep(&[&["--ranks", "fc6=32,8", "fc7=4"], &files[..]].concat());
    assert!(output.status.success(), "{}", crate::fixture::stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let settings: Vec<&str> = rows.iter().map(|row| row["setting"].as_str().unwrap()).collect();
    assert_eq!(settings, ["not factored", "fc6=32 fc7=4", "fc6=8 fc7=4"]);
    for pair in rows.windows(2) {
        for figure in ["parameters", "file_bytes"] {
            assert!(pair[0][figure].as_u64() > pair[1][figure].as_u64(), "{figure}: {report}");
        }
    }
    assert!(rows.iter().all(|row| row["head_ms"].as_f64() < row["total_ms"].as_f64()), "{report}");
    assert_eq!((&report["recommended"], &report["images"]), (&2.into(), &2.into()));
    let csv = fs::read_to_string(csv).unwrap();
    assert!(csv.lines().count() == 4 && csv.lines().last().unwrap().ends_with(",true"), "{csv}");
    assert!(fs::read_to_string(plot).unwrap().contains("fc6=8 fc7=4 (recommended)"));

    fails(&sweep(&["--ranks", "fc6"]), 2, &["--ranks", "LAYER=RANK"]);
    fails(&sweep(&["--ranks", "fc6=0"]), 1, &["model.onnx: ", "rank 0"]);
    fails(&sweep(&["--ranks", "fc9=8"]), 1, &["no fully connected layer `fc9`"]);
    fails(&sweep(&[]), 2, &["--ranks"]);
    fails(&sweep(&["--energies", "0.9", "--plot", "a.gif"]), 2, &["a.gif"]);
}

#[test]
fn auto_takes_what_the_data_allow() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "auto");
    let (model, manifest, boxes) =
        (fixture.path("model.onnx"), fixture.path("small.json"), root.join("boxes.json"));
    let bundle = root.join("auto.frcnn");
    let compile = ["compile", &model, "-o", text(&bundle), "--manifest", &manifest, "--svd", "auto"];
    let data = ["--data", text(&root), "--proposals", text(&boxes), "--max-drop", "100"];
    let table = stdout(&succeed(&[&compile[..], &data].concat()));
    assert!(table.contains("recommended") && table.contains("fc6_L"), "{table}");
    // Any loss is allowed, so it is the least energy that is tried.
    let inspected: Value =
        serde_json::from_str(&stdout(&succeed(&["inspect", text(&bundle), "--json"]))).unwrap();
    let energies: Vec<f64> = inspected["factored"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["energy"].as_f64().unwrap())
        .collect();
    assert!(
        !energies.is_empty() && energies.iter().all(|energy| (0.5..0.6).contains(energy)),
        "{energies:?}"
    );
    fails(&frcnn(&compile), 2, &["--data"]);
    let ranks = ["--svd", "fc6=8", "--data", text(&root)];
    fails(&frcnn(&[&compile[..6], &ranks].concat()), 2, &["--data is for --svd auto"]);
}
