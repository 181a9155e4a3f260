//! Channel order and scale: what `compile` says it assumes, what `--check` draws, and how `compare` reads `data`.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};

use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

/// The fixture's manifest with other fields.
fn manifest(fixture: &Fixture, path: &Path, fields: Value) {
    let json = fs::read_to_string(fixture.path("small.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&json).unwrap();
    for (key, value) in fields.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn every_compile_says_what_it_assumes() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("assumed");
    let [rgb, report] = ["rgb.json", "report.json"].map(|name| folder.join(name));
    let means = json!([122.7717, 115.9465, 102.9801]);
    manifest(&fixture, &rgb, json!({"channel_order": "rgb", "pixel_means": means}));
    for (manifest, line, order) in [
        (fixture.path("small.json"), "Assumed: the network reads bgr in 0..255, less 102.9801", "bgr"),
        (text(&rgb).to_string(), "Assumed: the network reads rgb in 0..255, less 122.7717", "rgb"),
    ] {
        let bundle = folder.join("model.frcnn");
        let arguments =
            ["compile", &fixture.path("model.onnx"), "-o", text(&bundle), "--manifest", &manifest];
        let output = succeed(&[&arguments[..], &["--report", text(&report)]].concat());
        assert!(stdout(&output).contains(line), "{}", stdout(&output));
        let report: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
        assert_eq!(report["input"]["channel_order"], order);
        let inspected = stdout(&succeed(&["inspect", text(&bundle)]));
        assert!(inspected.contains(&format!("{order} in 0..255")), "{inspected}");
    }
    assert!(stdout(&fixture.compile("again.frcnn", &[])).contains("\"channel_order\": \"rgb\""));
}

#[test]
fn check_draws_what_is_found() {
    let fixture = Fixture::get();
    let photo = fixture.path("photos/a.png");
    let output = fixture.compile("checked.frcnn", &["--check", &photo]);
    assert!(stdout(&output).contains("checked.check.png"), "{}", stdout(&output));
    let drawn = image::open(fixture.path("checked.check.png")).unwrap().to_rgb8();
    let original = image::open(&photo).unwrap().to_rgb8();
    assert_eq!(drawn.dimensions(), original.dimensions());
    // Without training every score is about a quarter: something is found, and drawn.
    assert!(stdout(&output).contains("detections in"), "{}", stdout(&output));
    assert_ne!(drawn, original);

    let elsewhere = fixture.path("elsewhere.png");
    fixture.compile("checked.frcnn", &["--check", &photo, "--check-out", &elsewhere, "--quiet"]);
    assert!(Path::new(&elsewhere).exists());

    let compile = |photo: &str, out: &str| {
        let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
        frcnn(&[
            "compile",
            &model,
            "-o",
            &fixture.path("never.frcnn"),
            "--manifest",
            &manifest,
            "--check",
            photo,
            "--check-out",
            out,
        ])
    };
    fails(&compile(&fixture.path("small.json"), &elsewhere), 1, &["small.json"]);
    fails(&compile(&photo, &photo), 1, &["is read as well"]);
    assert!(!Path::new(&fixture.path("never.frcnn")).exists());
}

#[test]
fn compare_reads_data_as_the_network_does() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("rgb");
    let [rgb, bundle, reference] = ["rgb.json", "rgb.frcnn", "a.safetensors"].map(|name| folder.join(name));
    let (means, stds) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    // The photos' own size: data is every pixel, normalised.
    manifest(
        &fixture,
        &rgb,
        json!({"channel_order": "rgb", "pixel_scale": 1, "pixel_means": means, "pixel_stds": stds, "scales": [90]}),
    );
    succeed(&["compile", &fixture.path("model.onnx"), "-o", text(&bundle), "--manifest", text(&rgb)]);
    let photo = fixture.path("photos/a.png");
    let pixels = image::open(&photo).unwrap().to_rgb8();
    let (width, height) = pixels.dimensions();
    let values = |bgr: bool| -> Vec<u8> {
        let channel = |c: usize| {
            pixels.pixels().map(move |pixel| {
                let value = f64::from(pixel.0[if bgr { 2 - c } else { c }]) / 255.0;
                ((value - means[c]) / stds[c]) as f32
            })
        };
        (0..3).flat_map(channel).flat_map(f32::to_le_bytes).collect()
    };
    let compared = |bgr: bool| {
        let data = values(bgr);
        let view = TensorView::new(Dtype::F32, vec![1, 3, height as usize, width as usize], &data).unwrap();
        fs::write(&reference, serialize([("data", view)], None).unwrap()).unwrap();
        frcnn(&["compare", text(&bundle), "--reference", text(&reference), "--image", &photo])
    };
    let output = compared(false);
    assert!(output.status.success(), "{}", stdout(&output));
    fails(&compared(true), 1, &[]);
}
