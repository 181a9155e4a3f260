//! `frcnn compile --precision auto` and `--for`, on the demo model and the scenes that it was not trained on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dataset::voc;
use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    text(&path.canonicalize().unwrap()).to_string()
}

/// The demo compiled with `--precision auto` for a board; its report.
fn auto(folder: &Path, name: &str, board: &str, max_drop: &str) -> (PathBuf, Value, String) {
    let (bundle, report) = (folder.join(format!("{name}.frcnn")), folder.join(format!("{name}.json")));
    let output = succeed(&[
        "compile",
        &repository("model-export/demo/model.onnx"),
        "-o",
        text(&bundle),
        "--precision",
        "auto",
        "--for",
        board,
        "--data",
        &repository("benches/paper/scenes"),
        "--max-drop",
        max_drop,
        "--report",
        text(&report),
    ]);
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    (bundle, report["auto"].clone(), stdout(&output))
}

#[test]
fn each_layer_gets_the_fastest_type_that_the_photos_allow() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, report, table) = auto(folder.path(), "a", "raspberry-pi-5", "0.3");
    let layers = report["layers"].as_array().unwrap();
    let of = |name: &str| layers.iter().find(|layer| layer["layer"] == name).unwrap();
    // What reads the image and what gives the detector's outputs are never int8.
    assert_eq!((&of("conv1")["precision"], &of("conv1")["note"]), (&"f32".into(), &"reads the image".into()));
    assert_eq!((&of("fc6")["fastest"], &of("bbox_pred")["fastest"]), (&"int8".into(), &"f16".into()));
    for layer in layers {
        let gain = layer["gain"].as_f64().unwrap();
        assert!(if layer["precision"] == "f32" { gain == 0.0 } else { gain >= 0.05 }, "{layer}");
        assert_eq!(layer["fastest"] == "f32", layer["loss"].is_null(), "{layer}");
    }
    let [chosen_on, checked_on] = ["chosen_on", "checked_on"].map(|part| &report[part]);
    for part in [chosen_on, checked_on] {
        assert_eq!(part["photos"], 8);
        let [before, after, drop] = ["before", "after", "drop"].map(|field| part[field].as_f64().unwrap());
        assert!(before > 0.9 && (100.0 * (before - after) - drop).abs() < 1e-9 && drop <= 0.3, "{part}");
    }
    assert!((0.3..0.9).contains(&report["expected_time"].as_f64().unwrap()), "{report}");
    // What is gained is no negative loss.
    let totals: Vec<&str> = table.lines().filter(|line| line.starts_with("mAP ")).collect();
    assert!(totals.len() == 2 && !totals.iter().any(|line| line.contains('-')), "{table}");
    for words in
        ["Precisions for raspberry-pi-5", "reads the image", "on 8 photos that nothing was chosen on"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    let inspected: Value =
        serde_json::from_str(&stdout(&succeed(&["inspect", text(&bundle), "--json"]))).unwrap();
    assert_eq!((&inspected["precision"], &inspected["board"]), (&"int8".into(), &"raspberry-pi-5".into()));

    let (again, same, _) = auto(folder.path(), "b", "raspberry-pi-5", "0.3");
    assert_eq!(fs::read(bundle).unwrap(), fs::read(again).unwrap());
    assert_eq!(report, same);
}

/// With no budget layers go back until nothing is lost, on the photos that are chosen on and on the others.
#[test]
fn layers_that_lose_are_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    // A board on which int8 gains most, and f16 nothing.
    let board = folder.path().join("i8mm.toml");
    fs::write(&board, "features = ['neon', 'i8mm']\ncaches = '64K,512K,2M/4'\nin_order = false\n").unwrap();
    let (_, report, table) = auto(folder.path(), "none", text(&board), "0");
    for part in ["chosen_on", "checked_on"] {
        assert!(report[part]["drop"].as_f64().unwrap() <= 0.0, "{report}");
    }
    let count = |of: &dyn Fn(&Value) -> bool| {
        report["layers"].as_array().unwrap().iter().filter(|&layer| of(layer)).count()
    };
    assert!(
        count(&|layer| layer["fastest"] == "int8") >= 4 && count(&|layer| layer["fastest"] == "f16") == 0
    );
    // Each of them is int8, or went back by the one step that there is.
    let back = count(&|layer| {
        layer["fastest"] == "int8" && layer["precision"] == "f32" && layer["note"] == "taken back"
    });
    let steps = ["taken_back", "taken_back_by_check"].map(|field| report[field].as_u64().unwrap());
    assert_eq!(back as u64, steps.iter().sum::<u64>(), "{report}");
    assert_eq!(table.contains("taken back"), back > 0, "{table}");
}

#[test]
fn types_that_gain_nothing_on_a_board_are_refused() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("boards");
    let (model, scenes) = (repository("model-export/demo/model.onnx"), repository("benches/paper/scenes"));
    let slow = folder.join("slow.toml");
    fs::write(&slow, "features = []\ncaches = '32K,512K/4,0'\nin_order = true\n").unwrap();
    let slow = text(&slow);
    let (bundle, report, table) = auto(&folder, "slow", slow, "0.3");
    assert!(report["layers"].as_array().unwrap().iter().all(|layer| layer["precision"] == "f32"), "{report}");
    assert!(table.contains("All layers stay f32: no other type gains") && table.contains(slow), "{table}");
    let exact = folder.join("f32.frcnn");
    succeed(&["compile", &model, "-o", text(&exact), "--quiet"]);
    assert_eq!(fs::read(bundle).unwrap(), fs::read(exact).unwrap());

    let out = folder.join("out.frcnn");
    let compile = |more: &[&str]| frcnn(&[&["compile", &model, "-o", text(&out)], more].concat());
    let int8 = ["--precision", "int8", "--calibrate", &scenes, "--split", "test", "--for"];
    fails(
        &compile(&[&int8[..], &[slow]].concat()),
        1,
        &["int8 gains no layer of this network any time", slow],
    );
    fails(&compile(&["--precision", "f16", "--for", "raspberry-pi-4"]), 1, &["f16 gains no layer"]);
    assert!(!out.exists());
    // Fully connected layers gain on a Cortex-A72, its 3x3 convolutions do not.
    let table = stdout(&compile(&[&int8[..], &["raspberry-pi-4"]].concat()));
    assert!(table.contains("Exacter than asked for") && table.contains("conv2, conv3"), "{table}");

    // Where the type that was asked for gains nothing, a layer keeps an exacter one, and not in the report alone.
    let report = folder.join("f16.json");
    let table =
        stdout(&compile(&["--precision", "f16", "--for", "raspberry-pi-5", "--report", text(&report)]));
    assert!(
        table.contains("Exacter than asked for, as a coarser type gains no time there: cls_score\n"),
        "{table}"
    );
    assert!(table.contains("Drift that rounding to f16 alone causes"), "{table}");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let inspected = json(&stdout(&succeed(&["inspect", text(&out), "--json"])));
    let values = |name: &str| {
        let sections = inspected["sections"].as_array().unwrap();
        sections.iter().find(|section| section["name"] == name).unwrap()["precision"].clone()
    };
    assert_eq!([values("cls_score.weight"), values("fc6.weight")], ["f32", "f16"]);
    assert_eq!(inspected["board"], "raspberry-pi-5");
    assert_eq!(json(&fs::read_to_string(report).unwrap())["file_bytes"], fs::metadata(&out).unwrap().len());

    let auto = ["--precision", "auto"];
    let refused = |more: &[&str], words: &[&str]| fails(&compile(more), 2, words);
    refused(&auto, &["name the data set to choose on with --data"]);
    refused(&["--precision", "auto", "--data", &scenes, "--for", "pi"], &["no board `pi`", "raspberry-pi-5"]);
    refused(
        &["--precision", "auto", "--data", &scenes, "--svd", "auto"],
        &["let --svd auto find the ranks first"],
    );
    refused(&["--precision", "auto", "--data", &scenes, "--calibrate", &scenes], &["--calibrate is for"]);
    let board = folder.join("mine.toml");
    fs::write(&board, "features = ['neon']\ncaches = '32K,512K/4,0'\nin_order = true\nfast = true\n")
        .unwrap();
    refused(&["--precision", "f16", "--for", text(&board)], &["mine.toml", "unknown field `fast`"]);
    refused(&["--for", "rk3588"], &["--for is for --precision auto, int8, f16 and bf16"]);
    refused(&["--data", &scenes], &["--data is for --svd auto, --precision auto and --cascade"]);

    // Photos on which the network finds nothing of what is there say nothing.
    let strange = voc(&fixture, "strange");
    let data = ["--precision", "auto", "--for", "this", "--data", text(&strange)];
    fails(&compile(&data), 1, &["finds none of the objects that the data set has"]);
}
