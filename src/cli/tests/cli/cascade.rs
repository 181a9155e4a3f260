//! `--cascade` of `compile` and `sweep`, and what `inspect`, `bench` and `eval` tell of it, on the demo model and scenes that it was
//! not trained on.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::dataset::voc;
use crate::fixture::{Fixture, fails, frcnn, stderr, stdout, succeed, text};

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    text(&path.canonicalize().unwrap()).to_string()
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

#[test]
fn a_cascade_is_chosen_by_photos_and_told_of_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (demo, scenes) = (repository("model-export/demo/model.onnx"), repository("benches/paper/scenes"));
    let path = |name: &str| text(&folder.path().join(name)).to_string();
    let auto = |name: &str| {
        let (bundle, report) = (path(&format!("{name}.frcnn")), path(&format!("{name}.json")));
        let data = ["--cascade", "auto", "--data", &scenes, "--max-drop", "0.3", "--report", &report];
        let emit = ["--emit", "c", &path(&format!("{name}/scene"))];
        fs::create_dir(path(name)).unwrap();
        let table = stdout(&succeed(&[&["compile", &demo, "-o", &bundle], &data[..], &emit].concat()));
        let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
        (bundle, report["cascade"].clone(), table)
    };
    let (bundle, report, table) = auto("a");
    for part in ["chosen_on", "checked_on"] {
        let part = &report[part];
        let field = |name: &str| part[name].as_f64().unwrap();
        assert_eq!(part["photos"], 8);
        assert!(field("drop") <= 0.15 && (0.2..1.0).contains(&field("dropped")), "{part}");
        assert!((100.0 * (field("before") - field("after")) - field("drop")).abs() < 1e-9, "{part}");
    }
    assert!(report["heads"]["before_ms"].as_f64().unwrap() > 0.0, "{report}");
    for words in
        ["Cascade: a judge of rank", "that the threshold was chosen on", "of the regions dropped", "Heads ("]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    // The same photos give the same bundle; times are not in it.
    let (again, ..) = auto("b");
    assert_eq!(fs::read(&bundle).unwrap(), fs::read(again).unwrap());
    // Nor are they in what is emitted.
    let [readme, again] =
        ["a", "b"].map(|name| fs::read_to_string(path(&format!("{name}/scene/README.md"))).unwrap());
    assert!(readme == again && readme.contains("Cascade: a judge of rank"), "{readme}");

    let inspected = json(&succeed(&["inspect", &bundle, "--json"]));
    let (cascade, judge) = (&inspected["cascade"], &report["judge"]);
    assert_eq!((&cascade["rank"], &cascade["keep"]), (&judge["rank"], &judge["keep"]));
    assert_eq!(cascade["chosen"]["photos"], 8);
    let dropped = cascade["chosen"]["dropped"].as_f64().unwrap();
    assert!((dropped - report["checked_on"]["dropped"].as_f64().unwrap()).abs() < 1e-6, "{cascade}");
    let table = stdout(&succeed(&["inspect", &bundle]));
    assert!(table.contains("judge MACs") && table.contains("the threshold was not chosen on"), "{table}");
    assert!(stdout(&succeed(&["inspect", &bundle, "--plan"])).contains("judge_fc6_L"));

    let bench = ["bench", &bundle, "--size", "120x160", "--rois", "50", "--runs", "1"];
    let measured = json(&succeed(&[&bench[..], &["--json"]].concat()));
    let count = |field: &str| measured[field].as_u64().unwrap();
    assert!(count("dropped") <= count("distinct_rois") && measured["random_boxes"] == true, "{measured}");
    assert!(stdout(&succeed(&bench)).contains("boxes are random"));

    let scores = json(&succeed(&["eval", &bundle, "--data", &scenes, "--json"]));
    let cascade = &scores["cascade"];
    assert_eq!(scores["voc"]["map10"], cascade["after"], "detections are those that were measured");
    assert!(cascade["before"].as_f64().is_some() && cascade["heads"]["after_ms"].as_f64().is_some());
    assert!(stdout(&succeed(&["eval", &bundle, "--data", &scenes])).contains("of the regions dropped"));
}

#[test]
fn ranks_and_thresholds_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (demo, scenes) = (repository("model-export/demo/model.onnx"), repository("benches/paper/scenes"));
    let [csv, plot] = ["a.csv", "a.svg"].map(|name| text(&folder.path().join(name)).to_string());
    let sweep = ["sweep", &demo, "--data", &scenes, "--cascade", "8,16", "--keep", "0.01,0.9"];
    let report = json(&succeed(&[&sweep[..], &["--csv", &csv, "--plot", &plot, "--json"]].concat()));
    let rows = report["rows"].as_array().unwrap();
    let settings: Vec<&str> = rows.iter().map(|row| row["setting"].as_str().unwrap()).collect();
    let all = ["no cascade", "rank=8,keep=0.01", "rank=8,keep=0.9", "rank=16,keep=0.01", "rank=16,keep=0.9"];
    assert_eq!(settings, all);
    let dropped = |row: usize| rows[row]["dropped"].as_f64().unwrap();
    assert!(dropped(0) == 0.0 && dropped(1) < dropped(2) && dropped(3) < dropped(4), "{report}");
    let recommended = report["recommended"].as_u64().unwrap() as usize;
    assert!(rows[recommended]["drop"].as_f64().unwrap() <= 0.3, "{report}");
    let work = |row: usize| rows[row]["work"].as_f64().unwrap();
    assert!(work(0) == 1.0 && work(2) < work(1) && work(1) < 1.1, "{report}");
    // What was measured is taken from the file, as it is there, and the rest measured.
    let written = fs::read_to_string(&csv).unwrap();
    assert_eq!(written.lines().count(), 6);
    let lines = |from: usize, count: usize| {
        written.lines().skip(from).take(count).collect::<Vec<_>>().join("\n") + "\n"
    };
    fs::write(&csv, lines(0, 3)).unwrap();
    let resumed = succeed(&[&sweep[..], &["--csv", &csv, "--json"]].concat());
    let told = stderr(&resumed);
    assert!(
        told.contains("sweep: 2 settings of ") && told.contains("sweep: 5 of 5: rank=16,keep=0.9: mAP "),
        "{told}"
    );
    let again = json(&resumed);
    assert_eq!([&again["rows"][0], &again["rows"][1]], [&rows[0], &rows[1]]);
    for (again, first) in again["rows"].as_array().unwrap().iter().zip(rows) {
        for figure in ["setting", "map", "dropped", "work"] {
            assert_eq!(again[figure], first[figure], "{figure}");
        }
    }
    assert!(fs::read_to_string(plot).unwrap().contains("judge of rank 16"));
    fails(&frcnn(&sweep[..6]), 2, &["--keep"]);
    fails(&frcnn(&[&sweep[..4], &["--keep", "0.1"]].concat()), 2, &["--cascade"]);
    fails(&frcnn(&[&sweep[..], &["--energies", "0.9"]].concat()), 2, &["--energies"]);
    fails(&frcnn(&[&sweep[..4], &["--cascade", "0", "--keep", "0.1"]].concat()), 1, &["rank 0"]);
    // Before anything is measured.
    let refused = frcnn(&[&sweep[..4], &["--cascade", "8,8", "--keep", "0.05,nan"]].concat());
    fails(&refused, 1, &["keep is NaN"]);
    assert!(!stderr(&refused).contains("sweep: "), "{}", stderr(&refused));
}

/// A loss of nothing is no loss, and the smallest network would do.
#[test]
fn nothing_is_chosen_by_photos_on_which_nothing_is_found() {
    let fixture = Fixture::get();
    let (demo, strange) = (repository("model-export/demo/model.onnx"), voc(&fixture, "nothing-found"));
    let (data, bundle) = (text(&strange), strange.join("ruined.frcnn"));
    let found_none = "the network finds none of the objects that the data set has (mAP 0)";
    let compile = ["compile", &demo, "-o", text(&bundle), "--svd", "auto", "--data", data];
    fails(&frcnn(&compile), 1, &["--svd auto: ", found_none]);
    assert!(!bundle.exists());
    for settings in [&["--energies", "0.5"][..], &["--cascade", "8", "--keep", "0.1"]] {
        fails(&frcnn(&[&["sweep", &demo, "--data", data], settings].concat()), 1, &["sweep: ", found_none]);
    }
}

#[test]
fn a_cascade_may_be_given_by_hand_or_refused() {
    let fixture = Fixture::get();
    let (bundle, onnx) = (fixture.path("cascade.frcnn"), fixture.path("cascade.onnx"));
    fixture.compile("cascade.frcnn", &["--cascade", "rank=16,keep=0.02", "--emit-onnx", &onnx]);
    let inspected = json(&succeed(&["inspect", &bundle, "--json"]));
    let cascade = &inspected["cascade"];
    assert_eq!((&cascade["rank"], &cascade["chosen"]), (&16.into(), &Value::Null));
    // What is emitted is the full network, and compiles to it.
    fixture.compile("uncascaded.frcnn", &[]);
    let whole = fixture.path("uncascaded.onnx");
    fixture.compile("uncascaded.frcnn", &["--emit-onnx", &whole]);
    assert_eq!(fs::read(&onnx).unwrap(), fs::read(&whole).unwrap());
    let without = json(&succeed(&["inspect", &fixture.path("uncascaded.frcnn"), "--json"]));
    assert_eq!(without["cascade"], Value::Null);

    let (model, manifest, out) =
        (fixture.path("model.onnx"), fixture.path("small.json"), fixture.path("no.frcnn"));
    let compile = |more: &[&str]| {
        frcnn(&[&["compile", &model, "-o", &out, "--manifest", &manifest, "--cascade"], more].concat())
    };
    fails(&compile(&["auto"]), 2, &["--cascade auto", "--data"]);
    fails(&compile(&["rank=16"]), 2, &["rank=64,keep=0.02"]);
    fails(&compile(&["rank=0,keep=0.1"]), 2, &["rank 0"]);
    fails(&compile(&["rank=100000,keep=0.1"]), 2, &["a judge's rank is 1 to"]);
    fails(&compile(&["rank=16,keep=1.5"]), 2, &["from 0 to 1"]);
    fails(&compile(&["rank=16,keep=1"]), 2, &["keep is 1", "nothing would be found"]);
    let near = fixture.compile("near.frcnn", &["--cascade", "rank=16,keep=0.999"]);
    assert!(stderr(&near).contains("warning: cascade: keep=0.999 drops"), "{}", stderr(&near));
    let half = fixture.compile("half.frcnn", &["--cascade", "rank=16,keep=0.5"]);
    assert_eq!(stderr(&half), "");
    let photos = voc(&fixture, "cascade");
    let output = compile(&["auto", "--data", text(&photos), "--proposals", text(&photos.join("boxes.json"))]);
    assert!(!output.status.success(), "an untrained network finds nothing: {}", stderr(&output));
    assert!(!Path::new(&out).exists());
}
