//! The scores of seeded random cases are the official programs'.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a test's failure")]

use std::path::{Path, PathBuf};
use std::process::Command;

use frcnn_eval::{Dataset, Detection, Id, Image, Region, Truth, coco, voc};
use serde::Deserialize;

/// The task's. Both sides compute in f64, so 1e-12 would do; a rule that differs moves a score by 1e-3 and more.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Case {
    seed: u32,
    images: Vec<i64>,
    classes: usize,
    truths: Vec<Object>,
    detections: Vec<Found>,
    /// The twelve numbers; -1 where there is no object.
    coco: Vec<f64>,
    coco_ap: Vec<Option<f64>>,
    /// By IoU: for each class VOC07 and VOC10+.
    voc: std::collections::BTreeMap<String, Vec<[Option<f64>; 2]>>,
}

#[derive(Deserialize)]
struct Object {
    image: i64,
    class: usize,
    bbox: [f64; 4],
    area: f64,
    crowd: u8,
}

#[derive(Deserialize)]
struct Found {
    image: i64,
    class: usize,
    bbox: [f64; 4],
    score: f64,
}

fn region([x, y, width, height]: [f64; 4]) -> Region {
    Region { x, y, width, height }
}

impl Case {
    fn dataset(&self) -> (Dataset, Vec<Detection>) {
        // As the COCO reader does; pycocotools goes by ids.
        let mut ids = self.images.clone();
        ids.sort_unstable();
        let position = |image: i64| ids.binary_search(&image).unwrap();
        let truth = |t: &Object| Truth {
            image: position(t.image),
            class: t.class - 1,
            region: region(t.bbox),
            area: t.area,
            ignore: t.crowd == 1,
            crowd: t.crowd == 1,
        };
        let detection = |d: &Found| Detection {
            image: position(d.image),
            class: d.class - 1,
            score: d.score,
            region: region(d.bbox),
        };
        let image = |id: &i64| Image {
            stem: id.to_string(),
            id: Some((*id).into()),
            path: PathBuf::new(),
            size: None,
        };
        let dataset = Dataset {
            images: ids.iter().map(image).collect(),
            classes: (1..=self.classes).map(|c| format!("class{c}")).collect(),
            category_ids: (1..=self.classes as i64).map(Id::from).collect(),
            truths: self.truths.iter().map(truth).collect(),
            ..Dataset::default()
        };
        (dataset, self.detections.iter().map(detection).collect())
    }

    fn check(&self) {
        let (dataset, detections) = self.dataset();
        let near = |what: &str, expected: Option<f64>, found: Option<f64>| match (expected, found) {
            (None, None) => {}
            (Some(a), Some(b)) if (a - b).abs() <= TOLERANCE => {}
            _ => panic!("seed {}, {what}: {found:?}, officially {expected:?}", self.seed),
        };
        let found = coco(&dataset, &detections);
        let s = &found.summary;
        let twelve = [
            s.ap,
            s.ap50,
            s.ap75,
            s.ap_small,
            s.ap_medium,
            s.ap_large,
            s.ar1,
            s.ar10,
            s.ar100,
            s.ar_small,
            s.ar_medium,
            s.ar_large,
        ];
        assert_eq!(self.coco.len(), twelve.len());
        for (i, (&expected, found)) in self.coco.iter().zip(twelve).enumerate() {
            near(&format!("COCO number {i}"), (expected > -1.0).then_some(expected), found);
        }
        for (expected, class) in self.coco_ap.iter().zip(&found.classes) {
            near(&class.name, *expected, class.ap);
        }
        for (iou, expected) in &self.voc {
            let found = voc(&dataset, &detections, iou.parse().unwrap());
            for ([ap07, ap10], class) in expected.iter().zip(&found.classes) {
                near(&format!("VOC07 at {iou}, {}", class.name), *ap07, class.ap07);
                near(&format!("VOC10 at {iou}, {}", class.name), *ap10, class.ap10);
            }
        }
    }
}

#[test]
fn committed_cases() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/scores.json")).unwrap();
    assert_eq!(cases.len(), 8);
    cases.iter().for_each(Case::check);
}

/// The same script, on seeds that are not committed.
#[test]
fn fresh_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(python) = frcnn_testkit::python("pycocotools", "numpy, pycocotools") else { return };
    let script = folder.join("tests/golden/scores.py");
    let output = Command::new(&python).arg(script).args(["100", "140"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: Vec<Case> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cases.len(), 40);
    cases.iter().for_each(Case::check);
}
