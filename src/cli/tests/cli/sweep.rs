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
    // Any loss is allowed.
    let fastest = rows.iter().map(|row| row["total_ms"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(rows[report["fastest"].as_u64().unwrap() as usize]["total_ms"], fastest);
    let csv = fs::read_to_string(csv).unwrap();
    assert!(csv.lines().count() == 4 && csv.lines().last().unwrap().contains(",true,"), "{csv}");
    assert!(fs::read_to_string(plot).unwrap().contains("fc6=8 fc7=4 (recommended"));
    // Without a terminal a line for each that is measured.
    let told = crate::fixture::stderr(&output);
    for line in [
        "sweep: 1 of 3: not factored: mAP ",
        "sweep: fc6=8 fc7=4: compiling",
        "sweep: 3 of 3: fc6=8 fc7=4: mAP ",
    ] {
        assert!(told.contains(line), "`{line}` is not in: {told}");
    }

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

/// Rows of a CSV by setting, without what tells the recommended and the fastest, which more rows change.
fn settings(csv: &std::path::Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(csv).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].to_string(), [&fields[1..10], &fields[12..]].concat().join(","))
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn a_sweep_goes_on_behind_what_its_csv_has_and_refuses_another() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "resumed");
    let (model, manifest, boxes) =
        (fixture.path("model.onnx"), fixture.path("small.json"), root.join("boxes.json"));
    let csv = root.join("sweep.csv");
    let sweep_of = |data: &std::path::Path, manifest: &str, more: &[&str]| {
        let data =
            ["--manifest", manifest, "--data", text(data), "--proposals", text(&boxes), "--csv", text(&csv)];
        frcnn(&[&["sweep", &model], &data[..], more].concat())
    };
    let sweep = |more: &[&str]| sweep_of(&root, &manifest, more);
    let first = sweep(&["--ranks", "fc6=32"]);
    assert!(first.status.success(), "{}", crate::fixture::stderr(&first));
    let known = settings(&csv);
    assert_eq!(known.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["not factored", "fc6=32"]);
    let table = stdout(&first);
    assert!(table.contains(" smallest  ") && table.contains(" fastest   "), "{table}");

    // As a command that was ended after its first row left it.
    let whole = fs::read_to_string(&csv).unwrap();
    fs::write(&csv, whole.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let resumed = sweep(&["--ranks", "fc6=32,8", "--json"]);
    let told = crate::fixture::stderr(&resumed);
    assert!(
        resumed.status.success() && told.contains("sweep: 1 setting of ") && !told.contains("1 of 3"),
        "{told}"
    );
    let rows = settings(&csv);
    assert_eq!(
        rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
        ["not factored", "fc6=32", "fc6=8"]
    );
    // To the microsecond: not measured again. What was lost is, with the same score.
    assert_eq!(rows[0], known[0]);
    let report: Value = serde_json::from_str(&stdout(&resumed)).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 3);

    // All is known: nothing runs, and the file stays but for what is recommended.
    let again = sweep(&["--ranks", "fc6=8", "--max-drop", "100"]);
    assert!(!crate::fixture::stderr(&again).contains("mAP") && settings(&csv) == rows);

    // What it is not of is refused with the reason, and stays.
    let before = fs::read(&csv).unwrap();
    let mut other: Value = serde_json::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
    other["nms_iou"] = 0.4.into();
    let other_manifest = root.join("other.json");
    fs::write(&other_manifest, other.to_string()).unwrap();
    let refused = sweep_of(&root, text(&other_manifest), &["--ranks", "fc6=8"]);
    fails(&refused, 1, &["sweep.csv: is of another model or manifest", "remove it, or name another file"]);
    let other_data = voc(&fixture, "resumed-other");
    crate::dataset::annotate(&other_data, "a", "class2");
    fails(
        &sweep_of(&other_data, &manifest, &["--ranks", "fc6=8"]),
        1,
        &["sweep.csv: is of another data set"],
    );
    fails(
        &sweep(&["--ranks", "fc6=8", "--threads", "1"]),
        1,
        &["times of another machine or number of threads"],
    );
    fails(&sweep(&["--cascade", "8", "--keep", "0.1"]), 1, &["sweep.csv: its first row", "over cascades"]);
    assert_eq!(fs::read(&csv).unwrap(), before);
    fs::write(&csv, "setting,map\n").unwrap();
    fails(&sweep(&["--ranks", "fc6=8"]), 1, &["sweep.csv: is no CSV that this version of `frcnn sweep`"]);
}
