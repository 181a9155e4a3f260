//! A model to run the commands on, and what every test asks of their output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use image::RgbImage;
use serde_json::Value;
use tempfile::TempDir;

/// A new model, its bundle and two images, shared by the tests that run at the same time and removed after the last.
pub(crate) struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn get() -> Arc<Fixture> {
        static SHARED: Mutex<Weak<Fixture>> = Mutex::new(Weak::new());
        // A test that failed while it held the lock has not harmed what is in it.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let fixture = Arc::new(Fixture::new());
            *shared = Arc::downgrade(&fixture);
            fixture
        })
    }

    fn new() -> Fixture {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
        succeed(&["new", "--arch", "squeezenet", "--classes", "3", "-o", &fixture.path("model.onnx")]);
        // At the published scale, 600 pixels, each image would take a second.
        let manifest = fs::read_to_string(fixture.path("manifest.json")).unwrap();
        let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["scales"] = vec![96].into();
        fs::write(fixture.path("small.json"), manifest.to_string()).unwrap();
        fixture.compile("model.frcnn", &[]);
        fs::create_dir(fixture.path("photos")).unwrap();
        for (name, shade) in [("a.png", 40u8), ("b.png", 200)] {
            let gradient = RgbImage::from_fn(120, 90, |x, y| image::Rgb([x as u8, y as u8 * 2, shade]));
            gradient.save(fixture.path("photos") + "/" + name).unwrap();
        }
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_string()
    }

    pub(crate) fn compile(&self, bundle: &str, more: &[&str]) -> Output {
        let (model, bundle, manifest) = (self.path("model.onnx"), self.path(bundle), self.path("small.json"));
        succeed(&[&["compile", &model, "-o", &bundle, "--manifest", &manifest], more].concat())
    }

    /// `detect` with this fixture's bundle.
    pub(crate) fn detect(&self, arguments: &[&str]) -> Output {
        frcnn(&[&["detect", &self.path("model.frcnn")], arguments].concat())
    }

    /// A folder of a test's own.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }
}

pub(crate) fn frcnn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frcnn")).args(arguments).output().unwrap()
}

pub(crate) fn succeed(arguments: &[&str]) -> Output {
    let output = frcnn(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

/// Asserts on the exit code and on words that standard error must have.
pub(crate) fn fails(output: &Output, code: i32, words: &[&str]) {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for word in words {
        assert!(errors.contains(word), "`{word}` is not in: {errors}");
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
