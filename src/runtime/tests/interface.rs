//! What a program that adds the crate sees: options, errors and detections.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::error::Error as _;

use frcnn::{
    BBox, BundleError, Detection, Detections, Detector, Error, ErrorKind, F32Products, Frame, Limits,
    MAX_DETECTIONS, Options, ShapeError,
};

#[test]
fn options_follow_one_another() {
    let options = Options::new()
        .with_threads(2)
        .with_score_threshold(0.5)
        .with_nms_iou(0.4)
        .with_max_detections(7)
        .with_f32_products(F32Products::Bf16x3)
        .with_memory(1 << 30)
        .with_limits(Limits::NONE);
    let literal = Options {
        threads: Some(2),
        score_threshold: Some(0.5),
        nms_iou: Some(0.4),
        max_detections: Some(7),
        f32_products: F32Products::Bf16x3,
        memory: Some(1 << 30),
        limits: Limits::NONE,
        tuning: None,
    };
    assert_eq!(options, literal);
    assert_eq!(Options::new(), Options::default());
}

#[test]
fn errors_have_kinds_and_tell_their_causes_once() {
    let missing = Detector::open("no/such/folder/a.frcnn").unwrap_err();
    assert!(
        matches!(&missing, Error::Bundle(BundleError::Io { error, .. }) if error.raw_os_error().is_some())
    );
    let text = missing.to_string();
    assert!(text.contains("a.frcnn") && text.matches("os error").count() == 1, "{text}");
    let errors = [
        (missing, ErrorKind::Io),
        (Detector::from_bytes(b"no bundle").unwrap_err(), ErrorKind::Bundle),
        (Frame::rgb8(&[], 0, 0).unwrap_err().into(), ErrorKind::Input),
        (ShapeError::check("rois", 1, 2).unwrap_err().into(), ErrorKind::Input),
        (Error::Options(String::new()), ErrorKind::Options),
        (Error::Stage { method: "rcnn", stage: "rpn" }, ErrorKind::Unsupported),
        (Error::Threads(String::new()), ErrorKind::Threads),
        (Error::Graph { stage: "trunk", problem: String::new() }, ErrorKind::Internal),
    ];
    for (error, kind) in errors {
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.source().is_none(), "{error:?}");
    }
}

#[test]
fn detections_are_a_slice_that_ends() {
    let found = |score| Detection { class_id: 1, score, bbox: BBox::new(0.0, 0.0, 9.0, 9.0), proposal: 0 };
    let mut detections = Detections::new();
    for _ in 0..MAX_DETECTIONS {
        detections.push(found(0.5)).unwrap();
    }
    assert_eq!(detections.push(found(0.25)), Err(found(0.25)));
    for detection in &mut detections {
        detection.score *= 0.5;
    }
    detections.truncate(2);
    assert_eq!(detections.as_slice(), [found(0.25); 2]);
    assert_eq!((detections.len(), (&detections).into_iter().count()), (2, 2));
    assert_eq!(format!("{:?}", Detections::new()), "[]");
}
