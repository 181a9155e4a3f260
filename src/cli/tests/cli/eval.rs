//! `frcnn eval`.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::dataset::{annotate, voc};
use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// `eval` with the fixture's bundle on a data set of [`voc`].
fn eval(fixture: &Fixture, root: &Path, more: &[&str]) -> Output {
    let (bundle, boxes) = (fixture.path("model.frcnn"), root.join("boxes.json"));
    frcnn(&[&["eval", &bundle, "--data", text(root), "--proposals", text(&boxes)], more].concat())
}

#[test]
fn scores_do_not_depend_on_how_the_run_was_made() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "eval");
    let part = |name: &str| text(&root.join(name)).to_string();
    let whole = json(&eval(&fixture, &root, &["--json", "--threads", "1"]));
    assert_eq!((&whole["images"], &whole["objects"]), (&2.into(), &2.into()));
    assert!(whole["detections"].as_u64().unwrap() > 0);
    // An object of class3 is nowhere, so it has no score and is in no mean.
    let class3 = whole["voc"]["classes"].as_array().unwrap().iter().find(|c| c["name"] == "class3").unwrap();
    assert_eq!((&class3["objects"], &class3["ap10"]), (&0.into(), &Value::Null));
    assert!(whole["voc"]["map07"].is_f64() && whole["coco"]["summary"]["ap"].is_f64());

    let [one, two] = [part("1.jsonl"), part("2.jsonl")];
    for (shard, file) in [("1/2", &one), ("2/2", &two)] {
        let output = eval(&fixture, &root, &["--shard", shard, "--run", file]);
        assert!(stdout(&output).contains("1 image;") && output.status.success(), "{}", stdout(&output));
    }
    let merged = succeed(&["eval", "merge", &one, &two, "--data", text(&root), "--json"]);
    assert_eq!(json(&merged), whole);
    let half = frcnn(&["eval", "merge", &two, "--data", text(&root)]);
    fails(&half, 1, &["2.jsonl: 1 of the data set's 2 images are missing, `a` among them"]);

    // What was interrupted in a line goes on before it.
    let run = part("run.jsonl");
    assert_eq!(json(&eval(&fixture, &root, &["--json", "--run", &run])), whole);
    let bytes = fs::read(&run).unwrap();
    fs::write(&run, &bytes[..bytes.len() - 9]).unwrap();
    assert_eq!(json(&eval(&fixture, &root, &["--json", "--run", &run])), whole);
    fails(
        &eval(&fixture, &root, &["--run", &run, "--split", "absent"]),
        1,
        &["absent.txt: ", "the splits are test"],
    );
    fs::write(root.join("ImageSets/Main/other.txt"), "a\n").unwrap();
    fails(
        &eval(&fixture, &root, &["--run", &run, "--split", "other"]),
        1,
        &["run.jsonl: is of another run", "number of images"],
    );
    fails(&eval(&fixture, &root, &["--shard", "3/2", "--run", &run]), 2, &["--shard", "3/2"]);
    fails(&eval(&fixture, &root, &["--shard", "1/2"]), 2, &["--run"]);
}

#[test]
fn boxes_are_as_wide_as_the_manifest_says() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "widths");
    let manifest = fs::read_to_string(fixture.path("small.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    // Corners are edges where both offsets are 0; the original coder has a box_width_offset of 0 alone.
    for (of_boxes, of_nms, offset) in [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 1.0)] {
        manifest["box_width_offset"] = of_boxes.into();
        manifest["nms_width_offset"] = of_nms.into();
        let file = |name: &str| text(&root.join(format!("{of_boxes}{of_nms}{name}"))).to_string();
        fs::write(file(".json"), manifest.to_string()).unwrap();
        let (bundle, saved) = (file(".frcnn"), file("-saved.json"));
        let boxes = text(&root.join("boxes.json")).to_string();
        succeed(&["compile", &fixture.path("model.onnx"), "-o", &bundle, "--manifest", &file(".json")]);
        let eval = ["eval", &bundle, "--data", text(&root), "--proposals", &boxes, "--save", &saved];
        succeed(&eval);
        let found =
            succeed(&["detect", &bundle, &fixture.path("photos/a.png"), "--proposals", &boxes, "--json"]);
        let numbers = |list: &Value| -> Vec<f64> {
            list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let mut found: Vec<Vec<f64>> = json(&found)["detections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| numbers(&one["box"]))
            .map(|corners| {
                let side = |axis: usize| corners[axis + 2] - corners[axis] + offset;
                vec![corners[0], corners[1], side(0), side(1)]
            })
            .collect();
        let saved: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
        let of_a = |one: &&Value| one["image_id"] == "a";
        let mut saved: Vec<Vec<f64>> =
            saved.as_array().unwrap().iter().filter(of_a).map(|one| numbers(&one["bbox"])).collect();
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        saved.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(saved.len(), found.len());
        assert!(!found.is_empty());
        for (saved, found) in saved.iter().flatten().zip(found.iter().flatten()) {
            assert!((saved - found).abs() < 1e-4, "{saved} {found}, width offset {offset}");
        }
    }
}

#[test]
fn what_is_saved_scores_the_same() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "save");
    let (results, page) = (root.join("results.json"), root.join("page.html"));
    let more = ["--json", "--save", text(&results), "--html", text(&page), "--html-score", "0"];
    let first = json(&eval(&fixture, &root, &more));
    let page = fs::read_to_string(page).unwrap();
    for words in [
        "class1",
        "<svg",
        "data:image/png;base64,",
        "class=\"mark wrong\"",
        "class=\"label wrong\"",
        "Best thresholds",
        "Confusion matrix",
        "Worst images",
        "Best images",
    ] {
        assert!(page.contains(words), "`{words}` is not in the page");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href="), "the page refers to something outside");
    let score = |path: &Path, more: &[&str]| {
        let arguments = ["eval", "--detections", text(path), "--ground-truth", text(&root), "--json"];
        json(&succeed(&[&arguments, more].concat()))
    };
    // A file of detections says nothing of classes that are not annotated.
    let known = score(&results, &[]);
    assert_eq!(
        (&known["voc"]["map10"], &known["coco"]["summary"]),
        (&first["voc"]["map10"], &first["coco"]["summary"])
    );
    for (name, more) in [
        ("comp", &["--save-format", "voc"][..]),
        ("texts", &["--save-format", "text"]),
        ("sizes", &["--save-format", "text", "--corners", "xywh"]),
    ] {
        let folder = root.join(name);
        score(&results, &[&["--save", text(&folder)], more].concat());
        assert_eq!(score(&folder, &more[2..])["voc"]["map10"], first["voc"]["map10"], "{name}");
    }
}

#[test]
fn perfect_detections_score_one_at_any_overlap() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "perfect");
    let texts = root.join("texts");
    fs::create_dir(&texts).unwrap();
    fs::write(texts.join("a.txt"), "class1 0.9 30 20 110 80\n").unwrap();
    fs::write(texts.join("b.txt"), "class2 0.1 30 20 110 80\n").unwrap();
    let arguments = ["eval", "--detections", text(&texts), "--ground-truth", text(&root), "--iou", "0.99"];
    let table = stdout(&succeed(&arguments));
    assert!(table.contains("mean") && table.matches("1.0000").count() >= 10, "{table}");
    fs::write(texts.join("a.txt"), "class1 NaN 30 20 110 80\n").unwrap();
    fails(&frcnn(&arguments), 1, &["a.txt: line 1: a number is not finite"]);
    fails(&frcnn(&["eval", "--data", text(&root)]), 2, &["BUNDLE"]);
    fails(
        &frcnn(&["eval", "--detections", text(&texts), "--data", text(&root), "--iou", "1"]),
        2,
        &["--iou"],
    );
}

#[test]
fn an_image_that_is_missing_costs_the_score_but_not_the_rest() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "missing");
    let b = root.join("JPEGImages/b.png");
    let run = text(&root.join("run.jsonl")).to_string();
    fs::remove_file(&b).unwrap();
    let output = eval(&fixture, &root, &["--run", &run, "--json"]);
    fails(&output, 1, &["b.jpg: ", "1 of 2 images failed", "goes on with those"]);
    assert_eq!(stdout(&output), "");
    fs::copy(root.join("JPEGImages/a.png"), &b).unwrap();
    assert!(eval(&fixture, &root, &["--run", &run]).status.success());

    annotate(&root, "a", "zebra");
    let output = eval(&fixture, &root, &["--json"]);
    assert!(
        crate::fixture::stderr(&output)
            .contains("classes that the detector does not know, which count as missed: zebra")
    );
    let zebra =
        json(&output)["voc"]["classes"].as_array().unwrap().iter().find(|c| c["name"] == "zebra").cloned();
    assert_eq!(zebra.unwrap()["ap10"], 0.0);
}

/// The figures of the shared model's README, on the pixels that it was scored on: in two shards.
#[test]
fn blood_cells_score_what_the_reference_scored() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let model = shared.join("models/bccd-squeezenet/model.onnx");
    let (data, bundle) = (shared.join("data/bccd"), path("cells.frcnn"));
    succeed(&["compile", text(&model), "-o", &bundle, "--quiet"]);
    for (shard, part) in [("1/2", path("1")), ("2/2", path("2"))] {
        let images = ["--images", "PNGImages", "--shard", shard, "--run", &part];
        succeed(&[&["eval", &bundle, "--data", text(&data)], &images[..]].concat());
    }
    let scores = json(&succeed(&["eval", "merge", &path("1"), &path("2"), "--data", text(&data), "--json"]));
    for (name, expected) in [("map10", 0.6888), ("map07", 0.6844)] {
        let found = scores["voc"][name].as_f64().unwrap();
        assert!((found - expected).abs() < 0.001, "{name}: {found}, in the reference {expected}");
    }
}
