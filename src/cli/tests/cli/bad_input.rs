//! Bad input to every command: the exit code is not 0, standard error has one message with the file's name, standard
//! output has nothing, and no file appears or changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::voc;
use crate::fixture::{Fixture, frcnn, stderr, text};

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let fixture = Fixture::get();
    let root = voc(&fixture, "bad-input");
    let path = |name: &str| text(&root.join(name)).to_string();
    let bundle = fixture.path("model.frcnn");
    let (onnx, manifest) = (fixture.path("model.onnx"), fixture.path("small.json"));
    let photo = fixture.path("photos") + "/a.png";
    let data = text(&root).to_string();

    // Of each kind: absent, a folder, empty, text, cut, of another type, without end.
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("words"), "these are words\n").unwrap();
    fs::write(root.join("cut.frcnn"), &fs::read(&bundle).unwrap()[..20_000]).unwrap();
    fs::write(root.join("cut.onnx"), &fs::read(&onnx).unwrap()[..20_000]).unwrap();
    fs::write(root.join("cut.png"), &fs::read(&photo).unwrap()[..100]).unwrap();
    fs::copy(&photo, root.join("photo.frcnn")).unwrap();
    fs::copy(root.join("cut.frcnn"), root.join("bundle.json")).unwrap();
    fs::copy(root.join("cut.frcnn"), root.join("bundle.safetensors")).unwrap();
    fs::write(root.join("list.json"), "[1, 2, {}]").unwrap();
    let files = [
        "absent",
        "folder",
        "empty",
        "words",
        "cut.frcnn",
        "cut.onnx",
        "cut.png",
        "photo.frcnn",
        "bundle.json",
        "bundle.safetensors",
        "list.json",
    ];
    let out = path("out.frcnn");
    let (boxes, json) = (path("out.safetensors"), path("out.json"));
    let mut of_svms: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    of_svms["scores"] = "margins".into();
    fs::write(root.join("margins.json"), of_svms.to_string()).unwrap();
    let margins = path("margins.json");
    // Beside the ONNX files, for commands that name none.
    fs::copy(&manifest, root.join("manifest.json")).unwrap();
    let before = contents(&root);
    let mut wrong: Vec<String> = Vec::new();
    let mut check = |arguments: &[&str], named: &str| {
        let output = frcnn(arguments);
        let errors = stderr(&output);
        // A summary of failed images may follow.
        let messages = errors.lines().filter(|line| line.starts_with("error: ")).count();
        for (right, what) in [
            (output.status.code() == Some(1), "exit code"),
            (output.stdout.is_empty(), "something on standard output"),
            (errors.contains(named), "does not name the file"),
            ((1..=2).contains(&messages), "not one message"),
            (!errors.contains("panicked") && !errors.contains(".partial"), "not a user's words"),
            (contents(&root) == before, "changed a file"),
        ] {
            if !right {
                wrong.push(format!("{what}: {arguments:?}: {:?} {errors}", output.status.code()));
            }
        }
    };
    for name in files {
        let bad = path(name);
        check(&["inspect", &bad], name);
        check(&["inspect", &bad, "--json"], name);
        check(&["bench", &bad], name);
        check(&["detect", &bad, &photo], name);
        check(&["eval", &bad, "--data", &data], name);
        check(&["compare", &bad, "--against", &bundle, "--image", &photo], name);
        check(&["compare", &bundle, "--against", &bad, "--image", &photo], name);
        check(&["compare", &bundle, "--reference", &bad], name);
        check(&["compile", &bad, "-o", &out, "--manifest", &manifest], name);
        check(&["compile", &onnx, "-o", &out, "--manifest", &bad], name);
        check(
            &["compile", &onnx, "-o", &out, "--manifest", &margins, "--method", "rcnn", "--svm", &bad],
            name,
        );
        check(&["sweep", &bad, "--data", &data, "--manifest", &manifest, "--energies", "0.9"], name);
        // That one is a photo, whatever it is called.
        if name != "photo.frcnn" {
            check(&["detect", &bundle, &bad], name);
            check(&["detect", &bundle, &bad, "--json"], name);
            check(&["proposals", &bad, "-o", &boxes], name);
        }
        check(&["detect", &bundle, &photo, "--proposals", &bad], name);
        check(&["proposals", "recall", "--data", &data, &bad], name);
        check(&["proposals", &photo, "-o", &bad], name);
        check(&["eval", "--detections", &bad, "--data", &data], name);
        check(&["eval", "--detections", &bad, "--data", &data, "--json", "--save", &json], name);
        check(&["eval", &bundle, "--data", &bad], name);
        check(&["eval", &bundle, "--data", &bad, "--format", "coco"], name);
        check(&["eval", "merge", &bad, "--data", &data], name);
        if name != "absent" && name != "empty" {
            check(&["eval", &bundle, "--data", &data, "--run", &bad], name);
        }
    }
    // Outputs that cannot be.
    let nowhere = path("nowhere/out");
    for arguments in [
        &["new", "--arch", "squeezenet", "--classes", "3", "-o", &nowhere][..],
        &["compile", &onnx, "-o", &nowhere, "--manifest", &manifest],
        &["compile", &onnx, "-o", &out, "--manifest", &manifest, "--report", &nowhere],
        &["compile", &onnx, "-o", &out, "--manifest", &manifest, "--emit-onnx", &nowhere],
        &["proposals", &photo, "-o", &nowhere],
        &["eval", &bundle, "--data", &data, "--html", &nowhere],
        &["eval", &bundle, "--data", &data, "--run", &nowhere],
        &["sweep", &onnx, "--data", &data, "--manifest", &manifest, "--energies", "0.9", "--csv", &nowhere],
        &["compare", &bundle, "--against", &bundle, "--image", &photo, "--html", &nowhere],
    ] {
        check(arguments, "out");
    }
    let words = path("words");
    check(&["detect", &bundle, &photo, "--out", &words], "words");
    check(&["eval", &bundle, "--data", &data, "--save", &words], "words");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
