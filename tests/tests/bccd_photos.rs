//! All 72 test photos of the blood-cell set, with the shared proposals.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use frcnn::{BBox, Bundle, Detections};
use frcnn_compiler::{Calibrator, Options, Precision, evenly, uniform};
use frcnn_eval::{Dataset, Detection, Location, Region, voc};
use frcnn_kernels::{Bf16Isa, F16Isa};
use frcnn_proposals::BoxFile;
use frcnn_testkit::say;
use frcnn_tests::matching::{Found, Tolerance, differences};
use frcnn_tests::{Photo, bccd, compile_file, detector};
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
    let proposals = std::fs::read(shared.join("data/bccd/proposals_selective_search.safetensors")).unwrap();
    let proposals = BoxFile::parse(proposals).unwrap();
    let mut session = detector(bundle, 2).session();
    let found = |detections: &Detections| {
        detections.iter().map(|d| Found { class_id: d.class_id, score: d.score, bbox: d.bbox }).collect()
    };
    references(shared)
        .into_keys()
        .map(|stem| {
            let photo = Photo::open(&shared.join(format!("data/bccd/{folder}/{stem}.{extension}")));
            let detections = session.detect(&photo.frame(), &proposals.boxes(&stem).unwrap()).unwrap();
            (stem, found(&detections))
        })
        .collect()
}

/// mAP and the average precision of each class.
fn precision(shared: &Path, detections: &BTreeMap<String, Vec<Found>>) -> (f64, BTreeMap<String, f64>) {
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
    let scores = voc(&dataset, &scored, 0.5);
    let classes = scores.classes.iter().map(|class| (class.name.clone(), class.ap10.unwrap()));
    (scores.map10.unwrap(), classes.collect())
}

fn map(shared: &Path, detections: &BTreeMap<String, Vec<Found>>) -> f64 {
    precision(shared, detections).0
}

/// Every reference detection with score >= 0.1 is found, and nothing more.
#[test]
fn lossless_photos_give_the_reference_detections() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let found = detect_all(&shared, &bccd(&shared), "PNGImages", "png");
    let tolerance = Tolerance { min_score: 0.1, iou: 0.99, score: 0.002 };
    let (mut compared, mut all) = (0, Vec::new());
    for (stem, expected) in references(&shared) {
        compared += expected.iter().filter(|d| d.score >= tolerance.min_score).count();
        let differ = differences(&expected, &found[&stem], &tolerance);
        all.extend(differ.into_iter().map(|d| format!("{stem}: {d}")));
    }
    assert!(compared > 1000, "only {compared} detections were compared");
    assert!(all.is_empty(), "{} of {compared} differ:\n{}", all.len(), all.join("\n"));

    let map = map(&shared, &found);
    assert!((map - 0.6888).abs() < 0.001, "mAP {map}");
}

/// The JPEG decoder differs from the reference's by a few grey levels, so single detections do, too; the
/// score over all of them must not.
#[test]
fn jpeg_photos_score_the_same() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let map = map(&shared, &detect_all(&shared, &bccd(&shared), "JPEGImages", "jpg"));
    assert!((map - 0.6888).abs() < 0.005, "mAP {map}");
}

/// f16 moves mAP, and the average precision of each class, by no more than 0.1 points, but for what one platelet does.
///
/// A CPU that computes in f16 moves scores by up to 0.005. On BloodImage_00016 a platelet is found with a score of 0.0507, just
/// above the threshold of 0.05, and in f16 it is not: one of 69, at a precision of 0.13, is 0.2 points of its class, and a third
/// of that in mAP. With AMX, which multiplies f16 fully connected layers in bf16x3, its detections come in another order beside
/// (two boxes of a platelet on BloodImage_00365 have 0.3910 and 0.3911): 0.3 points in all.
#[test]
fn f16_scores_the_same() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let options = Options { precision: Precision::F16, ..Options::default() };
    let compiled = compile_file(&shared.join("models/bccd-squeezenet/model.onnx"), &options);
    let (map, classes) = precision(&shared, &detect_all(&shared, &compiled.bundle, "PNGImages", "png"));
    say(&format!("mAP in f16 {map:.4}, of which {classes:.4?}"));
    let one_platelet = match (F16Isa::detect(), Bf16Isa::detect()) {
        (Some(_), Some(Bf16Isa::Amx)) => 0.003,
        (Some(_), _) => 0.002,
        (None, _) => 0.0,
    };
    for (class, exact, more) in
        [("Platelets", 0.4185, one_platelet), ("RBC", 0.6612, 0.0), ("WBC", 0.9868, 0.0)]
    {
        assert!((classes[class] - exact).abs() <= 0.001 + more, "{class} {}", classes[class]);
    }
    assert!((map - 0.6888).abs() <= 0.001 + one_platelet / 3.0, "mAP {map}");
}

/// bf16 moves mAP by no more than 0.3 points, but for what one platelet does.
///
/// One detection among the 375 of Platelets is worth 2.3 points of their average precision. On BloodImage_00407 eight boxes
/// have a score of 0.39119 to the last bit (fc6 gives nothing but zeros there), a ninth, which fits the platelet better,
/// 0.39103 in f32 and 0.39120 in bf16: rounding decides which of them suppresses the others. Moving f32's own scores by a
/// thousandth moves the class between 0.41 and 0.48, which is what bf16 is held to.
#[test]
fn bf16_scores_the_same() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let compiled = compile_file(&shared.join("models/bccd-squeezenet/model.onnx"), &options);
    let (map, classes) = precision(&shared, &detect_all(&shared, &compiled.bundle, "PNGImages", "png"));
    say(&format!("mAP in bf16 {map:.4}, of which {classes:.4?}"));
    for (class, exact) in [("RBC", 0.6612), ("WBC", 0.9868)] {
        assert!((classes[class] - exact).abs() <= 0.003, "{class} {}", classes[class]);
    }
    assert!((0.41..=0.48).contains(&classes["Platelets"]), "Platelets {}", classes["Platelets"]);
    assert!(map >= 0.6888 - 0.003, "mAP {map}");
}

/// int8, calibrated on photos of the training set, loses no more than 0.5 points of mAP, nor of RBC and WBC. Platelets are held to what
/// rounding by a thousandth makes of them: see `bf16_scores_the_same`.
#[test]
fn int8_scores_nearly_the_same() {
    let Some(shared) = frcnn_testkit::shared() else { return };
    let exact = compile_file(&shared.join("models/bccd-squeezenet/model.onnx"), &Options::default());
    let precisions = uniform(exact.bundle.contents(), Precision::Int8);
    let data = shared.join("data/bccd");
    let train = Dataset::open(&Location::new(data.clone(), "train")).unwrap().images;
    let boxes = std::fs::read(data.join("proposals_selective_search.safetensors")).unwrap();
    let boxes = BoxFile::parse(boxes).unwrap();
    let photos: Vec<(Photo, Vec<BBox>)> = evenly(train.len(), 32)
        .map(|place| (Photo::open(&train[place].path), boxes.boxes(&train[place].stem).unwrap()))
        .collect();
    let mut calibrator = Calibrator::new(&exact.bundle, &precisions).unwrap();
    for (photo, boxes) in &photos {
        calibrator.observe(&photo.frame(), boxes).unwrap();
    }
    let (photo, boxes) = &photos[0];
    let calibration = calibrator.finish().unwrap();
    let precisions = calibration.without_vanishing(precisions);
    let compiled = exact.with_precisions(&precisions, &calibration, (&photo.frame(), boxes)).unwrap();
    let (map, classes) = precision(&shared, &detect_all(&shared, &compiled.bundle, "PNGImages", "png"));
    say(&format!("mAP in int8 {map:.4}, of which {classes:.4?}"));
    for (class, exact) in [("RBC", 0.6612), ("WBC", 0.9868)] {
        assert!((classes[class] - exact).abs() <= 0.005, "{class} {}", classes[class]);
    }
    assert!((0.41..=0.48).contains(&classes["Platelets"]), "Platelets {}", classes["Platelets"]);
    assert!(map >= 0.6888 - 0.005, "mAP {map}");
}
