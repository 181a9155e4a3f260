//! Weights in files beside the model.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use frcnn_compiler::{Description, Options, compile};
use prost::Message;
use tract_onnx::pb::ModelProto;

use super::{bits, example};
use crate::common::people::*;

/// A model whose weights lie in `location`.
fn model(location: &str) -> (ModelProto, Vec<u8>) {
    let (mut model, mut file) = (example(), vec![0; 64]);
    for tensor in &mut graph(&mut model).initializer {
        move_out(tensor, location, &mut file);
    }
    (model, file)
}

fn compile_at(path: &Path) -> Result<Vec<u32>, String> {
    let compiled = compile(path, &manifest(), &Options::default(), &mut |_| {});
    compiled.map(|compiled| bits(&compiled.bundle)).map_err(|error| error.to_string())
}

fn write(folder: &Path, model: &ModelProto) -> PathBuf {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

#[test]
fn are_read_where_they_lie_or_where_links_lead() {
    let expected = bits(&try_compile(&example()).unwrap().bundle);
    for location in ["model.onnx.data", "weights/all.bin", "./weights/all.bin"] {
        let folder = tempfile::tempdir().unwrap();
        let (model, file) = model(location);
        let path = write(folder.path(), &model);
        let data = folder.path().join(location);
        fs::create_dir_all(data.parent().unwrap()).unwrap();
        fs::write(&data, &file).unwrap();
        assert!(compile_at(&path).unwrap() == expected, "{location}");

        // A hub's cache: both are links to blobs elsewhere.
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cache.path().join("snapshot");
        fs::create_dir_all(snapshot.join(location).parent().unwrap()).unwrap();
        symlink(&path, snapshot.join("model.onnx")).unwrap();
        symlink(&data, snapshot.join(location)).unwrap();
        assert!(compile_at(&snapshot.join("model.onnx")).unwrap() == expected, "{location}");
        // A link to the model alone.
        let alone = cache.path().join("alone.onnx");
        symlink(&path, &alone).unwrap();
        assert!(compile_at(&alone).unwrap() == expected, "{location}");
    }
}

#[test]
fn are_named_when_they_are_missing_or_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, file) = model("model.onnx.data");
    let path = write(folder.path(), &model);
    let refused = |path: &Path, words: &[&str]| {
        let error = compile_at(path).unwrap_err();
        for word in words.iter().chain(&["model.onnx: node"]) {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    refused(&path, &["model.onnx.data", "`zero`", "No such file"]);
    let data = folder.path().join("model.onnx.data");
    fs::write(&data, &file[..file.len() - 1]).unwrap();
    refused(&path, &["model.onnx.data", "is it complete?"]);
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    refused(&path, &["model.onnx.data", "is a folder and no file"]);
    fs::remove_dir(&data).unwrap();
    fs::write(&data, &file).unwrap();
    compile_at(&path).unwrap();

    for (key, value, words) in [
        ("offset", "18446744073709551615", "is it complete?"),
        ("offset", "-1", "not a number"),
        ("length", "1", "its shape makes"),
        ("length", "many", "not a number"),
        ("location", "", "not named"),
        ("location", "../model.onnx.data", "not a path below"),
        ("location", "weights/../../model.onnx.data", "not a path below"),
        ("location", data.to_str().unwrap(), "not a path below"),
    ] {
        let mut changed = model.clone();
        let tensor = &mut graph(&mut changed).initializer[0];
        tensor.external_data.iter_mut().find(|entry| entry.key == key).unwrap().value = value.to_string();
        refused(&write(folder.path(), &changed), &[words]);
    }
    // What nothing reads need not be there.
    let mut unread = graph(&mut model).initializer[0].clone();
    unread.name = "unread".to_string();
    unread.external_data[0].value = "nowhere.bin".to_string();
    graph(&mut model).initializer.push(unread);
    compile_at(&write(folder.path(), &model)).unwrap();
}

#[test]
fn a_pointer_to_a_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = folder.path().join("model.onnx");
    fs::write(&onnx, "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1234\n").unwrap();
    let description = Description::of_classes(["a".to_string()]).unwrap();
    let error = compile(&onnx, &description, &Options::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("a Git LFS pointer; `git lfs pull` fetches the model"), "{error}");
}
