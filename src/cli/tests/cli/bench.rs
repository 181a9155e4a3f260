//! `frcnn bench`.

use std::fs;

use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, stdout, succeed};

#[test]
fn bench_measures_every_stage() {
    let fixture = Fixture::get();
    let bundle = fixture.path("model.frcnn");
    let bench = |more: &[&str]| succeed(&[&["bench", &bundle, "--runs", "3"], more].concat());
    let report = |more: &[&str]| -> Value {
        serde_json::from_str(&stdout(&bench(&[more, &["--json"]].concat()))).unwrap()
    };
    let random = report(&["--size", "90x120", "--rois", "50", "--threads", "1"]);
    let keys: Vec<&str> = random.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "bundle",
        "threads",
        "tuned_on_threads",
        "runs",
        "rois",
        "distinct_rois",
        "boxes_from",
        "random_boxes",
        "dropped",
        "frame",
        "blob",
        "open_ms",
        "first_ms",
        "stages",
        "peak_rss_mib",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(random["stages"].as_object().unwrap().len(), 6);
    let p50 = |stage: &str| random["stages"][stage]["p50_ms"].as_f64().unwrap();
    for stage in ["preprocess", "trunk", "roi_pool", "head", "postprocess", "total"] {
        let p95 = random["stages"][stage]["p95_ms"].as_f64().unwrap();
        assert!(0.0 < p50(stage) && p50(stage) <= p95 && p50(stage) <= p50("total"), "{stage}: {random}");
    }
    for name in ["open_ms", "first_ms"] {
        assert!(random[name].as_f64().unwrap() > 0.0, "{name}");
    }
    let weights = fs::metadata(&bundle).unwrap().len() as f64 / 1048576.0;
    if cfg!(target_os = "linux") {
        let peak = random["peak_rss_mib"].as_f64().unwrap();
        assert!(peak > weights, "{peak} MiB, and {weights} MiB of weights");
    } else {
        assert!(random["peak_rss_mib"].is_null());
    }
    // The fixture's scale is 96.
    assert_eq!((&random["frame"], &random["blob"]), (&vec![90, 120].into(), &serde_json::json!([[96, 128]])));
    assert_eq!((&random["threads"], &random["runs"], &random["rois"]), (&1.into(), &3.into(), &50.into()));
    assert!((1..=50).contains(&random["distinct_rois"].as_u64().unwrap()));

    let boxes = fixture.path("bench.json");
    fs::write(&boxes, "[[10, 10, 60, 60], [10, 10, 60, 60], [0, 0, 90, 80]]").unwrap();
    let photo = fixture.path("photos/a.png");
    let of_photo = report(&["--image", &photo, "--proposals", &boxes]);
    assert_eq!((&of_photo["rois"], &of_photo["distinct_rois"]), (&3.into(), &2.into()));

    let table = stdout(&bench(&["--image", &photo, "--rois", "7"]));
    for words in ["90 x 120", "96 x 128 (the manifest's scales", "7, ", "RoI pool", "Over 3 runs", "p95 ms"] {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
}

/// With made frames the command itself holds the stream to whole detections.
#[test]
fn a_stream_costs_what_has_changed() {
    let fixture = Fixture::get();
    let bundle = fixture.path("model.frcnn");
    let photo = fixture.path("photos/a.png");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let bench = |more: &[&str]| {
        succeed(&[&["bench", &bundle, "--stream", "--rois", "20", "--threads", "1"], more].concat())
    };
    let plot = path("reuse.svg");
    let report = bench(&["--image", &photo, "--runs", "3", "--plot", &plot, "--json"]);
    let report: Value = serde_json::from_str(&stdout(&report)).unwrap();
    assert!(fs::read_to_string(&plot).unwrap().contains("have changed"));
    let rows = report["rows"].as_array().unwrap();
    let values = |key: &str| -> Vec<f64> { rows.iter().map(|row| row[key].as_f64().unwrap()).collect() };
    assert_eq!(values("object"), [0.0, 0.03, 0.1, 0.25, 0.5, 1.0]);
    let (cells, trunk) = (values("cells_changed"), values("trunk_share"));
    assert!(cells.is_sorted() && (cells[0], cells[5]) == (0.0, 1.0), "{cells:?}");
    assert!(
        (trunk[0], trunk[5]) == (0.0, 1.0) && trunk.iter().zip(&cells).all(|(trunk, cells)| trunk >= cells)
    );
    assert_eq!((values("rois_reused")[0], values("rois_reused")[5]), (1.0, 0.0));
    assert!(values("precision").iter().chain(&values("recall")).all(|&share| share == 1.0), "{report}");
    assert!(report["kept_mib"].as_f64().unwrap() > 0.0 && report["reuse_mib"] == 256);

    // Frames that do not change, which a folder has.
    let frames = path("frames");
    fs::create_dir(&frames).unwrap();
    for i in 0..4 {
        fs::copy(&photo, format!("{frames}/{i}.png")).unwrap();
    }
    let report = bench(&["--frames", &frames, "--json", "--reuse-mib", "1"]);
    let report: Value = serde_json::from_str(&stdout(&report)).unwrap();
    let row = &report["rows"][0];
    assert!(row["object"].is_null() && row["frames"] == 3 && row["cells_changed"] == 0.0, "{report}");
    assert_eq!(
        (&row["precision"], &row["recall"], &report["reuse_mib"]),
        (&1.0.into(), &1.0.into(), &1.into())
    );
    let table = stdout(&bench(&["--frames", &frames]));
    for words in ["grey levels", "precision 1.000, recall 1.000", "kept from frame to frame", "of whole"] {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }

    let called = |more: &[&str]| frcnn(&[&["bench", &bundle], more].concat());
    fails(&called(&["--tolerance", "1"]), 2, &["--stream"]);
    fails(&called(&["--stream", "--tolerance", "nan"]), 2, &["tolerance"]);
    fails(&called(&["--stream", "--plot", "reuse.png"]), 2, &[".svg"]);
    fails(&called(&["--stream", "--frames", &path("absent")]), 1, &["absent: "]);
    fails(&called(&["--stream", "--frames", &format!("{frames}/0.png")]), 1, &["0.png: ", "two frames"]);
    image::RgbImage::new(60, 90).save(format!("{frames}/9.png")).unwrap();
    fails(&called(&["--stream", "--rois", "3", "--frames", &frames]), 1, &["9.png: is of another size"]);
}

#[test]
fn bench_called_wrongly_says_so() {
    let fixture = Fixture::get();
    let bundle = fixture.path("model.frcnn");
    let bench = |more: &[&str]| frcnn(&[&["bench", &bundle], more].concat());
    for size in ["600", "600x0", "x", "99999x10", "600*800"] {
        fails(&bench(&["--size", size]), 2, &["--size", "HEIGHTxWIDTH"]);
    }
    fails(&bench(&["--runs", "0"]), 2, &["--runs"]);
    fails(&bench(&["--threads", "0"]), 2, &["threads"]);
    fails(&bench(&["--proposals", "boxes.json"]), 2, &["--image"]);
    fails(&bench(&["--image", "photo.png", "--size", "60x80"]), 2, &["--size"]);
    fails(&bench(&["--image", &fixture.path("absent.png")]), 1, &["absent.png: "]);
    fails(&frcnn(&["bench", &fixture.path("absent.frcnn")]), 1, &["absent.frcnn: "]);
    // SqueezeNet's pools need some pixels to work on: the manifest's long side is at most 1000.
    fails(&bench(&["--size", "1x10000", "--rois", "1"]), 1, &["model.frcnn: ", "1000"]);
}

#[test]
fn tune_measures_and_says_what_is_not_used() {
    let fixture = Fixture::get();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("tuned.frcnn");
    fs::copy(fixture.path("model.frcnn"), &bundle).unwrap();
    let bundle = bundle.to_str().unwrap();
    let tuning = format!("{bundle}.tune");
    let tuned = succeed(&["tune", bundle, "--threads", "1", "--json"]);
    let report: Value = serde_json::from_str(&stdout(&tuned)).unwrap();
    let layers = report["tuning"]["layers"].as_array().unwrap();
    for layer in layers {
        assert!(layer["times"].as_array().unwrap().len() >= 2, "{layer}");
    }
    // Whether anything was gained is the machine's to say.
    assert_eq!(report["written"].is_string(), fs::exists(&tuning).unwrap(), "{report}");

    // Whatever it was measured with is said where it is used, and with another number of threads that it is another.
    let measured: frcnn::Tuning = serde_json::from_value(report["tuning"].clone()).unwrap();
    fs::write(&tuning, measured.to_bytes()).unwrap();
    let plan = |threads: &str| stdout(&succeed(&["inspect", bundle, "--plan", "--threads", threads]));
    let said = "Algorithms are as `frcnn tune` measured them on 1 thread";
    assert!(plan("1").contains(&format!("{said}.\n")), "{}", plan("1"));
    assert!(plan("2").contains(&format!("{said}; with 2 others")), "{}", plan("2"));
    let runs = ["bench", bundle, "--runs", "1", "--size", "90x120", "--rois", "9", "--threads", "2"];
    assert!(stdout(&succeed(&runs)).contains("as `frcnn tune` measured them on 1 thread; with 2"));
    let benched = stdout(&succeed(&[&runs[..], &["--json"]].concat()));
    assert_eq!(serde_json::from_str::<Value>(&benched).unwrap()["tuned_on_threads"], 1);

    fs::write(&tuning, "nonsense").unwrap();
    let inspected = succeed(&["inspect", bundle, "--plan"]);
    let warning = String::from_utf8(inspected.stderr).unwrap();
    assert!(warning.contains("tuned.frcnn.tune is not used") && warning.contains("frcnn tune"), "{warning}");
    fs::remove_file(&tuning).unwrap();
    fs::create_dir(&tuning).unwrap();
    fails(&frcnn(&["tune", bundle]), 1, &["is a folder"]);
    fails(&frcnn(&["bench", bundle, "--memory", "1M"]), 2, &["tuned.frcnn", "at least", "MiB"]);
}
