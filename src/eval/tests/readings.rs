//! COCO files in forms that people have are scored as pycocotools scores them; where it cannot, the record and the field
//! are named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::fs;
use std::path::Path;
use std::process::Command;

use frcnn_eval::formats::{self, Corners};
use frcnn_eval::{Dataset, Location, coco};
use serde::Deserialize;

/// Both sides compute in f64; a reading that differs moves the score by 1e-2 and more.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    name: String,
    truth: String,
    results: String,
    ap: Option<f64>,
    /// What pycocotools raised.
    error: Option<String>,
}

impl Case {
    fn scored(&self) -> Result<Option<f64>, String> {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("r.json");
        fs::create_dir(folder.path().join("annotations")).unwrap();
        fs::write(folder.path().join("annotations/instances_test.json"), &self.truth).unwrap();
        fs::write(&results, &self.results).unwrap();
        let location = Location::new(folder.path(), "test");
        let mut dataset = Dataset::open(&location).map_err(|error| error.to_string())?;
        let found = formats::read(&results, None, Corners::Inclusive, &mut dataset);
        Ok(coco(&dataset, &found.map_err(|error| error.to_string())?).summary.ap)
    }

    fn check(&self) {
        let found = self.scored();
        match (&self.error, &found) {
            (None, Ok(found)) => match (self.ap, found) {
                (None, None) => {}
                (Some(official), Some(found)) if (official - found).abs() <= TOLERANCE => {}
                _ => panic!("{}: {found:?}, officially {:?}", self.name, self.ap),
            },
            // Where C's bytes overflow there, what is not 0 is a crowd here.
            (Some(_), Ok(_)) if self.name == "iscrowd are minus" => {}
            (Some(_), Err(error)) => {
                let record = ["images", "annotation", "categories", "detections["];
                let fields = ["id: ", "bbox: ", "score: ", "area: ", "_id: ", "has no "];
                let names = |words: &[&str]| words.iter().any(|word| error.contains(word));
                assert!(names(&record) && names(&fields), "{}: {error}", self.name);
            }
            _ => panic!("{}: {found:?}, officially {:?} or {:?}", self.name, self.ap, self.error),
        }
    }
}

#[test]
fn committed_readings() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/readings.json")).unwrap();
    assert_eq!(cases.len(), 86);
    cases.iter().for_each(Case::check);
}

/// What is committed is what the script gives.
#[test]
fn fresh_readings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(python) = frcnn_testkit::python("pycocotools", "numpy, pycocotools") else { return };
    let output = Command::new(&python).arg(folder.join("tests/golden/readings.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: Vec<Case> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cases.len(), 86);
    cases.iter().for_each(Case::check);
}
