//! Any number of proposals, and proposals that make no sense.
#![allow(clippy::unwrap_used)]

use frcnn::{BBox, NO_ROI};
use frcnn_compiler::arch::Arch;
use frcnn_tests::{Photo, boxes, compile_new, detector, untrained};

#[test]
fn none_and_one() {
    let detector = detector(&untrained(), 1);
    let photo = Photo::synthetic(320, 240);
    assert!(detector.detect(&photo.frame(), &[]).unwrap().is_empty());
    let one = detector.detect(&photo.frame(), &[BBox::new(40.0, 30.0, 200.0, 180.0)]).unwrap();
    // An untrained network scores every class near 1/4, above the threshold: one box of each class.
    assert_eq!(one.len(), 3);
}

#[test]
fn a_hundred_thousand() {
    let detector = detector(&untrained(), 2);
    let photo = Photo::synthetic(160, 120);
    // The image has few cells, so most of these boxes share an RoI; the detections come from all.
    let many = boxes(100_000, 160.0, 120.0, 7);
    let mut session = detector.session();
    let blobs = session.preprocess(&photo.frame()).unwrap();
    let projected = session.project(&many, &blobs).unwrap();
    assert_eq!(projected.index.len(), many.len());
    assert!(projected.rois.len() < many.len());
    let detections = session.detect(&photo.frame(), &many).unwrap();
    assert!(!detections.is_empty() && detections.len() <= 100);
}

/// One head pass for equal RoIs gives what one pass for each box gives.
#[test]
fn deduplication_loses_nothing() {
    let detector = detector(&untrained(), 1);
    let photo = Photo::synthetic(320, 240);
    let mut session = detector.session();
    let proposals = boxes(300, 320.0, 240.0, 3);
    let together = session.detect(&photo.frame(), &proposals).unwrap();

    let blobs = session.preprocess(&photo.frame()).unwrap();
    let map = session.trunk(&blobs[0]).unwrap();
    let spatial_scale = frcnn_tests::roi_pooling(detector.contents()).spatial_scale;
    let scale = blobs[0].im_scale();
    let rois: Vec<_> = proposals.iter().map(|b| frcnn::Roi::project(0, b, scale, spatial_scale)).collect();
    let pooled = session.roi_pool(&[map], &rois).unwrap();
    let output = session.head(&pooled).unwrap();
    let index: Vec<u32> = (0..proposals.len() as u32).collect();
    let alone = session.postprocess(&proposals, &index, &output, 320, 240);
    assert_eq!(together, alone);
}

#[test]
fn senseless_boxes_are_passed_over_and_harm_nobody() {
    let detector = detector(&untrained(), 2);
    let photo = Photo::synthetic(320, 240);
    let good = boxes(50, 320.0, 240.0, 11);
    let expected = detector.detect(&photo.frame(), &good).unwrap();
    let senseless = [
        BBox::new(f32::NAN, 0.0, 10.0, 10.0),
        BBox::new(0.0, f32::INFINITY, 10.0, f32::INFINITY),
        BBox::new(f32::NEG_INFINITY, 0.0, 10.0, 10.0),
        BBox::new(50.0, 50.0, 20.0, 90.0),
        BBox::new(50.0, 50.0, 90.0, 49.0),
    ];
    let mixed = [&good[..], &senseless].concat();
    assert_eq!(detector.detect(&photo.frame(), &mixed).unwrap(), expected);
    assert!(detector.detect(&photo.frame(), &senseless).unwrap().is_empty());
    let mut session = detector.session();
    let blobs = session.preprocess(&photo.frame()).unwrap();
    let index = session.project(&senseless, &blobs).unwrap().index;
    assert!(index.iter().all(|&i| i == NO_ROI));
}

#[test]
fn boxes_outside_the_image_stay_within_it_once_detected() {
    let detector = detector(&untrained(), 1);
    let photo = Photo::synthetic(320, 240);
    let outside = [
        BBox::new(-500.0, -500.0, -400.0, -300.0),
        BBox::new(1000.0, 1000.0, 1100.0, 1200.0),
        BBox::new(-50.0, 100.0, 400.0, 120.0),
        BBox::new(-1e30, -1e30, 1e30, 1e30),
        BBox::new(319.0, 239.0, 319.0, 239.0),
    ];
    let detections = detector.detect(&photo.frame(), &outside).unwrap();
    for detection in &detections {
        let BBox { x1, y1, x2, y2 } = detection.bbox;
        assert!((0.0..=319.0).contains(&x1) && (0.0..=319.0).contains(&x2), "{detection:?}");
        assert!((0.0..=239.0).contains(&y1) && (0.0..=239.0).contains(&y2), "{detection:?}");
    }
}

/// With a pyramid each RoI goes to the level at which its area is nearest 224 x 224.
#[test]
fn a_pyramid_uses_its_levels() {
    let bundle = compile_new(Arch::SqueezeNet, 3, |manifest| manifest.scales = vec![120, 240, 480]);
    let detector = detector(&bundle, 2);
    let photo = Photo::synthetic(320, 240);
    let mut session = detector.session();
    let blobs = session.preprocess(&photo.frame()).unwrap();
    assert_eq!(blobs.iter().map(|b| b.height).collect::<Vec<_>>(), [120, 240, 480]);
    // Areas 50^2, 150^2 and 230^2 are nearest 224^2 at scales 2, 2 and 1 of 0.5, 1, 2.
    let proposals = [(50.0, 2), (150.0, 1), (230.0, 1)]
        .map(|(side, level)| (BBox::new(0.0, 0.0, side - 1.0, side - 1.0), level));
    let list = proposals.map(|(bbox, _)| bbox);
    let projected = session.project(&list, &blobs).unwrap();
    for ((_, level), &index) in proposals.iter().zip(&projected.index) {
        assert_eq!(projected.rois[index as usize].level, *level);
    }
    assert!(!session.detect(&photo.frame(), &list).unwrap().is_empty());
}
