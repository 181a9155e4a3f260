//! Cascades of compiled networks: what stays of a photo's regions gets, bit for bit, what the full head gives it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use frcnn::cpu::{Isa, TypeModel};
use frcnn::{BBox, Bundle, Detector, F32Products, NO_ROI, Options, StreamOptions, Tolerance, judge_share};
use frcnn_bundle::{DetectionMethod, Precision};
use frcnn_compiler::arch::{Arch, new_model, new_sppnet};
use frcnn_compiler::{Calibrator, Compiled, Svd, compile, emit_onnx, uniform};
use frcnn_tests::{Photo, boxes, compile_file};

fn compile_model(model: &frcnn_compiler::arch::NewModel, svd: Svd) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    frcnn_compiler::onnx_writer::write(&model.onnx, &path).unwrap();
    let options = frcnn_compiler::Options { svd, ..Default::default() };
    compile(&path, &model.manifest, &options, &mut |_| {}).unwrap()
}

fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model-export/demo/model.onnx")
}

/// In every precision; int8 with steps of these boxes.
fn in_precision(exact: &Compiled, precision: Precision, photo: &Photo, boxes: &[BBox]) -> Compiled {
    let precisions = uniform(exact.bundle.contents(), precision);
    let mut calibrator = Calibrator::new(&exact.bundle, &precisions).unwrap();
    calibrator.observe(&photo.frame(), boxes).unwrap();
    let calibration = calibrator.finish().unwrap();
    let precisions = calibration.without_vanishing(precisions);
    exact.with_precisions(&precisions, &calibration, (&photo.frame(), boxes)).unwrap()
}

/// Exact products: three bf16 ones, of CPUs with AMX, depend on how many rows there are.
fn detector(bundle: &Arc<Bundle>, threads: usize) -> Detector {
    let options = Options {
        threads: Some(threads),
        f32_products: F32Products::Exact,
        score_threshold: Some(0.0),
        ..Options::default()
    };
    Detector::new(bundle.clone(), &options).unwrap()
}

/// Detections of the bundle with a cascade are those of the full head on the regions that stay. Gives the share dropped.
fn only_drops(whole: &Compiled, with: &Compiled, photo: &Photo, boxes: &[BBox], what: &str) -> f64 {
    let keep = with.bundle.contents().cascade.as_ref().unwrap().keep;
    let mut full = detector(&whole.bundle, 1).session();
    let blobs = full.preprocess(&photo.frame()).unwrap();
    let maps: Vec<_> = blobs.iter().map(|blob| full.trunk(blob).unwrap()).collect();
    let rois = full.project(boxes, &blobs).unwrap();
    let features = full.roi_pool(&maps, &rois.rois).unwrap();
    let output = full.head(&features).unwrap();
    let foreground = detector(&with.bundle, 2).session().judge(&maps, &rois.rois).unwrap().unwrap();
    let is_dropped = |row: u32| foreground.get(row as usize).is_some_and(|&value| value < keep);
    let index: Vec<u32> = rois.index.iter().map(|&row| if is_dropped(row) { NO_ROI } else { row }).collect();
    let (width, height) = photo.rgb.dimensions();
    let expected = full.postprocess(boxes, &index, &output, width, height);
    assert!(!expected.is_empty(), "{what}: nothing to compare");
    for threads in [1, 2, 3] {
        let mut session = detector(&with.bundle, threads).session();
        let found = session.detect(&photo.frame(), boxes).unwrap();
        assert_eq!(found[..], expected[..], "{what}, {threads} threads");
        let dropped = foreground.iter().filter(|&&value| value < keep).count();
        assert_eq!(session.dropped(), (dropped, rois.rois.len()), "{what}");
    }
    streams_too(with, photo, boxes, what);
    let dropped = foreground.iter().filter(|&&value| value < keep).count();
    dropped as f64 / foreground.len() as f64
}

/// A stream of the bundle gives what a detection of each frame gives: of the first, of the same, of one that is changed in part.
fn streams_too(with: &Compiled, photo: &Photo, boxes: &[BBox], what: &str) {
    let detector = detector(&with.bundle, 2);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let mut stream = detector.stream(options).unwrap();
    let mut changed = Photo { rgb: photo.rgb.clone() };
    for (x, y) in (20..60).flat_map(|x| (30..50).map(move |y| (x, y))) {
        changed.rgb.put_pixel(x, y, image::Rgb([(x * 3) as u8, 9, y as u8]));
    }
    for (place, photo) in [photo, photo, &changed, photo].into_iter().enumerate() {
        let expected = detector.session().detect(&photo.frame(), boxes).unwrap();
        let found = stream.detect(&photo.frame(), boxes).unwrap();
        assert_eq!(found[..], expected[..], "{what}: frame {place} of a stream");
    }
}

/// A threshold between the judge's values of a photo: about half of the regions go.
fn halving(whole: &Compiled, rank: usize, photo: &Photo, boxes: &[BBox]) -> Compiled {
    let judge = whole.with_cascades(&[rank], 0.5).unwrap().pop().unwrap();
    let session = detector(&judge.bundle, 2).session();
    let blobs = detector(&judge.bundle, 2).session().preprocess(&photo.frame()).unwrap();
    let maps: Vec<_> = blobs.iter().map(|blob| session.trunk(blob).unwrap()).collect();
    let rois = session.project(boxes, &blobs).unwrap();
    let mut values = session.judge(&maps, &rois.rois).unwrap().unwrap();
    values.sort_by(f32::total_cmp);
    judge.with_threshold(values[values.len() / 2], None).unwrap()
}

#[test]
fn what_stays_has_the_full_heads_bits_in_every_precision() {
    let photo = Photo::synthetic(240, 180);
    let boxes = boxes(1300, 240.0, 180.0, 5);
    let exact = compile_file(&demo(), &Default::default());
    for precision in Precision::ALL {
        let whole = match precision {
            Precision::F32 => exact.clone(),
            _ => in_precision(&exact, precision, &photo, &boxes),
        };
        let with = halving(&whole, 8, &photo, &boxes);
        let dropped = only_drops(&whole, &with, &photo, &boxes, precision.name());
        assert!((0.3..0.7).contains(&dropped), "{}: {dropped}", precision.name());
    }
}

#[test]
fn factored_networks_and_sppnets_have_judges() {
    let photo = Photo::synthetic(240, 180);
    let boxes = boxes(700, 240.0, 180.0, 6);
    let small = |mut model: frcnn_compiler::arch::NewModel| {
        model.manifest.scales = vec![128];
        model
    };
    let squeezenet = || small(new_model(Arch::SqueezeNet, 3, 0).unwrap());
    let ranks = Svd::Ranks(vec![("fc6".into(), 64), ("fc7".into(), 32)]);
    for (what, whole) in [
        ("whole", compile_model(&squeezenet(), Svd::None)),
        ("factored", compile_model(&squeezenet(), ranks)),
        ("sppnet", compile_model(&small(new_sppnet(Arch::SqueezeNet, 3, 0).unwrap()), Svd::None)),
    ] {
        let is_sppnet = whole.bundle.contents().method() == DetectionMethod::Sppnet;
        assert_eq!(is_sppnet, what == "sppnet");
        let with = halving(&whole, 16, &photo, &boxes);
        let cost = &with.report.cost;
        assert!(cost.judge_macs_per_roi * 3 < cost.head_macs_per_roi, "{what}: {cost:?}");
        only_drops(&whole, &with, &photo, &boxes, what);
        // Of factored layers the judge has the first columns and rows.
        if what == "factored" {
            let bundle = &with.bundle;
            let section = |name: &str| {
                let sections = &bundle.contents().sections;
                let id = sections.iter().position(|section| section.name == name).unwrap() as u32;
                bundle.weights_as_f32(id).into_owned()
            };
            let (all, first) = (section("fc6_L.weight"), section("judge_fc6_L.weight"));
            for (all, first) in all.chunks_exact(64).zip(first.chunks_exact(16)) {
                assert_eq!(all[..16], *first);
            }
            assert_eq!(
                section("fc6_U.weight")[..section("judge_fc6_U.weight").len()],
                section("judge_fc6_U.weight")
            );
        }
        // What is emitted is the full network.
        let onnx = |compiled: &Compiled| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("emitted.onnx");
            frcnn_compiler::onnx_writer::write(&emit_onnx(&compiled.bundle).unwrap(), &path).unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(onnx(&whole) == onnx(&with), "{what}");
    }
}

#[test]
fn ranks_and_networks_that_have_no_judge_are_refused() {
    let exact = compile_file(&demo(), &Default::default());
    let largest = exact.largest_judge_rank().unwrap();
    for rank in [0, largest + 1, usize::MAX] {
        let error = exact.with_cascades(&[rank], 0.5).unwrap_err().to_string();
        assert!(error.contains(&format!("1 to {largest}")), "{error}");
    }
    assert!(exact.with_cascades(&[1, largest], 0.5).is_ok());
    for keep in [-0.1, 1.5, f32::NAN] {
        let error = exact.with_cascades(&[8], keep).unwrap_err().to_string();
        assert!(error.contains("from 0 to 1"), "{error}");
    }
    // Probabilities of objects add up to less than 1: nothing would be left.
    let judged = exact.with_cascades(&[8], 0.5).unwrap().remove(0);
    for refused in [exact.with_cascades(&[8], 1.0).map(drop), judged.with_threshold(1.0, None).map(drop)] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("nothing would be found"), "{error}");
    }
    // The same network gives the same bytes.
    let bytes = || exact.with_cascades(&[8], 0.5).unwrap()[0].bundle.to_bytes();
    assert!(bytes() == bytes());
    let read = Bundle::from_bytes(&bytes()).unwrap();
    assert_eq!(read.contents().cascade.as_ref().map(|cascade| (cascade.rank, cascade.keep)), Some((8, 0.5)));
}

/// A judge computes in f32: beside a head in int8 it takes a greater share on a CPU whose int8 products are fast, and no other
/// one where they are as slow as those of f32.
#[test]
fn a_judge_takes_more_of_a_faster_heads_time() {
    let photo = Photo::synthetic(240, 180);
    let boxes = boxes(300, 240.0, 180.0, 7);
    let exact = compile_file(&demo(), &Default::default());
    let int8 = in_precision(&exact, Precision::Int8, &photo, &boxes);
    let share = |compiled: &Compiled, model: &TypeModel| {
        let judge = compiled.with_cascades(&[8], 0.5).unwrap().pop().unwrap();
        judge_share(judge.bundle.contents(), model).unwrap()
    };
    let fast = TypeModel::new(Isa::Neon.into(), false, |feature| feature == "dotprod");
    let [of_exact, of_int8] = [&exact, &int8].map(|compiled| share(compiled, &fast));
    assert!(of_exact > 0.0 && of_int8 > 1.5 * of_exact, "{of_exact} and {of_int8}");
    assert_eq!(judge_share(exact.bundle.contents(), &fast).unwrap(), 0.0);
    let slow = TypeModel::new(Isa::Scalar.into(), false, |_| false);
    let [of_exact, of_int8] = [&exact, &int8].map(|compiled| share(compiled, &slow));
    assert!((of_int8 / of_exact - 1.0).abs() < 0.3, "{of_exact} and {of_int8}");
}
