//! All 72 test photos of the blood-cell set, with the shared proposals.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use frcnn::{BBox, Bundle, Detections};
use frcnn_compiler::{Options, Precision};
use frcnn_eval::{Dataset, Detection, Location, Region, voc};
use frcnn_tests::matching::{Found, Tolerance, compare};
use frcnn_tests::tensors::Proposals;
use frcnn_tests::{Photo, bccd, compile_file, detector, say, shared};
use serde::Deserialize;

#[derive(Deserialize)]
struct References {
    images: BTreeMap<String, Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    class_id: u16,
    score: f32,
    #[serde(rename = "box")]
    bbox: [f32; 4],
}

fn references(shared: &Path) -> BTreeMap<String, Vec<Found>> {
    let path = shared.join("models/bccd-squeezenet/reference/detections_test.json");
    let references: References = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let found = |r: &Reference| {
        let [x1, y1, x2, y2] = r.bbox;
        Found { class_id: r.class_id, score: r.score, bbox: BBox::new(x1, y1, x2, y2) }
    };
    references.images.iter().map(|(stem, list)| (stem.clone(), list.iter().map(found).collect())).collect()
}

/// Detections of `bundle` on every test photo, decoded from `folder`.
fn detect_all(
    shared: &Path,
    bundle: &Arc<Bundle>,
    folder: &str,
    extension: &str,
) -> BTreeMap<String, Vec<Found>> {
    let proposals = Proposals::open(&shared.join("data/bccd/proposals_selective_search.safetensors"));
    let mut session = detector(bundle, 2).session();
    let found = |detections: &Detections| {
        detections.iter().map(|d| Found { class_id: d.class_id, score: d.score, bbox: d.bbox }).collect()
    };
    references(shared)
        .into_keys()
        .map(|stem| {
            let photo = Photo::open(&shared.join(format!("data/bccd/{folder}/{stem}.{extension}")));
            let detections = session.detect(&photo.frame(), &proposals.boxes(&stem)).unwrap();
            (stem, found(&detections))
        })
        .collect()
}

fn map(shared: &Path, detections: &BTreeMap<String, Vec<Found>>) -> f64 {
    let dataset = Dataset::open(&Location::new(shared.join("data/bccd"), "test")).unwrap();
    let bundle = bccd(shared);
    let stems = dataset.stems();
    let scored = detections.iter().flat_map(|(stem, found)| found.iter().map(move |d| (stem, d)));
    let scored: Vec<Detection> = scored
        .map(|(stem, d)| Detection {
            image: stems[stem.as_str()],
            class: dataset.class(&bundle.contents().manifest.classes[usize::from(d.class_id)]).unwrap(),
            score: f64::from(d.score),
            region: Region::from(&d.bbox),
        })
        .collect();
    voc(&dataset, &scored, 0.5).map10.unwrap()
}

/// Every reference detection with score >= 0.1 is found, and nothing more.
#[test]
fn lossless_photos_give_the_reference_detections() {
    let Some(shared) = shared("lossless_photos_give_the_reference_detections") else { return };
    let found = detect_all(&shared, &bccd(&shared), "PNGImages", "png");
    let tolerance = Tolerance { min_score: 0.1, iou: 0.99, score: 0.002, nms: (0.3, 1e-3) };
    let (mut compared, mut real) = (0, Vec::new());
    for (stem, expected) in references(&shared) {
        let differences = compare(&expected, &found[&stem], &tolerance);
        compared += expected.iter().filter(|d| d.score >= tolerance.min_score).count();
        for excused in differences.excused {
            say(&format!("{stem}: {excused}"));
        }
        real.extend(differences.real.into_iter().map(|d| format!("{stem}: {d}")));
    }
    assert!(compared > 1000, "only {compared} detections were compared");
    assert!(real.is_empty(), "{} of {compared} differ:\n{}", real.len(), real.join("\n"));

    let map = map(&shared, &found);
    assert!((map - 0.6888).abs() < 0.001, "mAP {map}");
}

/// The JPEG decoder differs from the reference's by a few grey levels, so single detections do, too; the
/// score over all of them must not.
#[test]
fn jpeg_photos_score_the_same() {
    let Some(shared) = shared("jpeg_photos_score_the_same") else { return };
    let map = map(&shared, &detect_all(&shared, &bccd(&shared), "JPEGImages", "jpg"));
    assert!((map - 0.6888).abs() < 0.005, "mAP {map}");
}

/// bf16 loses no more than 0.3 points. It may gain as much or more: this detector gives many platelets nearly the same
/// score, and rounding decides which of two overlapping boxes wins.
#[test]
fn bf16_scores_no_less() {
    let Some(shared) = shared("bf16_scores_no_less") else { return };
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let compiled = compile_file(&shared.join("models/bccd-squeezenet/model.onnx"), &options);
    let map = map(&shared, &detect_all(&shared, &compiled.bundle, "PNGImages", "png"));
    say(&format!("mAP in bf16 {map:.4}"));
    assert!(map > 0.6888 - 0.003, "mAP {map}");
}
