//! `frcnn compare`, and its page in a browser.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, stdout, succeed, text};

/// `compare` with the fixture's bundle.
fn compare(fixture: &Fixture, more: &[&str]) -> Output {
    frcnn(&[&["compare", &fixture.path("model.frcnn")], more].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

#[test]
fn a_bundle_agrees_with_itself_and_its_model() {
    let fixture = Fixture::get();
    let photos = fixture.path("photos");
    let itself =
        compare(&fixture, &["--against", &fixture.path("model.frcnn"), "--image", &photos, "--json"]);
    assert!(itself.status.success());
    let report = json(&itself);
    assert_eq!((report["agrees"].as_bool(), report["images"].as_array().unwrap().len()), (Some(true), 2));
    let stages = report["images"][0]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["data", "conv", "pool5", "fc6"]);
    for stage in stages {
        assert_eq!(
            (&stage["difference"]["max_abs"], &stage["difference"]["worst"]),
            (&0.0.into(), &Value::Null)
        );
    }
    let drift = &report["images"][0]["detections"];
    assert!(drift["matched"].as_u64().unwrap() > 0, "{drift}");
    assert_eq!((&drift["missing"], &drift["extra"]), (&0.into(), &0.into()));

    let (model, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let photo = photos + "/a.png";
    let onnx = compare(&fixture, &["--against", &model, "--manifest", &manifest, "--image", &photo]);
    assert!(stdout(&onnx).contains("All stages agree"), "{}", stdout(&onnx));
}

#[test]
fn the_factored_layer_is_found() {
    let fixture = Fixture::get();
    fixture.compile("rank8.frcnn", &["--svd", "fc6=8"]);
    let (small, photo) = (fixture.path("rank8.frcnn"), fixture.path("photos/a.png"));
    let output = compare(&fixture, &["--against", &small, "--image", &photo]);
    fails(&output, 1, &[]);
    let table = stdout(&output);
    assert!(
        table.contains("Stages up to pool5 agree, fc6 does not") && table.contains("factoring"),
        "{table}"
    );
    let wide = compare(&fixture, &["--against", &small, "--image", &photo, "--tolerance", "9"]);
    assert!(wide.status.success(), "{}", stdout(&wide));
    let wrong = compare(&fixture, &["--against", &small, "--image", &photo, "--tolerance", "fc5=1"]);
    fails(&wrong, 2, &["stage `fc5` was not compared", "fc6"]);
    fails(&compare(&fixture, &["--against", &small]), 2, &["--image"]);
    fails(&compare(&fixture, &[]), 2, &["--reference"]);
}

#[test]
fn bundles_of_other_shapes_are_named() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("shapes");
    let onnx = folder.join("sppnet.onnx");
    succeed(&["new", "--arch", "squeezenet", "--method", "sppnet", "--classes", "3", "-o", text(&onnx)]);
    let (other, manifest) = (folder.join("other.frcnn"), fixture.path("small.json"));
    succeed(&["compile", text(&onnx), "-o", text(&other), "--manifest", &manifest]);
    let output = compare(&fixture, &["--against", text(&other), "--image", &fixture.path("photos/a.png")]);
    fails(&output, 1, &["model.frcnn: `pool5` has shape", "the bundle is other.frcnn"]);
}

/// int8 clips what is rare, by however much: its stages are held to the norm of all differences, and what no layer has rounded
/// to what f32 differs by.
#[test]
fn int8_agrees_with_f32_within_what_it_rounds() {
    let fixture = Fixture::get();
    let photos = fixture.path("photos");
    fixture.compile("compare8.frcnn", &["--precision", "int8", "--calibrate", &photos]);
    let int8 = fixture.path("compare8.frcnn");
    let output = compare(&fixture, &["--against", &int8, "--image", &(photos.clone() + "/a.png"), "--json"]);
    assert!(output.status.success(), "{}", stdout(&output));
    let report = json(&output);
    for stage in report["images"][0]["stages"].as_array().unwrap() {
        let (name, tolerance) = (stage["stage"].as_str().unwrap(), stage["tolerance"].as_f64().unwrap());
        if name == "data" {
            assert_eq!((&stage["measure"], tolerance), (&"largest".into(), 1e-5));
        } else {
            assert_eq!(stage["measure"], "norm", "{stage}");
            let norm = stage["difference"]["norm"].as_f64().unwrap();
            assert!(0.0 < norm && norm < tolerance && tolerance < 0.3, "{stage}");
        }
    }
    // Another network is none that was rounded.
    fixture.compile("compare8-rank.frcnn", &["--svd", "fc6=2"]);
    let other = compare(
        &fixture,
        &["--against", &fixture.path("compare8-rank.frcnn"), "--image", &(photos + "/a.png")],
    );
    fails(&other, 1, &[]);
}

/// A reference of one image of 96 x 128 and two RoIs.
fn reference(path: &Path, rois: &[usize], scores: f32) {
    write(path, rois, &[0.0, 8.0, 8.0, 60.0, 60.0, 0.0, 20.0, 10.0, 120.0, 90.0], scores);
}

fn write(path: &Path, rois: &[usize], boxes: &[f32], scores: f32) {
    let data = bytes(&(0..3 * 96 * 128).map(|i| (i % 97) as f32).collect::<Vec<f32>>());
    let boxes = bytes(boxes);
    let cls_prob = bytes(&[scores; 8]);
    let view = |shape: &[usize], data| TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap();
    let tensors = [
        ("data", view(&[1, 3, 96, 128], &data)),
        ("rois", view(rois, &boxes)),
        ("cls_prob", view(&[2, 4], &cls_prob)),
    ];
    let metadata = HashMap::from([("device".to_string(), "NVIDIA H200".to_string())]);
    fs::write(path, serialize(tensors, Some(metadata)).unwrap()).unwrap();
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn references_with_mistakes_are_named() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("references");
    let path = folder.join("r.safetensors");
    reference(&path, &[2, 5], 0.25);
    let output = compare(&fixture, &["--reference", text(&path), "--json"]);
    fails(&output, 1, &[]);
    let report = json(&output);
    assert_eq!(report["images"][0]["sides"][0]["facts"][0][1], "NVIDIA H200");
    assert!(report["images"][0]["verdict"].as_str().unwrap().contains("softmax"), "{report}");

    let other = folder.join("other.safetensors");
    reference(&other, &[2, 5], 0.25);
    assert!(compare(&fixture, &["--reference", text(&path), "--against", text(&other)]).status.success());
    // What one side lacks is not compared, and said.
    let without = folder.join("without.safetensors");
    let data = bytes(&(0..3 * 96 * 128).map(|i| (i % 97) as f32).collect::<Vec<f32>>());
    let view = TensorView::new(Dtype::F32, vec![1, 3, 96, 128], &data).unwrap();
    fs::write(&without, serialize([("data", view)], None).unwrap()).unwrap();
    let output = compare(&fixture, &["--reference", text(&path), "--against", text(&without)]);
    assert!(stdout(&output).contains("Only the reference has cls_prob."), "{}", stdout(&output));
    reference(&other, &[2, 5], f32::NAN);
    let output = compare(&fixture, &["--reference", text(&path), "--against", text(&other), "--json"]);
    assert_eq!(json(&output)["images"][0]["stages"][2]["difference"]["max_abs"], "inf");
    fails(&output, 1, &[]);

    // NaN on both sides is no agreement.
    let third = folder.join("third.safetensors");
    reference(&third, &[2, 5], f32::NAN);
    let output = compare(&fixture, &["--reference", text(&third), "--against", text(&other)]);
    fails(&output, 1, &[]);
    let table = stdout(&output);
    assert!(
        table.contains("begins here") && table.contains("8 are NaN in the reference and 8 in the other side"),
        "{table}"
    );

    reference(&path, &[10, 1], 0.25);
    fails(&compare(&fixture, &["--reference", text(&path)]), 1, &["r.safetensors: `rois` has shape [10, 1]"]);
    for (value, problem) in [(f32::NAN, "row 1 is not finite"), (f32::INFINITY, "row 1 is not finite")] {
        write(&path, &[2, 5], &[0.0, 8.0, 8.0, 60.0, 60.0, 0.0, 20.0, 10.0, value, 90.0], 0.25);
        fails(&compare(&fixture, &["--reference", text(&path)]), 1, &["r.safetensors: `rois`: ", problem]);
    }
    write(&path, &[2, 5], &[0.0, 8.0, 8.0, 60.0, 60.0, 1.0, 20.0, 10.0, 120.0, 90.0], 0.25);
    fails(
        &compare(&fixture, &["--reference", text(&path)]),
        1,
        &["r.safetensors: `rois`: ", "row 1 is not 0"],
    );
    // Of another network: its maps, and what was pooled, have other channels.
    for (name, shape, wanted) in
        [("conv", [1, 8, 6, 8], "[1, 512, H, W]"), ("pool5", [2, 8, 7, 7], "[R, 512, 6, 6]")]
    {
        let (values, boxes) =
            (bytes(&vec![0.5; shape.iter().product()]), bytes(&[0.0, 8.0, 8.0, 60.0, 60.0]));
        let view = |shape: &[usize], data| TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap();
        let tensors = [(name, view(&shape, &values)), ("rois", view(&[1, 5], &boxes))];
        fs::write(&path, serialize(tensors, None).unwrap()).unwrap();
        let words = format!("r.safetensors: `{name}` has shape {shape:?}, and the bundle's has {wanted}");
        fails(&compare(&fixture, &["--reference", text(&path)]), 1, &[&words]);
    }
    fs::write(&path, "no tensors").unwrap();
    fails(&compare(&fixture, &["--reference", text(&path)]), 1, &["r.safetensors: not a safetensors file"]);
    fails(&compare(&fixture, &["--reference", text(&folder.join("absent"))]), 1, &["absent: "]);
}

/// A page that would replace what is compared is refused before.
#[test]
fn a_page_replaces_nothing_that_is_read() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("replaced");
    let (path, other) = (folder.join("r.safetensors"), folder.join("other.safetensors"));
    reference(&path, &[2, 5], 0.25);
    reference(&other, &[2, 5], 0.25);
    let read = [fixture.path("model.frcnn"), text(&path).to_string(), text(&other).to_string()];
    for page in &read {
        let before = fs::read(page).unwrap();
        let files = ["--reference", text(&path), "--against", text(&other), "--html", page];
        fails(&compare(&fixture, &files), 1, &["is read as well"]);
        assert_eq!(fs::read(page).unwrap(), before);
    }
    let photo = fixture.path("photos/a.png");
    let bundle = fixture.path("model.frcnn");
    let photos = ["--against", &bundle, "--image", &photo, "--html", &photo];
    fails(&compare(&fixture, &photos), 1, &["a.png: is read as well"]);
}

/// A file in bf16 has each value of `data` rounded once, by up to 2^-8 of it; what differs by more is no rounding.
#[test]
fn data_in_bf16_may_differ_by_its_rounding() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("bf16");
    let exact: Vec<f32> = (0..3 * 96 * 128).map(|i| (i % 4001) as f32 * 0.0675 - 120.0).collect();
    let write = |name: &str, dtype: Dtype, bytes: &[u8]| {
        let path = folder.join(name);
        let view = TensorView::new(dtype, vec![1, 3, 96, 128], bytes).unwrap();
        fs::write(&path, serialize([("data", view)], None).unwrap()).unwrap();
        path
    };
    let upper = |bits: u32| (bits >> 16) as u16;
    // To the nearest, where a tie does not occur; and towards zero.
    let rounded: Vec<u8> = exact.iter().flat_map(|v| upper(v.to_bits() + 0x7fff).to_le_bytes()).collect();
    let cut: Vec<u8> = exact.iter().flat_map(|v| upper(v.to_bits()).to_le_bytes()).collect();
    let reference = write("f32.safetensors", Dtype::F32, &bytes(&exact));
    let against = |path: &Path| {
        compare(&fixture, &["--reference", text(&reference), "--against", text(path), "--json"])
    };
    let honest = against(&write("rounded.safetensors", Dtype::BF16, &rounded));
    assert!(honest.status.success(), "{}", stdout(&honest));
    let stage = &json(&honest)["images"][0]["stages"][0];
    assert_eq!(stage["tolerance"], 1e-5 + 1.0 / 256.0);
    // More than the square root of the coarseness allows, 256e-5.
    assert!(stage["difference"]["relative"].as_f64().unwrap() > 256e-5, "{stage}");
    fails(&against(&write("cut.safetensors", Dtype::BF16, &cut)), 1, &[]);
}

#[test]
fn blood_cells_agree_with_pytorch() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let model = shared.join("models/bccd-squeezenet");
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("cells.frcnn");
    succeed(&["compile", text(&model.join("model.onnx")), "-o", text(&bundle), "--quiet"]);
    let reference = model.join("reference/BloodImage_00007.safetensors");
    let arguments = ["compare", text(&bundle), "--reference", text(&reference), "--image"];
    let png = shared.join("data/bccd/PNGImages/BloodImage_00007.png");
    let page = folder.path().join("page.html");
    succeed(&[&arguments[..], &[text(&png), "--html", text(&page)]].concat());
    // Another decoder's pixels: said to be the cause.
    let jpeg = shared.join("data/bccd/JPEGImages/BloodImage_00007.jpg");
    let output = frcnn(&[&arguments[..], &[text(&jpeg)]].concat());
    fails(&output, 1, &[]);
    assert!(stdout(&output).contains("data differs") && stdout(&output).contains("JPEG decoders differ"));
}

/// The page works by itself: a browser without network draws both sides' boxes, each on its side of the slider.
#[test]
fn the_page_opens_in_a_browser() {
    let Some(chromium) = frcnn_testkit::program("chromium", "chromium") else { return };
    let fixture = Fixture::get();
    fixture.compile("rank4.frcnn", &["--svd", "fc6=4"]);
    let folder = fixture.fresh("browser");
    let page = folder.join("page.html");
    let (small, photo) = (fixture.path("rank4.frcnn"), fixture.path("photos/a.png"));
    compare(&fixture, &["--against", &small, "--image", &photo, "--html", text(&page)]);
    let html = fs::read_to_string(&page).unwrap();
    assert!(!html.contains("src=\"http") && !html.contains("href="), "the page refers to something outside");

    let browse = |more: &[&str]| {
        let address = format!("file://{}", page.display());
        let offline =
            ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"];
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let arguments = [&offline[..], &[&profile, "--window-size=1250,2400"], more, &[&address]].concat();
        Command::new(&chromium).args(arguments).output().unwrap()
    };
    let dom = stdout(&browse(&["--dump-dom"]));
    assert!(
        dom.contains("clip-path: inset(0px 50% 0px 0px)")
            || dom.contains("clip-path: inset(0 50% 0 0)")
            || dom.contains("clip-path: inset(0px 50% 0px"),
        "the slider's script has not run: {dom}"
    );
    assert!(dom.matches("class=\"mark ").count() > 2 && dom.contains("fc6 does not"));

    let picture = folder.join("page.png");
    browse(&[&format!("--screenshot={}", picture.display())]);
    let pixels = image::open(&picture).unwrap().into_rgb8();
    let count = |colour: [u8; 3]| pixels.pixels().filter(|pixel| pixel.0 == colour).count();
    // The style sheet's colours: bars, and the boxes of either side (pairs, missing, extra).
    assert!(count([0x00, 0x72, 0xb2]) > 100, "no bars");
    assert!(
        count([0xf5, 0xc4, 0x00]) + count([0xe3, 0x34, 0x2f]) + count([0xd5, 0x5e, 0x00]) > 50,
        "no boxes"
    );
}
