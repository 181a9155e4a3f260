//! Names from files never act on the terminal that they are printed to.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::RgbImage;
use serde_json::{Value, json};

use crate::fixture::{Fixture, frcnn, stdout, succeed, text};

/// Sets the title, clears the screen, in two notations, turns the direction of writing, forges a line.
const NAME: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\nerror: x\r\t.";

/// The same without what cannot be part of a file's name.
const FILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\nerror: x";

fn acts(c: char) -> bool {
    c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

fn assert_inert(what: &str, text: &str) {
    if let Some(at) = text.find(acts) {
        let near: String = text[at..].chars().take(40).collect();
        panic!("{what}: {near:?}");
    }
}

fn inert(output: &Output) -> &Output {
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = std::str::from_utf8(bytes).unwrap();
        assert_inert(stream, text);
        assert!(!text.contains("\nerror: x"), "a name forges a line: {text}");
    }
    output
}

/// A bundle whose classes and layers, and a data set whose files and categories, have the worst of names.
struct Hostile {
    root: std::path::PathBuf,
}

impl Hostile {
    fn new(fixture: &Fixture) -> Hostile {
        let root = fixture.fresh("terminal");
        let manifest = fs::read(fixture.path("small.json")).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["name"] = NAME.into();
        manifest["classes"] =
            json!(["__background__", format!("{NAME}1"), format!("{NAME}2"), format!("{NAME}3")]);
        // Untrained scores are all alike.
        manifest["score_threshold"] = 0.0.into();
        fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
        // Layers called fire2 and so on get names of the same length.
        let mut model = fs::read(fixture.path("model.onnx")).unwrap();
        let (from, to) = (b"fire", b"\x1b[2J");
        let places: Vec<usize> = (0..model.len() - 4).filter(|&at| &model[at..at + 4] == from).collect();
        assert!(!places.is_empty());
        for at in places {
            model[at..at + 4].copy_from_slice(to);
        }
        fs::write(root.join("model.onnx"), model).unwrap();
        let photo = RgbImage::from_fn(120, 90, |x, y| image::Rgb([x as u8, y as u8 * 2, 40]));
        fs::create_dir_all(root.join("annotations")).unwrap();
        fs::create_dir_all(root.join("test")).unwrap();
        photo.save(root.join("photo.png")).unwrap();
        for n in 1..3 {
            fs::copy(root.join("photo.png"), root.join(format!("test/{FILE}{n}.png"))).unwrap();
        }
        let image = |n: i32| json!({"id": n, "file_name": format!("{FILE}{n}.png"), "width": 5, "height": 7});
        let annotation_of = |n: i32, image: i32| json!({"id": n, "image_id": image, "category_id": n, "bbox": [9, 9, 70, 50], "area": 99, "iscrowd": 0});
        let annotation = |n: i32| annotation_of(n, n);
        let category = |n: i32| json!({"id": n, "name": format!("{NAME}{n}")});
        let truth = json!({
            "images": [image(1), image(2)],
            "annotations": [annotation(1), annotation(2), annotation_of(4, 1), annotation(9)],
            "categories": [category(1), category(2), category(4), category(4 + 1).as_object().map(|_| json!({"id": 5, "name": format!("{NAME}4")}))],
        });
        fs::write(root.join("annotations/instances_test.json"), truth.to_string()).unwrap();
        Hostile { root }
    }

    fn path(&self, name: &str) -> String {
        text(&self.root.join(name)).to_string()
    }
}

#[test]
fn nothing_that_is_printed_acts() {
    let fixture = Fixture::get();
    let hostile = Hostile::new(&fixture);
    let (bundle, model, data) = (hostile.path("b.frcnn"), hostile.path("model.onnx"), hostile.path(""));
    let photo = hostile.path(&format!("test/{FILE}1.png"));
    let compiled = frcnn(&["compile", &model, "-o", &bundle]);
    inert(&compiled);
    assert!(compiled.status.success(), "{compiled:?}");
    assert!(stdout(&compiled).contains("\\u{1b}[2J2"), "{}", stdout(&compiled));

    let inspected = succeed(&["inspect", &bundle]);
    assert!(stdout(inert(&inspected)).contains("\\u{1b}]0;owned\\u{7}"), "{}", stdout(&inspected));
    // JSON is escaped in its own way, and exact.
    let inspected = succeed(&["inspect", &bundle, "--json"]);
    let json: Value = serde_json::from_str(&stdout(inert(&inspected))).unwrap();
    assert_eq!(json["manifest"]["classes"][1], format!("{NAME}1"));

    let (boxes, page, csv) =
        (hostile.path("boxes.safetensors"), hostile.path("page.html"), hostile.path("s.csv"));
    let (svg, run) = (hostile.path("s.svg"), hostile.path("run.jsonl"));
    let folder = hostile.path("test");
    inert(&succeed(&["proposals", &folder, "-o", &boxes, "--from", "grid"]));
    inert(&succeed(&[
        "proposals",
        &folder,
        "-o",
        &hostile.path("j.safetensors"),
        "--from",
        "grid",
        "--json",
    ]));
    inert(&succeed(&["proposals", "recall", "--data", &data, &boxes]));
    inert(&succeed(&["proposals", "recall", "--data", &data, &boxes, "--json"]));
    let some = ["--proposals-from", "grid", "--max-proposals", "20"];
    let detected =
        succeed(&[&["detect", &bundle, &photo, "--out", &hostile.path("out")], &some[..]].concat());
    assert!(stdout(inert(&detected)).contains("owned"), "{}", stdout(&detected));
    let detected = succeed(&[&["detect", &bundle, &photo, "--json"], &some[..]].concat());
    let json: Value = serde_json::from_str(&stdout(inert(&detected))).unwrap();
    assert_eq!(json["image"], photo.as_str());
    inert(&succeed(&["bench", &bundle, "--image", &photo, "--proposals", &boxes, "--runs", "1"]));
    let eval = ["eval", &bundle, "--data", &data, "--proposals", &boxes];
    let evaluated = succeed(&[&eval[..], &["--html", &page, "--run", &run]].concat());
    for words in
        ["2 images are not of the size", "1 annotations are of an image", "share their name", "does not know"]
    {
        let stderr = String::from_utf8_lossy(&evaluated.stderr);
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    inert(&evaluated);
    assert_inert("page", &fs::read_to_string(&page).unwrap());
    inert(&succeed(&[&eval[..], &["--json"]].concat()));
    inert(&succeed(&["eval", "merge", &run, "--data", &data]));
    // The names of files cannot have all of these.
    let saved = frcnn(&[&eval[..], &["--save", &hostile.path("saved")]].concat());
    assert!(!inert(&saved).status.success());
    inert(&succeed(&[
        "compare",
        &bundle,
        "--against",
        &bundle,
        "--image",
        &photo,
        "--proposals",
        &boxes,
        "--html",
        &page,
    ]));
    assert_inert("page", &fs::read_to_string(&page).unwrap());
    let swept = [
        "sweep",
        &model,
        "--data",
        &data,
        "--proposals",
        &boxes,
        "--energies",
        "0.9",
        "--csv",
        &csv,
        "--plot",
        &svg,
    ];
    inert(&succeed(&swept));
    assert_inert("csv", &fs::read_to_string(&csv).unwrap());
    assert_inert("svg", &fs::read_to_string(&svg).unwrap());
    errors_are_inert(&hostile, &bundle);
    a_terminal_is_safe(&hostile, &bundle);
}

/// Names in every place where an error may repeat them.
fn errors_are_inert(hostile: &Hostile, bundle: &str) {
    let bad = hostile.path(&format!("{FILE}.bad"));
    fs::write(&bad, NAME).unwrap();
    let (absent, data) = (hostile.path(&format!("{NAME}-absent")), hostile.path(""));
    for arguments in [
        &["inspect", &bad][..],
        &["inspect", &absent],
        &["detect", bundle, &bad],
        &["detect", bundle, &absent],
        &["detect", bundle, &bad, "--proposals", &bad],
        &["compile", &bad, "-o", &absent],
        &["compile", &absent, "-o", &bad],
        &["eval", bundle, "--data", &absent],
        &["eval", bundle, "--data", &bad],
        &["eval", bundle, "--data", &data, "--split", NAME],
        &["eval", "--detections", &bad, "--data", &data],
        &["proposals", &bad, "-o", "x.safetensors"],
        &["bench", &bad],
        &["compare", bundle, "--reference", &bad],
        &["new", "--arch", NAME, "--classes", "3", "-o", "x"],
        &[NAME],
        &["inspect", bundle, NAME],
        &["compile", "m", "-o", "b", "--svd", NAME],
    ] {
        let output = frcnn(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!inert(&output).stderr.is_empty(), "{arguments:?}");
    }
    for (detections, words) in [
        (json!([{"image_id": NAME, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]), "image_id"),
        (
            json!([{"image_id": 1, "category_id": NAME.repeat(2), "bbox": [1, 2, 3, 4], "score": 1}]),
            "category_id",
        ),
        (json!([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, NAME], "score": 1}]), "bbox"),
        (json!({NAME: 1}), "list"),
    ] {
        let path = hostile.path("found.json");
        fs::write(&path, detections.to_string()).unwrap();
        let output = frcnn(&["eval", "--detections", &path, "--data", &hostile.path("")]);
        let errors = String::from_utf8_lossy(&inert(&output).stderr).into_owned();
        assert!(!output.status.success() && errors.contains(words), "{errors}");
    }
}

/// On a terminal bars are drawn, with escape sequences of their own; none is a name's.
fn a_terminal_is_safe(hostile: &Hostile, bundle: &str) {
    let folder = hostile.path("test");
    let program = env!("CARGO_BIN_EXE_frcnn");
    let quoted = |text: &str| format!("'{text}'");
    for arguments in [vec!["inspect", bundle], vec!["detect", bundle, &folder, "--proposals-from", "grid"]] {
        let command: Vec<String> = [program].iter().chain(&arguments).map(|word| quoted(word)).collect();
        let output = Command::new("script").args(["-qefc", &command.join(" "), "/dev/null"]).output();
        let output = output.unwrap_or_else(|error| panic!("script (util-linux) is needed: {error}"));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && shown.contains("owned"), "{shown:?}");
        for sequence in ["\u{1b}]0;", "\u{7}", "\u{1b}[2J", "\u{9b}", "\u{202e}", "\u{7f}"] {
            assert!(!shown.contains(sequence), "{sequence:?} in {shown:?}");
        }
    }
    assert!(Path::new(&folder).is_dir());
}
