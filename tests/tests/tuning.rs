//! Which algorithms convolutions get: measured ones. `bench` and `detect` find the measurement beside the bundle. What they get within a
//! bound of memory is tested with the runtime (`memory`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;

use frcnn::{Detections, Detector, Options, PlannedLayer, Tuned, Tuning};
use frcnn_bundle::Bundle;
use frcnn_compiler::arch::Arch;
use frcnn_tests::{Photo, boxes, compile_new};

const DIRECT: &str = "direct";
const WINOGRAD: &str = "Winograd";

/// With 3x3 layers of which each is chosen for, and 120 pixels of a short side, so that it runs fast.
fn bundle() -> Arc<Bundle> {
    compile_new(Arch::SqueezeNet, 3, |manifest| manifest.scales = vec![120])
}

fn detector(bundle: &Arc<Bundle>, tuning: Option<Tuning>, memory: Option<u64>) -> Detector {
    let options =
        Options { threads: Some(1), tuning, memory, score_threshold: Some(0.0), ..Options::default() };
    Detector::new(bundle.clone(), &options).unwrap()
}

/// The 3x3 layers, as they are computed.
fn chosen(detector: &Detector) -> Vec<PlannedLayer> {
    detector.plan().into_iter().filter(|layer| layer.layer.contains("3x3") && layer.op == "Conv").collect()
}

fn detections(detector: &Detector) -> Detections {
    let photo = Photo::synthetic(160, 120);
    detector.detect(&photo.frame(), &boxes(40, 160.0, 120.0, 1)).unwrap()
}

/// A measurement, of which every algorithm but the one that `fastest` begins with is said to be slow.
fn biased(measured: &Tuning, fastest: &str) -> Tuning {
    let mut tuning = measured.clone();
    for (algorithm, ms) in tuning.layers.iter_mut().flat_map(|layer| &mut layer.times) {
        *ms = if algorithm.starts_with(fastest) { 1.0 } else { 100.0 };
    }
    tuning
}

#[test]
fn what_was_measured_is_chosen_and_changes_no_more_than_rounding() {
    let bundle = bundle();
    let mut layers = Vec::new();
    let options = Options { threads: Some(1), ..Options::default() };
    let report =
        Tuning::measure(&bundle, &options, &mut |step| layers.extend(step.layer.map(str::to_string)))
            .unwrap();
    let plain = detector(&bundle, None, None);
    assert_eq!(plain.tuned(), &Tuned::No);
    // Every layer with a choice was measured, by each of its algorithms, and took time.
    // The 3x3 ones, and the first, whose windows move by two cells.
    assert_eq!(layers.len(), chosen(&plain).len() + 1);
    assert_eq!(report.tuning.layers.len(), layers.len());
    assert!(report.tuning.layers.iter().all(|layer| layer.times.len() >= 2));
    assert!(report.tuning.layers.iter().flat_map(|layer| &layer.times).all(|(_, ms)| *ms > 0.0));
    assert!(report.expected_ms > 0.0 && report.tuned_ms > 0.0);

    for fastest in [DIRECT, WINOGRAD] {
        let tuned = detector(&bundle, Some(biased(&report.tuning, fastest)), None);
        assert_eq!(tuned.tuned(), &Tuned::Yes);
        for layer in chosen(&tuned) {
            assert!(layer.by.starts_with(fastest), "{layer:?}");
            assert_eq!(layer.ms, Some(1.0), "{layer:?}");
        }
        let (expected, found) = (detections(&plain), detections(&tuned));
        assert!(!expected.is_empty());
        assert_eq!(expected.len(), found.len());
        for (a, b) in expected.iter().zip(&found) {
            assert!((a.score - b.score).abs() < 1e-4, "{a:?} {b:?}");
        }
    }
}

#[test]
fn of_another_cpu_or_bundle_it_is_not_used() {
    let bundle = bundle();
    let options = Options { threads: Some(1), ..Options::default() };
    let measured = Tuning::measure(&bundle, &options, &mut |_| {}).unwrap().tuning;
    let expected = detections(&detector(&bundle, None, None));
    let other_cpu = Tuning { cpu: "Z80".to_string(), ..biased(&measured, DIRECT) };
    let mut other_layers = biased(&measured, DIRECT);
    other_layers.layers.pop();
    let larger = compile_new(Arch::SqueezeNet, 3, |manifest| manifest.scales = vec![160]);
    for (bundle, tuning, why) in [
        (&bundle, other_cpu, "another CPU, Z80"),
        (&bundle, other_layers, "does not know"),
        (&larger, biased(&measured, DIRECT), "does not know"),
    ] {
        let detector = detector(bundle, Some(tuning), None);
        let Tuned::Misfit(problem) = detector.tuned() else { panic!("{:?}", detector.tuned()) };
        assert!(problem.contains(why), "{problem}");
        assert!(chosen(&detector).iter().all(|layer| layer.ms.is_none() && layer.flops.is_some()));
    }
    assert_eq!(expected, detections(&detector(&bundle, None, None)));
}

#[test]
fn the_file_beside_a_bundle_is_found() {
    let bundle = bundle();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.frcnn");
    bundle.write(&path).unwrap();
    assert_eq!(Detector::open(&path).unwrap().tuned(), &Tuned::No);
    let options = Options { threads: Some(1), ..Options::default() };
    let measured = Tuning::measure(&bundle, &options, &mut |_| {}).unwrap().tuning;
    std::fs::write(Tuning::path(&path), measured.to_bytes()).unwrap();
    assert_eq!(Detector::open(&path).unwrap().tuned(), &Tuned::Yes);
    // What is no tuning is passed over.
    std::fs::write(Tuning::path(&path), "nonsense").unwrap();
    assert_eq!(Detector::open(&path).unwrap().tuned(), &Tuned::No);
}
