//! The `frcnn` binary as its users meet it: what it prints, what it refuses, and its exit codes.
//!
//! Everything stands on an untrained SqueezeNet that `frcnn new` makes, at a small scale so that it runs fast.
#![allow(clippy::unwrap_used, clippy::panic)]

mod auto;
mod bad_input;
mod bench;
#[path = "../../../runtime/tests/hostile/build.rs"]
#[allow(dead_code, reason = "it serves other tests")]
mod build;
mod cascade;
mod compare;
mod dataset;
mod emit;
mod eval;
mod faster;
#[cfg(target_os = "linux")]
mod files;
mod fixture;
mod input;
mod int8;
mod parts;
mod photos;
mod pictures;
mod predecessors;
mod proposals;
#[path = "../../../runtime/tests/faster/pyramid.rs"]
mod pyramid;
mod sweep;
#[cfg(target_os = "linux")]
mod terminal;

use std::fs;
use std::process::Command;

use serde_json::Value;

use fixture::{Fixture, fails, frcnn, json_lines, stderr, stdout, succeed, text};

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in ["bench", "compare", "compile", "detect", "eval", "inspect", "new", "proposals", "sweep"] {
        let help = stdout(&succeed(&[command, "--help"]));
        assert!(help.contains(&format!("Examples:\n  frcnn {command} ")), "{help}");
    }
    fails(&frcnn(&["detect"]), 2, &["<BUNDLE>"]);
    fails(
        &frcnn(&["new", "--arch", "resnet", "--classes", "3", "-o", "x"]),
        2,
        &["resnet", "vgg_cnn_m_1024"],
    );
    fails(
        &frcnn(&["compile", "m", "-o", "b", "--svd", "fc6=8", "--svd-energy", "0.9"]),
        2,
        &["--svd-energy"],
    );
    for share in ["0", "1.5", "many"] {
        fails(&frcnn(&["compile", "m", "-o", "b", "--svd-energy", share]), 2, &["--svd-energy", share]);
    }
}

#[test]
fn compile_reports_what_it_did() {
    let fixture = Fixture::get();
    let report_path = fixture.path("report.json");
    let output = fixture.compile("svd.frcnn", &["--svd", "fc6=32", "--report", &report_path]);
    let table = stdout(&output);
    for words in
        ["conv1", "MaxPool", "fc6_L", "fc6_U", "weight error", "Drift", "peak activation memory", "MiB"]
    {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
    let report: Value = serde_json::from_slice(&fs::read(&report_path).unwrap()).unwrap();
    assert_eq!(report["factored"][0]["layer"], "fc6");
    assert_eq!(report["factored"][0]["rank"], 32);
    assert_eq!(report["file_bytes"], fs::metadata(fixture.path("svd.frcnn")).unwrap().len());

    let quiet = fixture.compile("quiet.frcnn", &["--svd", "fc6=32", "--quiet"]);
    assert_eq!((stdout(&quiet), stderr(&quiet)), (String::new(), String::new()));
    let same = fs::read(fixture.path("svd.frcnn")).unwrap() == fs::read(fixture.path("quiet.frcnn")).unwrap();
    assert!(same, "the same input gave other bytes");
}

#[test]
fn compile_writes_onnx_that_compiles_again() {
    let fixture = Fixture::get();
    let emitted = fixture.path("emitted.onnx");
    let output = fixture.compile("emitted.frcnn", &["--svd", "fc6=32", "--emit-onnx", &emitted]);
    assert!(stdout(&output).contains("emitted.onnx"), "{}", stdout(&output));
    let (again, manifest) = (fixture.path("again.frcnn"), fixture.path("small.json"));
    succeed(&["compile", &emitted, "-o", &again, "--manifest", &manifest, "--quiet"]);
    let sections = |bundle: &str| {
        let json: Value = serde_json::from_str(&stdout(&succeed(&["inspect", bundle, "--json"]))).unwrap();
        let hashes = json["sections"].as_array().unwrap().iter().map(|s| s["xxh3_128"].clone());
        hashes.collect::<Vec<Value>>()
    };
    assert_eq!(sections(&fixture.path("emitted.frcnn")), sections(&again));

    let model = fixture.path("model.onnx");
    let onto_itself = ["compile", &model, "-o", &again, "--manifest", &manifest, "--emit-onnx", &model];
    fails(&frcnn(&onto_itself), 1, &["model.onnx: is read as well"]);
}

#[test]
fn inspect_tells_how_layers_run() {
    let bundle = Fixture::get().path("model.frcnn");
    let table = stdout(&succeed(&["inspect", &bundle, "--plan"]));
    let fc6 = table.lines().find(|line| line.contains(" fc6 ")).unwrap_or_default();
    assert!(fc6.contains("fused with RoI pooling + ReLU"), "{table}");
    let rows: Value =
        serde_json::from_str(&stdout(&succeed(&["inspect", &bundle, "--plan", "--json"]))).unwrap();
    let conv1 = rows.as_array().unwrap().iter().find(|row| row["layer"] == "conv1").unwrap();
    assert_eq!((&conv1["graph"], &conv1["op"]), (&Value::from("trunk"), &Value::from("Conv")));
    assert!(conv1["by"].as_str().unwrap().contains("+ ReLU"), "{conv1}");
    assert!(conv1["products"].as_str().unwrap().starts_with("exact f32 ("), "{conv1}");
    // The instruction set is the one that is picked.
    let picked = Command::new(env!("CARGO_BIN_EXE_frcnn"))
        .args(["inspect", &bundle, "--plan", "--json"])
        .env("FRCNN_ISA", "scalar")
        .output()
        .unwrap();
    let rows: Value = serde_json::from_str(&stdout(&picked)).unwrap();
    let products = |op: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["op"] == op).unwrap();
        row["products"].clone()
    };
    assert_eq!((products("Gemm"), products("MaxPool")), (Value::from("exact f32 (scalar)"), Value::Null));
}

#[test]
fn memory_is_bounded_with_the_plan_that_it_bounds() {
    let bundle = Fixture::get().path("model.frcnn");
    let inspect = |more: &[&str]| frcnn(&[&["inspect", &bundle], more].concat());
    fails(&inspect(&["--memory", "1G"]), 2, &["--memory bounds how layers run", "--plan --memory"]);
    fails(&inspect(&["--max-cost", "2"]), 2, &["--max-cost bounds", "--plan"]);
    fails(&inspect(&["--memory", "62"]), 2, &["--memory", "no unit: 62M are MiB, 62G are GiB"]);
    fails(&inspect(&["--memory", "-1"]), 2, &["--memory", "not a size above 0 such as 300M"]);
    // Each thread has scratch of its own.
    for (threads, words) in [("1", "MiB with 1 thread:"), ("16", "MiB with 16 threads:")] {
        fails(&inspect(&["--plan", "--memory", "1M", "--threads", threads]), 2, &["at least", words]);
        fails(&frcnn(&["bench", &bundle, "--memory", "1M", "--threads", threads]), 2, &[words]);
    }
    let plan = stdout(&succeed(&["inspect", &bundle, "--plan", "--memory", "1G", "--threads", "2"]));
    assert!(plan.contains("reuse_mib") && plan.contains("maps kept"), "{plan}");
    let memory = |threads: &str| {
        let output = succeed(&["inspect", &bundle, "--json", "--threads", threads]);
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(json["demand"]["threads"].to_string(), threads);
        json["demand"]["memory"].as_u64().unwrap()
    };
    assert!(memory("16") > memory("1") + (1 << 20));
    let table = stdout(&inspect(&["--threads", "3"]));
    assert!(table.contains("2000 RoIs and 3 threads, of the limits"), "{table}");
}

#[test]
fn options_that_nothing_reads_are_refused() {
    let fixture = Fixture::get();
    let (model, out) = (fixture.path("model.onnx"), fixture.path("unread.frcnn"));
    let compile = |more: &[&str]| frcnn(&[&["compile", &model, "-o", &out], more].concat());
    let by_hand = ["--cascade", "rank=4,keep=0.1", "--max-drop", "0.5"];
    for unread in [&["--max-drop", "0.5"][..], &by_hand] {
        fails(&compile(unread), 2, &["--max-drop is for --svd auto, --precision auto and --cascade auto"]);
    }
    for unread in [["--split", "val"], ["--format", "voc"], ["--images", "x"], ["--proposals", "x"]] {
        fails(
            &compile(&unread),
            2,
            &[unread[0], "is for --svd auto, --precision auto, --cascade and --calibrate"],
        );
    }
    // What is wrong with a negative number is said by the option, which is the one that reads it.
    let auto = ["--precision", "auto", "--data", "x", "--max-drop", "-1"];
    fails(&compile(&auto), 2, &["'-1' for '--max-drop <POINTS>': must be 0 to 100"]);
    fails(&compile(&["--svd-energy", "-0.5"]), 2, &["--svd-energy", "must be above 0"]);
    fails(&frcnn(&["bench", "b.frcnn", "--max-cost", "-2"]), 2, &["--max-cost", "not a number above 0"]);
    // Commands that read no photos have no word on damaged ones.
    for (command, reads) in
        [("detect", true), ("eval", true), ("bench", true), ("inspect", false), ("tune", false)]
    {
        let help = stdout(&succeed(&[command, "--help"]));
        assert_eq!(help.contains("--lenient"), reads, "{command}");
    }
}

#[test]
fn weights_of_16_bits_halve_the_file() {
    let fixture = Fixture::get();
    let inspect = |name: &str| {
        let output = succeed(&["inspect", &fixture.path(name), "--json"]);
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()
    };
    let exact = inspect("model.frcnn");
    assert_eq!(exact["precision"], "f32");
    for precision in ["bf16", "f16"] {
        let file = format!("{precision}.frcnn");
        let compiled = stdout(&fixture.compile(&file, &["--precision", precision]));
        assert!(compiled.contains(&format!("before rounding to {precision}")), "{compiled}");
        assert!(compiled.contains(&format!("Drift that rounding to {precision} alone causes")), "{compiled}");
        let rounded = inspect(&file);
        assert_eq!(rounded["precision"], precision);
        assert_eq!(exact["cost"]["parameters"], rounded["cost"]["parameters"]);
        let bytes = |inspected: &Value| inspected["file_bytes"].as_f64().unwrap();
        assert!(bytes(&rounded) < 0.51 * bytes(&exact), "{} of {} bytes", bytes(&rounded), bytes(&exact));
        let sections = rounded["sections"].as_array().unwrap();
        let precision_of = |name: &str| &sections.iter().find(|s| s["name"] == name).unwrap()["precision"];
        assert_eq!(precision_of("fc6.weight"), precision);
        assert_eq!((precision_of("fc6.bias"), precision_of("conv1.weight")), (&"f32".into(), &"f32".into()));
        let table = stdout(&succeed(&["inspect", &fixture.path(&file)]));
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(rows.any(|row| row.starts_with(&["precision", precision])), "{table}");
        succeed(&["detect", &fixture.path(&file), &(fixture.path("photos") + "/a.png")]);
    }
    let unknown = ["compile", "model.onnx", "-o", "b.frcnn", "--precision", "f8"];
    fails(&frcnn(&unknown), 2, &["f8", "f32, f16, bf16"]);
}

#[test]
fn compile_names_the_file_that_is_wrong() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("compile-errors");
    let model = text(&folder.join("model.onnx")).to_string();
    let (manifest, bundle) = (folder.join("manifest.json"), folder.join("b.frcnn"));
    let compile = |json: &str| {
        fs::write(&manifest, json).unwrap();
        frcnn(&["compile", &model, "-o", text(&bundle)])
    };

    fs::copy(fixture.path("model.onnx"), &model).unwrap();
    let absent = frcnn(&["compile", &model, "-o", text(&bundle)]);
    fails(&absent, 1, &[text(&manifest), "there is no such manifest", r#"{"classes": ["#, "--manifest"]);
    let unknown = compile(r#"{"classes": ["bg", "a", "b", "c"], "nms_threshold": 0.3}"#);
    fails(&unknown, 1, &[text(&manifest), "nms_threshold"]);
    fails(&compile(r#"{"classes": ["bg", "a"]}"#), 1, &[&model, "classes"]);
    fs::write(&model, &fs::read(fixture.path("model.onnx")).unwrap()[..50_000]).unwrap();
    fails(&compile(r#"{"classes": ["bg", "a", "b", "c"]}"#), 1, &[&model, "truncated"]);
    fails(&frcnn(&["compile", &model, "-o", &model]), 1, &["model.onnx: is read as well"]);
    fails(&frcnn(&["compile", &model, "-o", text(&folder.join("no/b.frcnn"))]), 1, &["no does not exist"]);
    fails(
        &frcnn(&["compile", text(&folder.join("absent.onnx")), "-o", text(&bundle)]),
        1,
        &["absent.onnx: "],
    );
    assert!(!bundle.exists(), "a failed compile left a bundle");
}

#[test]
fn new_does_not_replace_what_is_there() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("new");
    let new = |name: &str, classes: &str, more: &[&str]| {
        let path = folder.join(name);
        frcnn(&[&["new", "--arch", "squeezenet", "--classes", classes, "-o", text(&path)], more].concat())
    };
    assert!(new("x.onnx", "2", &[]).status.success());
    fails(&new("x.onnx", "2", &[]), 1, &["x.onnx: exists", "--force"]);
    assert!(new("y.onnx", "2", &["--seed", "1"]).status.success(), "the same manifest may stand");
    assert_ne!(fs::read(folder.join("x.onnx")).unwrap(), fs::read(folder.join("y.onnx")).unwrap());
    fails(&new("z.onnx", "3", &[]), 1, &["manifest.json: exists and differs", "--force"]);
    assert!(!folder.join("z.onnx").exists());
    assert!(new("z.onnx", "3", &["--force"]).status.success());
    fails(&new("w.onnx", "0", &[]), 2, &["0 object classes"]);
    // Its own manifest's place.
    fails(&new("manifest.json", "3", &["--force"]), 1, &["manifest.json: is to be written twice"]);
}

#[test]
fn spaces_around_names_of_classes_are_no_part_of_them() {
    let fixture = Fixture::get();
    let bundle = text(&fixture.fresh("named").join("b.frcnn")).to_string();
    succeed(&[
        "compile",
        &fixture.path("model.onnx"),
        "-q",
        "--classes",
        "cat, traffic light ,dog",
        "-o",
        &bundle,
    ]);
    let inspected: Value = serde_json::from_str(&stdout(&succeed(&["inspect", &bundle, "--json"]))).unwrap();
    assert_eq!(
        inspected["manifest"]["classes"],
        serde_json::json!(["__background__", "cat", "traffic light", "dog"])
    );
    for (classes, words) in [("cat, ,dog", "a class has no name"), ("cat,dog, cat", "`cat` twice")] {
        let output = frcnn(&[
            "compile",
            &fixture.path("model.onnx"),
            "--classes",
            classes,
            "-o",
            &(bundle.clone() + "2"),
        ]);
        fails(&output, 2, &["--classes", words]);
    }
}

#[test]
fn detect_writes_one_json_line_per_image() {
    let fixture = Fixture::get();
    let output = fixture.detect(&["--json", &fixture.path("photos"), "--score-threshold", "0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let lines = json_lines(&output);
    let images: Vec<&str> = lines.iter().map(|line| line["image"].as_str().unwrap()).collect();
    assert_eq!(images, [fixture.path("photos/a.png"), fixture.path("photos/b.png")]);
    for line in &lines {
        assert_eq!((&line["width"], &line["height"]), (&120.into(), &90.into()));
        let detections = line["detections"].as_array().unwrap();
        assert!(!detections.is_empty() && detections.len() <= 100);
        let scores: Vec<f64> = detections.iter().map(|found| found["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        for found in detections {
            let class_id = found["class_id"].as_u64().unwrap();
            assert_eq!(found["class"], format!("class{class_id}"));
            let corners: Vec<f64> =
                found["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let [x1, y1, x2, y2] = corners[..] else { panic!("{corners:?}") };
            assert!(
                0.0 <= x1 && x1 <= x2 && x2 <= 119.0 && 0.0 <= y1 && y1 <= y2 && y2 <= 89.0,
                "{corners:?}"
            );
        }
        assert!(line["timing_ms"]["trunk"].as_f64().unwrap() > 0.0);
        assert!(line["timing_ms"]["proposals"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn options_of_detect_reach_the_detector() {
    let fixture = Fixture::get();
    let photo = fixture.path("photos/a.png");
    let count = |more: &[&str]| {
        let usual = ["--json", photo.as_str(), "--score-threshold", "0", "--proposals-from", "grid"];
        let output = fixture.detect(&[&usual[..], more].concat());
        json_lines(&output)[0]["detections"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--max-detections", "1", "--threads", "1"]), 1);
    let all = ["--max-detections", "512", "--nms-iou"];
    assert!(count(&[&all[..], &["1"]].concat()) > count(&[&all[..], &["0.01"]].concat()));
    for (option, value) in
        [("--score-threshold", "1.5"), ("--max-detections", "0"), ("--nms-iou", "0"), ("--threads", "0")]
    {
        let name = option.trim_start_matches('-').replace('-', "_");
        fails(&fixture.detect(&[&photo, option, value]), 2, &[&name]);
    }
}

#[test]
fn detect_draws_without_overwriting() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("draw");
    for inner in ["one", "two"] {
        fs::create_dir(folder.join(inner)).unwrap();
        fs::copy(fixture.path("photos/a.png"), folder.join(inner).join("same.png")).unwrap();
    }
    let (one, two, out) = (folder.join("one"), folder.join("two"), folder.join("out/deep"));
    let output = fixture.detect(&[text(&one), text(&two), "--out", text(&out), "--score-threshold", "0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("same stem"), "{}", stderr(&output));
    let drawn = image::open(out.join("same.png")).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (120, 90));
    assert_ne!(drawn, image::open(one.join("same.png")).unwrap().into_rgb8(), "nothing was drawn");
    assert!(out.join("same-2.png").exists());

    let output = fixture.detect(&[text(&one), "--out", text(&one)]);
    fails(&output, 1, &["same.png: is one of the images", "--out"]);
}

#[test]
fn a_bad_image_is_named_and_the_rest_go_on() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("bad-image");
    fs::copy(fixture.path("photos/a.png"), folder.join("good.png")).unwrap();
    fs::write(folder.join("bad.jpg"), "not a photo at all").unwrap();
    let truncated = fs::read(fixture.path("photos/b.png")).unwrap();
    fs::write(folder.join("cut.png"), &truncated[..truncated.len() / 2]).unwrap();
    let absent = text(&folder.join("absent.png")).to_string();
    let bad = folder.join("bad.jpg");
    fails(&fixture.detect(&[text(&bad), "--out", text(&folder.join("drawn/here"))]), 1, &["bad.jpg: "]);
    assert!(!folder.join("drawn").exists(), "an empty folder is left behind");
    let output = fixture.detect(&["--json", text(&folder), &absent]);
    fails(&output, 1, &["bad.jpg: ", "cut.png: ", "absent.png: ", "3 of 4 images failed"]);
    let lines = json_lines(&output);
    assert_eq!(lines.len(), 1);
    assert!(lines[0]["image"].as_str().unwrap().ends_with("good.png"));
}

#[test]
fn proposals_come_from_the_file() {
    let fixture = Fixture::get();
    let (photos, file) = (fixture.path("photos"), fixture.path("boxes.json"));
    fs::write(&file, r#"{"a": [[10, 10, 60, 60], [9, 9, 3, 3]]}"#).unwrap();
    let output = fixture.detect(&["--json", &photos, "--proposals", &file, "--score-threshold", "0"]);
    fails(&output, 1, &["b.png: ", "boxes.json: has no boxes for `b`", "1 of 2 proposals are passed over"]);
    // One usable box, so at most one detection of each class.
    let lines = json_lines(&output);
    assert_eq!((lines.len(), lines[0]["detections"].as_array().unwrap().len()), (1, 3));

    // Boxes go by stems, which two folders may both have.
    let copy = text(&fixture.fresh("copies").join("a.png")).to_string();
    let photo = fixture.path("photos/a.png");
    fs::copy(&photo, &copy).unwrap();
    let output = fixture.detect(&[&photo, &copy, "--proposals", &file]);
    fails(
        &output,
        0,
        &[&format!("warning: {copy}: has the same stem as {photo}, so both get the same boxes")],
    );

    fs::write(&file, "[[10, 10, 60, 60]]").unwrap();
    fails(&fixture.detect(&[&photos, "--proposals", &file]), 1, &["boxes of one image, but there are 2"]);
    fs::write(&file, "[[10, 10, 60]]").unwrap();
    fails(&fixture.detect(&[&photos, "--proposals", &file]), 1, &["boxes.json: not boxes", "line 1"]);
}

#[test]
fn a_bundle_that_is_none_is_refused() {
    let fixture = Fixture::get();
    let bytes = fs::read(fixture.path("model.frcnn")).unwrap();
    let damaged = fixture.path("damaged.frcnn");
    for (content, words) in [
        (&bytes[..bytes.len() - 1], "truncated"),
        (&bytes[..10], "not a bundle"),
        (
            b"{\"classes\": []}                                                      ",
            "`frcnn compile` makes one",
        ),
    ] {
        fs::write(&damaged, content).unwrap();
        fails(&frcnn(&["inspect", &damaged]), 1, &["damaged.frcnn: ", words]);
        fails(&frcnn(&["detect", &damaged, &fixture.path("photos")]), 1, &["damaged.frcnn: ", words]);
    }
    fails(&frcnn(&["inspect", &fixture.path("photos")]), 1, &["photos: ", "is a folder"]);
    fails(&frcnn(&["inspect", &fixture.path("absent.frcnn")]), 1, &["absent.frcnn: "]);
}

#[test]
fn inspect_tells_everything_in_both_forms() {
    let fixture = Fixture::get();
    fixture.compile("inspect.frcnn", &["--svd", "fc7=16"]);
    let bundle = fixture.path("inspect.frcnn");
    let table = stdout(&succeed(&["inspect", &bundle]));
    for words in ["class3", "short side", "ONNX sha256", "fire8", "fc7_L", "xxh3-128", "0.125", "f32"] {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
    let json: Value = serde_json::from_str(&stdout(&succeed(&["inspect", &bundle, "--json"]))).unwrap();
    assert_eq!(json["manifest"]["scales"][0], 96);
    assert_eq!((&json["factored"][0]["layer"], &json["factored"][0]["rank"]), (&"fc7".into(), &16.into()));
    assert_eq!(json["file_bytes"], fs::metadata(&bundle).unwrap().len());
    assert_eq!(json["source"]["onnx_sha256"].as_str().unwrap().len(), 64);
    for section in json["sections"].as_array().unwrap() {
        assert_eq!(section["xxh3_128"].as_str().unwrap().len(), 32);
        assert_eq!(section["offset"].as_u64().unwrap() % 64, 0);
    }
}

/// `frcnn … | head` must end without a complaint.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let fixture = Fixture::get();
    let script = format!(
        "\"$0\" detect {} {} --json 2>\"$1\" | true; \"$0\" inspect {} 2>>\"$1\" | head -n 1",
        fixture.path("model.frcnn"),
        fixture.path("photos"),
        fixture.path("model.frcnn")
    );
    let errors = fixture.path("pipe.txt");
    let output =
        Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_frcnn"), &errors]).output().unwrap();
    assert_eq!(stdout(&output), "Manifest\n");
    let errors = fs::read_to_string(errors).unwrap();
    assert!(!errors.contains("error") && !errors.contains("panicked"), "{errors}");
}
