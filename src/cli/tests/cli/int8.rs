//! `frcnn compile --precision int8`.

use std::fs;

use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, stderr, stdout, succeed, text};

#[test]
fn int8_is_calibrated_on_a_folder_of_photos() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("int8");
    let [bundle, report, onnx] = ["int8.frcnn", "report.json", "qdq.onnx"].map(|name| folder.join(name));
    let photos = fixture.path("photos");
    let int8 = ["--precision", "int8", "--calibrate", &photos];
    let more = ["--report", text(&report), "--emit-onnx", text(&onnx)];
    let bundle = text(&bundle);
    let table = stdout(&fixture.compile(bundle, &[&int8[..], &more].concat()));
    for words in
        ["before rounding to int8", "of 2 photos", "fire2_squeeze1x1", "the photos of the calibration"]
    {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!((&report["precision"], &report["int8"]["photos"]), (&"int8".into(), &2.into()));
    assert_eq!(
        (&report["found_again"]["photos"], &report["found_again"]["calibrated_on"]),
        (&2.into(), &true.into())
    );

    let inspected: Value = serde_json::from_str(&stdout(&succeed(&["inspect", bundle, "--json"]))).unwrap();
    let sections = inspected["sections"].as_array().unwrap();
    let precision_of = |name: &str| &sections.iter().find(|s| s["name"] == name).unwrap()["precision"];
    for (name, precision) in [
        ("conv1.weight", "f32"),
        ("fire2_squeeze1x1.weight", "int8"),
        ("fire2_squeeze1x1.weight.scales", "f32"),
        ("fire2_expand3x3.weight", "f16"),
        ("fc6.weight", "int8"),
        ("cls_score.weight", "f32"),
    ] {
        assert_eq!(precision_of(name), precision, "{name}");
    }
    let counts = &inspected["layer_precisions"];
    assert_eq!((&counts["f32"], counts["int8"].as_u64().unwrap() > 8), (&3.into(), true), "{counts}");
    assert_eq!((&inspected["format"], &inspected["board"]), (&6.into(), &Value::Null));
    let reads = &sections.iter().find(|s| s["name"] == "fc6.weight").unwrap()["reads"];
    let [from, to, step] = ["from", "to", "step"].map(|field| reads[field].as_f64().unwrap());
    assert!(from <= 0.0 && ((to - from) / step - 255.0).abs() < 1e-3, "{reads}");
    let shown = stdout(&succeed(&["inspect", bundle]));
    for words in ["layers, f16 ", ", f32 3", "format", "int8 weights", "any machine"] {
        assert!(shown.contains(words), "`{words}` is not in: {shown}");
    }
    let plan: Value =
        serde_json::from_str(&stdout(&succeed(&["inspect", bundle, "--plan", "--json"]))).unwrap();
    let products = |name: &str| {
        let row = plan.as_array().unwrap().iter().find(|row| row["layer"] == name).unwrap();
        row["products"].as_str().unwrap().to_string()
    };
    for layer in ["fire2_squeeze1x1", "fc6"] {
        assert!(products(layer).starts_with("int8 ("), "{layer}: {}", products(layer));
    }
    succeed(&["detect", bundle, &(photos.clone() + "/a.png")]);
    // The same bytes again.
    let again = folder.join("again.frcnn");
    fixture.compile(text(&again), &int8);
    assert!(fs::read(bundle).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn int8_without_photos_is_refused() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("int8-errors");
    let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let bundle = folder.join("b.frcnn");
    let compile = |more: &[&str]| {
        frcnn(&[&["compile", &model, "-o", text(&bundle), "--manifest", &manifest], more].concat())
    };
    let with = |photos: &str| compile(&["--precision", "int8", "--calibrate", photos]);
    let make = |name: &str| {
        let made = folder.join(name);
        fs::create_dir(&made).unwrap();
        made
    };
    fails(&compile(&["--precision", "int8"]), 2, &["--precision int8", "--calibrate DIR"]);
    fails(&compile(&["--calibrate", &fixture.path("photos")]), 2, &["--calibrate is for --precision int8"]);
    let absent = folder.join("absent");
    fails(&with(text(&absent)), 1, &[text(&absent)]);
    let empty = make("empty");
    fails(&with(text(&empty)), 1, &[text(&empty), "has no file called"]);
    let dataset = make("dataset");
    fs::create_dir(dataset.join("Annotations")).unwrap();
    fails(&with(text(&dataset)), 2, &["this is a data set", "--split train"]);
    let damaged = make("damaged");
    fs::write(damaged.join("a.jpg"), "no photo").unwrap();
    let refused = with(text(&damaged));
    fails(&refused, 1, &["no photo with a region to calibrate int8 on"]);
    // A photo that is damaged is named once, though both networks are to look at it as well.
    for name in ["a.png", "b.png"] {
        fs::copy(fixture.path("photos") + "/" + name, damaged.join(name)).unwrap();
    }
    let elsewhere = folder.join("c.frcnn");
    let rest = ["--precision", "int8", "--calibrate", text(&damaged)];
    let output =
        succeed(&[&["compile", &model, "-o", text(&elsewhere), "--manifest", &manifest], &rest[..]].concat());
    assert_eq!(stderr(&output).matches("a.jpg").count(), 1, "{}", stderr(&output));
    assert!(stdout(&output).contains("on 2 of the photos of the calibration"), "{}", stdout(&output));
    // The split is that of --data where the photos are a folder.
    let of_data = ["--precision", "int8", "--calibrate", &fixture.path("photos"), "--split", "test"];
    succeed(&[&["compile", &model, "-o", text(&elsewhere), "--manifest", &manifest], &of_data[..]].concat());
    // What objects a data set has is no matter to calibrating.
    let strange = crate::dataset::voc(&fixture, "int8-strange");
    crate::dataset::annotate(&strange, "a", "zebra");
    let proposals = text(&strange.join("boxes.json")).to_string();
    let more =
        ["--precision", "int8", "--calibrate", text(&strange), "--split", "test", "--proposals", &proposals];
    let output =
        succeed(&[&["compile", &model, "-o", text(&elsewhere), "--manifest", &manifest], &more[..]].concat());
    assert_eq!(stderr(&output), "");
    assert!(
        stderr(&refused).contains("passed over") && stderr(&refused).contains("a.jpg"),
        "{}",
        stderr(&refused)
    );
    assert!(!bundle.exists());
}

/// The model with one weight of a layer that becomes f16 where others become int8, larger than any of f16.
#[test]
fn a_weight_too_large_names_the_model_and_what_to_do() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("int8_overflow");
    let mut bytes = fs::read(fixture.path("model.onnx")).unwrap();
    // In a tensor's record its values come behind its name: a tag, their length and they.
    let name = b"fire2_expand3x3.weight\x4a";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let length = bytes[at..].iter().position(|byte| *byte < 0x80).unwrap() + 1;
    bytes[at + length..][..4].copy_from_slice(&1e5f32.to_le_bytes());
    let model = folder.join("large.onnx");
    fs::write(&model, bytes).unwrap();
    let (bundle, photos) = (folder.join("large.frcnn"), fixture.path("photos"));
    let arguments = ["compile", text(&model), "-o", text(&bundle), "--manifest", &fixture.path("small.json")];
    let int8 = ["--precision", "int8", "--calibrate", &photos];
    let words =
        ["large.onnx: layer `fire2_expand3x3`: 1 of", "beside int8 layers", "--precision bf16 or f32"];
    fails(&frcnn(&[&arguments[..], &int8].concat()), 1, &words);
    assert!(!bundle.exists());
}
