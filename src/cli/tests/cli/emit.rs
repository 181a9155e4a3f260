//! `compile --emit`: networks as parts of programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use frcnn_testkit::{emulated, need, skip};
use safetensors::SafeTensors;

use crate::fixture::{Fixture, fails, frcnn, stderr, stdout, succeed, text};

/// Names that are no identifiers, or become the same.
const NAMES: [&str; 12] = [
    "type",
    "self",
    "Self",
    "2wheeler",
    "",
    "🚗",
    "traffic light",
    "Traffic-Light",
    "Größe",
    "a\"\\\n`*/b",
    "ALL",
    "??/\u{202e}\u{7f}",
];

/// `compile` of a new network, at a small scale, with `more`.
struct Model {
    folder: tempfile::TempDir,
    /// What `compile` is told of it.
    kind: Vec<String>,
}

impl Model {
    fn new(names: &[&str]) -> Model {
        Model::of_method("fast-rcnn", names)
    }

    /// An R-CNN, whose scores are margins, without box regressors.
    fn rcnn(names: &[&str]) -> Model {
        let mut model = Model::of_method("rcnn", names);
        let svm = model.path("svm.safetensors");
        let bytes = fs::read(&svm).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let margins = tensors.iter().filter(|(name, _)| name.starts_with("svm."));
        fs::write(&svm, safetensors::serialize(margins, None).unwrap()).unwrap();
        model.kind = ["--method", "rcnn", "--svm", text(&svm)].map(str::to_string).to_vec();
        model
    }

    fn of_method(method: &str, names: &[&str]) -> Model {
        let model = Model { folder: tempfile::tempdir().unwrap(), kind: Vec::new() };
        let (onnx, count) = (model.path("model.onnx"), names.len().to_string());
        let new = ["new", "--arch", "squeezenet", "--method", method, "--classes", &count];
        succeed(&[&new[..], &["-o", text(&onnx)]].concat());
        let classes: Vec<&str> = ["__background__"].into_iter().chain(names.iter().copied()).collect();
        let manifest = serde_json::json!({ "classes": classes, "scales": [96] });
        fs::write(model.path("manifest.json"), manifest.to_string()).unwrap();
        model
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, more: &[&str]) -> std::process::Output {
        let kind: Vec<&str> = self.kind.iter().map(String::as_str).collect();
        succeed(&[&["compile", text(&self.path("model.onnx"))], &kind[..], more].concat())
    }

    fn emit(&self, kind: &str, dir: &str) -> PathBuf {
        let dir = self.path(dir);
        self.compile(&["--emit", kind, text(&dir)]);
        dir
    }
}

/// Every file of a folder, by its path within.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            files.extend(self::files(&path).into_iter().map(|(within, bytes)| (name.join(within), bytes)));
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    const CRATE: [&str; 8] = [
        ".cargo/config.toml",
        "Cargo.toml",
        "README.md",
        "rustfmt.toml",
        "src/lib.rs",
        "src/model.frcnn",
        "tests/reference.bin",
        "tests/self_test.rs",
    ];
    const C: [&str; 5] = ["README.md", "cells_model.S", "cells_model.frcnn", "cells_model.h", "cells_test.c"];
    let model = Model::new(&["rbc", "wbc"]);
    let emit = |within: &str| {
        let [rust, c] = ["rust", "c"].map(|kind| model.path(within).join(kind));
        for folder in [&rust, &c] {
            fs::create_dir_all(folder).unwrap();
        }
        let [rust, c] = [rust, c].map(|folder| folder.join("cells"));
        model.compile(&["--emit", "crate", text(&rust), "--emit", "c", text(&c)]);
        [files(&rust), files(&c)]
    };
    let first = emit("here");
    assert_eq!(first[0].keys().map(|name| text(name)).collect::<Vec<_>>(), CRATE);
    assert_eq!(first[1].keys().map(|name| text(name)).collect::<Vec<_>>(), C);
    assert!(emit("elsewhere") == first);
    // Once more in the same place, beside a file of the user's and in place of one that was changed.
    fs::write(model.path("here/rust/cells/Cargo.lock"), "own").unwrap();
    fs::write(model.path("here/rust/cells/src/lib.rs"), "changed").unwrap();
    let mut again = emit("here");
    assert_eq!(again[0].remove(Path::new("Cargo.lock")).unwrap(), b"own");
    assert!(again == first);
}

#[test]
fn it_goes_beside_a_bundle_or_without_one() {
    let model = Model::new(&["rbc"]);
    let [bundle, rust, c] = ["cells.frcnn", "rust", "cells"].map(|name| model.path(name));
    let told = stdout(&model.compile(&[
        "-o",
        text(&bundle),
        "--emit",
        "crate",
        text(&rust),
        "--emit",
        "c",
        text(&c),
    ]));
    for path in [&bundle, &rust, &c] {
        assert!(told.contains(text(path)), "{told}");
    }
    assert_eq!(fs::read(&bundle).unwrap(), fs::read(rust.join("src/model.frcnn")).unwrap());
    assert_eq!(fs::read(&bundle).unwrap(), fs::read(c.join("cells_model.frcnn")).unwrap());
    // The report is in both.
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    for readme in [rust.join("README.md"), c.join("README.md")] {
        assert!(read(readme).contains("Agreement with the ONNX file"));
    }
    let sum = Command::new("sha256sum").arg(model.path("model.onnx")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_string();
    assert!(read(rust.join("src/lib.rs")).contains(&format!("ONNX_SHA256: &str = \"{sum}\";")));
    assert!(read(c.join("cells_model.h")).contains(&format!("CELLS_ONNX_SHA256 \"{sum}\"")));
}

#[test]
fn what_is_not_ours_stays_and_what_fails_leaves_nothing() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("emit");
    let model = fixture.path("model.onnx");
    let onnx = text(Path::new(&model));
    let compile = |more: &[&str]| frcnn(&[&["compile", onnx], more].concat());
    let dir = folder.join("own");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("Cargo.toml"), "[package]\nname = \"own\"\n").unwrap();
    for kind in ["crate", "c"] {
        fails(&compile(&["--emit", kind, text(&dir)]), 1, &["own", "has other files", "name a folder"]);
    }
    assert_eq!(files(&dir).len(), 1);
    fails(&compile(&["--emit", "crate", text(&dir.join("Cargo.toml"))]), 1, &["is a file"]);
    fails(&compile(&["--emit", "crate", text(&folder.join("absent/x"))]), 1, &["does not exist"]);
    fails(&compile(&["--emit", "java", text(&folder.join("x"))]), 2, &["crate", "`c`"]);
    fails(&compile(&[]), 2, &["--output"]);
    let (new, same) = (folder.join("x"), folder.join("./x"));
    let new = text(&new);
    let twice = ["--emit", "c", new, "--emit", "crate", text(&same)];
    fails(&compile(&twice), 1, &["written twice"]);
    let absent = ["--emit", "crate", new, "--frcnn-path", text(&folder)];
    fails(&compile(&absent), 1, &["has no Cargo.toml", "src/runtime"]);
    fails(&compile(&["--emit", "c", new, "--check", "p.jpg"]), 2, &["--check-out"]);
    // What would lie among the program's files.
    let made = folder.join("made");
    fs::create_dir(&made).unwrap();
    for (more, file) in [("--report", "README.md"), ("-o", "m.frcnn"), ("--emit-onnx", "m.onnx")] {
        let inside = compile(&["--emit", "crate", text(&made), more, text(&made.join(file))]);
        fails(&inside, 1, &[file, "lies in the folder that --emit writes"]);
    }
    fs::remove_dir(&made).unwrap();
    // A model that does not compile, and a report that cannot be written.
    fs::write(folder.join("no.onnx"), "no").unwrap();
    fs::write(folder.join("manifest.json"), r#"{"classes": ["b", "c"]}"#).unwrap();
    let broken = frcnn(&["compile", text(&folder.join("no.onnx")), "--emit", "crate", new]);
    fails(&broken, 1, &["not an ONNX model"]);
    let full = ["--emit", "crate", new, "--report", "/dev/full"];
    let names =
        |folder: &Path| fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    if Path::new("/dev/full").exists() {
        fails(&compile(&full), 1, &["/dev/full"]);
    }
    let mut left = names(&folder);
    left.sort();
    assert_eq!(left, ["manifest.json", "no.onnx", "own"]);
}

/// Cargo takes the crate as it is. What it would build of `frcnn` anew is taken from this build, which takes seconds.
#[test]
fn an_emitted_crate_tests_itself() {
    if emulated() {
        return skip("cc", "programs are emulated");
    }
    let model = Model::new(&NAMES);
    let dir = model.emit("crate", "2 Wheelers!");
    let lib = fs::read_to_string(dir.join("src/lib.rs")).unwrap();
    for variant in
        ["Type = 1", "ClassSelf = 2", "ClassSelfClass3 = 3", "Class2wheeler = 4", "Class5 = 5", "Class6 = 6"]
    {
        assert!(lib.contains(&format!("    {variant},\n")), "{variant}");
    }
    let build = Build { dir: &dir, out: model.path("out") };
    build.resolve();
    build.check();
    build.library();
    let said = build.tests();
    assert!(said.0 && said.1.contains("4 passed; 0 failed"), "{}", said.1);
    // Of a network that computes something else the test finds it out: one byte of an exponent.
    let reference = dir.join("tests/reference.bin");
    let mut bytes = fs::read(&reference).unwrap();
    bytes[3] ^= 1;
    fs::write(&reference, bytes).unwrap();
    let said = build.tests();
    assert!(!said.0 && said.1.contains("cls_prob") && said.1.contains("3 passed; 1 failed"), "{}", said.1);
}

/// An R-CNN without box regressors gives box deltas of zero, which are compared like others.
#[test]
fn an_emitted_r_cnn_tests_itself() {
    if emulated() {
        return skip("cc", "programs are emulated");
    }
    let model = Model::rcnn(&NAMES[..3]);
    let dir = model.emit("crate", "2 Wheelers!");
    let build = Build { dir: &dir, out: model.path("out") };
    build.library();
    let said = build.tests();
    assert!(said.0 && said.1.contains("4 passed; 0 failed"), "{}", said.1);
    // The deltas are the last: 2 boxes, 4 classes, 4 corners.
    let reference = dir.join("tests/reference.bin");
    let mut bytes = fs::read(&reference).unwrap();
    let deltas = bytes.len() - 2 * 4 * 4 * 4;
    assert!(bytes[deltas..].iter().all(|byte| *byte == 0) && bytes[deltas - 1] != 0);
    bytes[deltas + 3] = 1;
    fs::write(&reference, bytes).unwrap();
    let said = build.tests();
    assert!(!said.0 && said.1.contains("bbox_pred") && said.1.contains("3 passed; 1 failed"), "{}", said.1);
}

/// An emitted crate, built against this build's libraries.
struct Build<'a> {
    dir: &'a Path,
    out: PathBuf,
}

impl Build<'_> {
    /// Cargo finds all that the crate depends on: `frcnn` in this work tree.
    fn resolve(&self) {
        fs::copy(root().join("Cargo.lock"), self.dir.join("Cargo.lock")).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--offline", "--format-version", "1", "--manifest-path"]);
        let output = cargo.arg(self.dir.join("Cargo.toml")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let manifest = |name: &str| {
            let package = packages.iter().find(|package| package["name"] == name).unwrap();
            PathBuf::from(package["manifest_path"].as_str().unwrap())
        };
        assert_eq!(manifest("frcnn"), root().join("src/runtime/Cargo.toml"));
        assert_eq!(manifest("model-2-wheelers"), self.dir.join("Cargo.toml"));
    }

    /// Cargo checks the crate and its tests. In this workspace's target folder and by its profiles, so that what others wrote is
    /// there if clippy has run.
    fn check(&self) {
        let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let (_, profiles) = workspace.split_once("\n[profile.").unwrap();
        let config = self.dir.join("profiles.toml");
        fs::write(&config, format!("[profile.{profiles}")).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--release", "--offline", "--tests", "--config", text(&config)]);
        let checked =
            cargo.current_dir(self.dir).env("CARGO_TARGET_DIR", root().join("target")).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }

    fn library(&self) {
        fs::create_dir(&self.out).unwrap();
        let arguments = ["--crate-type", "rlib", "--crate-name", "model_2_wheelers", "src/lib.rs"];
        let made = self.rustc(&arguments);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Whether the crate's tests pass, and what they say.
    fn tests(&self) -> (bool, String) {
        let library = format!("model_2_wheelers={}", text(&self.out.join("libmodel_2_wheelers.rlib")));
        let made =
            self.rustc(&["--test", "--crate-name", "self_test", "tests/self_test.rs", "--extern", &library]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tested = Command::new(self.out.join("self_test")).output().unwrap();
        (tested.status.success(), stdout(&tested))
    }

    /// With no warning.
    fn rustc(&self, arguments: &[&str]) -> std::process::Output {
        // Tests lie beside the libraries of this build, of which the newest is the one that the tests were built with, but for
        // what tests/fuzz/run has built there, which links with libFuzzer alone.
        let program = std::env::current_exe().unwrap();
        let deps = program.parent().unwrap();
        let libraries = fs::read_dir(deps).unwrap().map(|entry| entry.unwrap().path());
        let of_frcnn = |path: &PathBuf| text(path).contains("/libfrcnn-") && text(path).ends_with(".rlib");
        let fuzzed = |path: &PathBuf| {
            let counts_paths = b"__sanitizer_cov";
            fs::read(path).unwrap().windows(counts_paths.len()).any(|bytes| bytes == counts_paths)
        };
        let newest = libraries
            .filter(|path| of_frcnn(path) && !fuzzed(path))
            .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.current_dir(self.dir).args(["--edition", "2024", "-D", "warnings", "-C", "debuginfo=0"]);
        command.args(arguments).arg("--extern").arg(format!("frcnn={}", text(&newest.unwrap())));
        command
            .arg("-L")
            .arg(format!("dependency={}", text(deps)))
            .arg("-L")
            .arg(format!("dependency={}", text(&self.out)));
        command.arg("--out-dir").arg(&self.out).output().unwrap()
    }
}

/// Linked with the static library, and run where the bundle's file is no more.
#[test]
fn emitted_c_is_a_static_program() {
    if emulated() {
        return skip("cc", "programs are emulated");
    }
    let runs =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if need("cc", (runs("cc") && runs("readelf")).then_some(())).is_none() {
        return;
    }
    let model = Model::new(&NAMES);
    let dir = model.emit("c", "2 Wheelers!");
    let header = fs::read_to_string(dir.join("model_2_wheelers_model.h")).unwrap();
    for constant in
        ["TYPE = 1", "SELF = 2", "SELF_3 = 3", "2WHEELER = 4", "5 = 5", "6 = 6", "TRAFFIC_LIGHT_8 = 8"]
    {
        assert!(header.contains(&format!("    MODEL_2_WHEELERS_CLASS_{constant},\n")), "{constant}");
    }
    // Cargo builds the libraries that tests need beside them.
    let program = std::env::current_exe().unwrap();
    let prefix = model.path("prefix");
    let mut install = Command::new(root().join("src/capi/install"));
    let installed = install.arg(&prefix).arg(program.parent().unwrap()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let test =
        || Command::new(root().join("targets/test-emitted-c")).arg(&dir).arg(&prefix).output().unwrap();
    let tested = test();
    let said = stdout(&tested) + &stderr(&tested);
    assert!(tested.status.success() && said.contains("12 best scores as they were"), "{said}");
    // Of a network that computes something else the test finds it out.
    let source = dir.join("model_2_wheelers_test.c");
    let right = fs::read_to_string(&source).unwrap();
    let (before, list) = right.split_once("best[] = {\n    {").unwrap();
    let (class, behind) = list.split_once(", 0.").unwrap();
    fs::write(&source, format!("{before}best[] = {{\n    {{{class}, 0.9{behind}")).unwrap();
    let tested = test();
    assert!(!tested.status.success() && stderr(&tested).contains("a best score of"), "{}", stderr(&tested));
}
