//! A stream gives what a detection of its composite gives, bit for bit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/hostile/build.rs"]
mod build;
mod networks;
mod sequence;

use build::{Builder, pool, warp};
use frcnn_bundle::{Op, Precision, Regions, Resize, RoiPooling};
use networks::{Rules, TRUNKS, Trunk, WITH_PYRAMIDS, aligned, bundle, open};
use proptest::prelude::*;
use sequence::{Camera, check, check_among, check_sequence};

use super::{StreamOptions, Tolerance};
use crate::{Detector, F32Products, Frame, HeadOutput, Options, PixelFormat};

const CASES: u32 = if cfg!(debug_assertions) { 2 } else { 24 };

fn precision() -> impl Strategy<Value = Precision> {
    prop_oneof![
        3 => Just(Precision::F32),
        1 => Just(Precision::Bf16),
        1 => Just(Precision::F16),
        1 => Just(Precision::Int8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(CASES)))]

    #[test]
    fn a_stream_gives_what_its_composite_gives(
        kind in 0..TRUNKS,
        precision in precision(),
        (width, height) in (40usize..230, 40usize..230),
        short_side in 48u32..200,
        (threads, reuse_mib) in (1usize..4, prop_oneof![2 => Just(256u32), 1 => Just(1), 1 => Just(0)]),
        tolerance in prop_oneof![
            2 => Just(Tolerance::Fixed(0.0)), 1 => Just(Tolerance::Fixed(40.0)), 1 => Just(Tolerance::Learned),
        ],
        seed in any::<u32>(),
    ) {
        let detector = open(bundle(kind, precision, short_side, seed), threads);
        check_sequence(&detector, StreamOptions { tolerance, reuse_mib }, (width, height), seed);
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let resize = prop_oneof![
        2 => Just((Resize::Torchvision, 32)),
        1 => Just((Resize::Detectron2, 16)),
        1 => Just((Resize::Published, 1)),
        1 => Just((Resize::Published, 16)),
    ];
    (0u32..3, any::<bool>(), resize, any::<bool>(), (0..4, 0..4)).prop_map(
        |(sampling_ratio, half_pixel, (resize, pad_multiple), proposes, (convolves, pools))| Rules {
            sampling_ratio,
            half_pixel,
            resize,
            pad_multiple,
            proposes,
            convolves: convolves == 0,
            pools: pools == 0,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(2 * CASES)))]

    #[test]
    fn aligned_regions_and_learned_proposals(
        kind in prop_oneof![0..TRUNKS, TRUNKS..WITH_PYRAMIDS],
        precision in precision(),
        (width, height) in (40usize..230, 40usize..230),
        short_side in 48u32..200,
        rules in rules(),
        (threads, reuse_mib) in (1usize..4, prop_oneof![2 => Just(256u32), 1 => Just(1), 1 => Just(0)]),
        tolerance in prop_oneof![
            2 => Just(Tolerance::Fixed(0.0)), 1 => Just(Tolerance::Fixed(40.0)), 1 => Just(Tolerance::Learned),
        ],
        seed in any::<u32>(),
    ) {
        let detector = open(aligned(kind, precision, short_side, rules, seed), threads);
        check_sequence(&detector, StreamOptions { tolerance, reuse_mib }, (width, height), seed);
    }
}

/// Every kind of pyramid with every source of proposals, whatever the random ones were.
#[test]
fn every_pyramid_in_every_precision() {
    for kind in TRUNKS..WITH_PYRAMIDS {
        // Emulated, in every other precision.
        let step = if frcnn_testkit::emulated() { 2 } else { 1 };
        for (precision, seed) in Precision::ALL.into_iter().zip(6..).step_by(step) {
            let rules = Rules {
                sampling_ratio: 2 * (seed % 2),
                half_pixel: seed % 2 == 0,
                resize: Resize::Torchvision,
                pad_multiple: 32,
                proposes: true,
                convolves: seed % 3 == 0,
                pools: false,
            };
            let detector = open(aligned(kind, precision, 100, rules, seed), 2);
            let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
            check_sequence(&detector, options, (131, 103), seed);
        }
    }
}

/// A small change of a large picture: most of a pyramid, of the RPN's maps and of the regions stays.
#[test]
fn pyramids_cost_what_has_changed() {
    let rules = Rules {
        sampling_ratio: 2,
        half_pixel: false,
        resize: Resize::Torchvision,
        pad_multiple: 32,
        proposes: true,
        convolves: false,
        pools: false,
    };
    // By the products that AMX has without being asked, either all regions keep their rows or none.
    let exact =
        Options::new().with_threads(2).with_score_threshold(0.0).with_f32_products(F32Products::Exact);
    let detector = Detector::new(aligned(8, Precision::F32, 300, rules, 4), &exact).unwrap();
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let mut camera = Camera::new(400, 300, 3);
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    check_among(&mut stream, &mut session, &camera, None, "the first frame");
    assert_eq!(stream.reuse().trunk_share, 1.0);
    for pixel in &mut camera.pixels[3 * (400 * 20 + 20)..][..12] {
        *pixel ^= 255;
    }
    check_among(&mut stream, &mut session, &camera, None, "a change in a corner");
    let reuse = *stream.reuse();
    assert!(reuse.trunk_share > 0.0 && reuse.trunk_share < 0.25, "{reuse:?}");
    assert!(
        reuse.rois > 20 && reuse.rois_reused > reuse.rois / 3 && reuse.rois_reused < reuse.rois,
        "{reuse:?}"
    );
    check_among(&mut stream, &mut session, &camera, None, "the same frame");
    assert_eq!((stream.reuse().trunk_share, stream.reuse().rois_reused), (0.0, stream.reuse().rois));
    let expected = detector.expected_reuse(256, 0.01).unwrap().unwrap();
    assert!(expected.map_bytes > 0 && expected.trunk_share > 0.0 && expected.trunk_share < 0.5);
    // Boxes of one's own, between those of the RPN.
    let boxes = camera.boxes(30);
    check_among(&mut stream, &mut session, &camera, Some(&boxes), "given boxes");
    camera.change(1, 9);
    check_among(&mut stream, &mut session, &camera, Some(&boxes), "given boxes after a change");
    check_among(&mut stream, &mut session, &camera, None, "its own again");
}

/// Where any change changes all of it, maps in between are not kept, whatever the budget.
#[test]
fn maps_that_would_spare_nothing_are_not_kept() {
    let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
    let map = t.conv_relu([3, 16], 3, 2, 1, 1);
    let mean = t.add(Op::GlobalAveragePool, &[map]);
    t.add(Op::Mul, &[map, mean]);
    t.conv_relu([16, 32], 3, 1, 1, 1);
    t.conv_relu([32, 8], 3, 1, 1, 1);
    let detector = open(t.builder.finish(8).unwrap(), 2);
    let expected = |mib| detector.expected_reuse(mib, 0.001).unwrap().unwrap();
    assert_eq!(expected(256), expected(0));
    assert_eq!(expected(256).trunk_share, 1.0);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    check_sequence(&detector, options, (120, 90), 4);
}

/// A network without an RPN says so, and the frame before stays.
#[test]
fn proposals_that_there_are_not() {
    let detector = open(bundle(0, Precision::F32, 64, 2), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    let mut camera = Camera::new(90, 70, 4);
    let boxes = camera.boxes(10);
    check(&mut stream, &mut session, &camera, &boxes, "the first frame");
    let error = stream.detect_frame(&camera.frame()).unwrap_err().to_string();
    assert!(error.contains("has no stage `rpn`"), "{error}");
    check(&mut stream, &mut session, &camera, &boxes, "the same frame");
    assert_eq!(stream.reuse().rois_reused, stream.reuse().rois);
}

/// Every kind of trunk in every precision, whatever the random ones were.
#[test]
fn every_trunk_in_every_precision() {
    // Emulated, some trunks in every precision.
    for kind in (0..TRUNKS).step_by(if frcnn_testkit::emulated() { 3 } else { 1 }) {
        for precision in Precision::ALL {
            let detector = open(bundle(kind, precision, 100, 7), 2);
            let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
            check_sequence(&detector, options, (131, 103), 5);
        }
    }
}

/// Maps so large that layers run in strips: of direct convolutions, and with one by Winograd's algorithm inside.
#[test]
fn layers_in_strips() {
    for channels in [[3, 32, 64], [16, 32, 64]] {
        let [from, middle, to] = channels;
        let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
        t.builder.manifest.scales = vec![500];
        if from > 3 {
            t.conv_relu([3, from], 1, 1, 0, 1);
        }
        t.conv_relu([from, middle], 3, 1, 1, 1);
        t.conv_relu([middle, to], 3, 1, 1, 1);
        t.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
        t.conv_relu([to, 8], 3, 4, 1, 1);
        let detector = open(t.builder.finish(8).unwrap(), 2);
        let strips = detector.plan().iter().any(|layer| layer.by.contains("in strips"));
        assert!(strips, "{:?}", detector.plan());
        let mut camera = Camera::new(700, 500, 9);
        let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
        let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
        let boxes = camera.boxes(20);
        check(&mut stream, &mut session, &camera, &boxes, "the first frame");
        // Changes of single cells, too, that reach an output through a tile alone.
        let sides = [30, 1, 90, 1, 3, 3, 9, 9];
        for side in sides.into_iter().take(if frcnn_testkit::emulated() { 2 } else { sides.len() }) {
            camera.change(1, side);
            check(&mut stream, &mut session, &camera, &boxes, "a change");
            assert!(stream.reuse().trunk_share < 0.5, "{:?}", stream.reuse());
        }
    }
}

/// What is expected of a budget is what a frame costs, and more memory never costs more.
#[test]
fn what_a_budget_buys_is_known_before_a_frame() {
    // The middle of such a frame, a quarter of its rows and columns, is whole cells of 8 pixels.
    let detector = open(bundle(1, Precision::F32, 384, 8), 1);
    let mut shares = Vec::new();
    for reuse_mib in [0, 1, 4, 64] {
        let expected = detector.expected_reuse(reuse_mib, 0.0625).unwrap().unwrap();
        let mut camera = Camera::new(512, 384, 2);
        let mut stream =
            detector.stream(StreamOptions { tolerance: Tolerance::Fixed(0.0), reuse_mib }).unwrap();
        stream.detect(&camera.frame(), &[]).unwrap();
        for row in camera.pixels.chunks_exact_mut(512 * 3).skip(144).take(96) {
            row[192 * 3..320 * 3].iter_mut().for_each(|value| *value ^= 255);
        }
        stream.detect(&camera.frame(), &[]).unwrap();
        // Resizing may reach a pixel farther.
        let found = stream.reuse().trunk_share;
        assert!((0.0..0.02).contains(&(found - expected.trunk_share)), "{found} {expected:?}");
        assert!(expected.map_bytes <= stream.reuse().kept_bytes);
        shares.push(expected);
    }
    assert!(
        shares.is_sorted_by(
            |less, more| less.map_bytes <= more.map_bytes && less.trunk_share >= more.trunk_share
        )
    );
    assert!(shares[0].trunk_share > 1.2 * shares[3].trunk_share, "{shares:?}");
    let crops = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
    let mut builder = crops.builder;
    builder.regions = warp(32);
    let conv = builder.conv([3, 8], 3, 1);
    builder.then(Op::Conv(conv)).then(Op::GlobalAveragePool);
    assert_eq!(open(builder.finish(8).unwrap(), 1).expected_reuse(64, 0.1).unwrap(), None);
}

/// Where boxes are given, the RPN does not run, and nothing of it is kept.
#[test]
fn what_has_not_run_is_not_kept() {
    let rules = Rules {
        sampling_ratio: 2,
        half_pixel: false,
        resize: Resize::Published,
        pad_multiple: 1,
        proposes: true,
        convolves: false,
        pools: false,
    };
    let detector = open(aligned(0, Precision::F32, 96, rules, 5), 1);
    let mut camera = Camera::new(120, 90, 3);
    let boxes = camera.boxes(6);
    let stream = || detector.stream(StreamOptions::default()).unwrap();
    let (mut given, mut learned) = (stream(), stream());
    learned.detect_frame(&camera.frame()).unwrap();
    for stream in [&mut given, &mut learned] {
        stream.detect(&camera.frame(), &boxes).unwrap();
    }
    let [given, learned] = [given, learned].map(|stream| stream.reuse().kept_bytes);
    assert!(0 < given && given < learned, "{given} {learned}");
}

/// R-CNN's regions, SPPnet's levels, and several scales.
#[test]
fn other_methods() {
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    for regions in [
        warp(32),
        Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3], [2, 2], [1, 1]], spatial_scale: 0.25 }),
        Regions::RoiPooling(RoiPooling { pooled: vec![[2, 2]], spatial_scale: 0.25 }),
    ] {
        let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
        t.builder.manifest.scales = vec![60, 100];
        t.conv_relu([3, 16], 3, 2, 1, 1);
        t.conv_relu([16, 16], 3, 2, 1, 1);
        let is_warp = matches!(regions, Regions::Warp(_));
        t.builder.regions = regions;
        let bundle = t.builder.finish(if is_warp { 8 * 8 * 16 } else { 16 }).unwrap();
        check_sequence(&open(bundle, 2), options, (120, 90), 11);
    }
}

#[test]
fn another_size_or_format_is_a_first_frame() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    for (width, height) in [(90, 70), (70, 90), (90, 70)] {
        let mut camera = Camera::new(width, height, 4);
        let boxes = camera.boxes(10);
        check(&mut stream, &mut session, &camera, &boxes, "another size");
        assert_eq!(stream.reuse().trunk_share, 1.0);
        camera.change(1, 5);
        check(&mut stream, &mut session, &camera, &boxes, "a change");
        assert!(stream.reuse().trunk_share < 1.0);
    }
    let gray = vec![7; 90 * 70];
    let frame = Frame::new(&gray, 90, 70, 90, PixelFormat::Gray8).unwrap();
    stream.detect(&frame, &[]).unwrap();
    assert_eq!(stream.reuse().trunk_share, 1.0);
}

/// NaN in a map is a value like any other, and equal bits have not changed.
#[test]
fn a_frame_that_fails_leaves_no_half_of_it() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    let mut camera = Camera::new(90, 70, 4);
    let boxes = camera.boxes(10);
    check(&mut stream, &mut session, &camera, &boxes, "the first frame");
    // Too small for the trunk: its poolings leave nothing.
    let tiny = Camera::new(2, 900, 4);
    if stream.detect(&tiny.frame(), &boxes).is_err() {
        camera.change(1, 9);
        check(&mut stream, &mut session, &camera, &boxes, "after an error");
    }
}

#[test]
fn tolerances_are_checked() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    for wrong in [-1.0, f32::NAN, f32::INFINITY] {
        let options = StreamOptions { tolerance: Tolerance::Fixed(wrong), ..StreamOptions::default() };
        assert!(detector.stream(options).is_err());
    }
}

/// What bf16x3 on AMX needs, which multiplies few rows otherwise: a frame's RoIs are reused together.
#[test]
fn rows_that_are_not_apart_are_kept_together() {
    use super::regions::RegionCache;
    use crate::Roi;
    let roi = |x1| Roi { x1, ..Roi::default() };
    let mut cache = RegionCache::default();
    let mut update = |rois: &[Roi], apart, changed: i32| {
        let mut ran = 0;
        let run = |rois: &[Roi], output: &mut HeadOutput| {
            ran = rois.len();
            output.cls_prob.extend(rois.iter().map(|roi| roi.x1 as f32));
            output.bbox_pred.extend(rois.iter().flat_map(|roi| [roi.x1 as f32; 4]));
            Ok(())
        };
        let reused = cache.update(rois, ([1, 4], apart), |roi| roi.x1 == changed, run).unwrap();
        let expected: Vec<f32> = rois.iter().map(|roi| roi.x1 as f32).collect();
        assert_eq!(cache.output().cls_prob, expected);
        assert_eq!(cache.output().bbox_pred.len(), 4 * rois.len());
        (reused, ran)
    };
    let rois = [roi(1), roi(4), roi(5)];
    assert_eq!(update(&rois, false, 9), (0, 3));
    assert_eq!(update(&rois, false, 9), (3, 0));
    assert_eq!(update(&rois, false, 4), (0, 3));
    assert_eq!(update(&rois, true, 4), (2, 1));
    assert_eq!(update(&rois[..2], false, 9), (0, 2));
    assert_eq!(update(&rois, true, 9), (2, 1));
    // In another order, and twice.
    let other = [roi(5), roi(1), roi(5), roi(4)];
    assert_eq!(update(&other, true, 9), (4, 0));
    assert_eq!(update(&[roi(1), roi(5), roi(4), roi(5)], false, 9), (0, 4));
    assert_eq!(update(&[], true, 9), (0, 0));
}
