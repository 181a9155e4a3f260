//! Other ways that the same parts go together: regions from outside, one map, max pooling, the published resizing, a cascade.

use frcnn::{BBox, Frame, StreamOptions, Tolerance};
use frcnn_bundle::{Cascade, Gemm, Graph, Op, Regions, Resize, RoiPooling};

use crate::build::layer;
use crate::pyramid::{CHANNELS, Noise, builder, pyramid};
use crate::{bits, detector, pixels};

/// The network without its RPN gives of the RPN's boxes what it gives with it.
#[test]
fn regions_may_come_from_outside() {
    let whole = pyramid();
    let mut without = builder();
    without.rpn = None;
    without.outputs.pop();
    let without = without.finish(CHANNELS as usize).unwrap();
    assert_eq!(without.contents().method().name(), "fast-rcnn");
    let photo = pixels(131, 97);
    let frame = Frame::rgb8(&photo, 131, 97).unwrap();
    let mut session = detector(&whole, 1).session();
    session.detect_frame(&frame).unwrap();
    let boxes = session.proposals().to_vec();
    let expected = session.detect(&frame, &boxes).unwrap();
    let mut session = detector(&without, 2).session();
    assert_eq!(bits(&session.detect(&frame, &boxes).unwrap()), bits(&expected));
    assert!(!expected.is_empty());
    let error = session.detect_frame(&frame).unwrap_err().to_string();
    assert!(error.contains("has no stage `rpn`"), "{error}");
}

/// A box that is given is looked at as it is, even far beyond the image; one that is none is passed over.
#[test]
fn given_boxes_may_be_anything() {
    let photo = pixels(60, 117);
    let frame = Frame::rgb8(&photo, 60, 117).unwrap();
    let (huge, nan) = (f32::MAX, f32::NAN);
    let mut session = detector(&pyramid(), 2).session();
    let mut boxes = vec![BBox::new(5.0, 5.0, 40.0, 60.0)];
    let alone = session.detect(&frame, &boxes).unwrap();
    for [x1, y1, x2, y2] in [
        [-1e30, -1e30, 1e30, 1e30],
        [-huge, -huge, huge, huge],
        [30.0, 30.0, 10.0, 10.0],
        [nan, 1.0, 2.0, 3.0],
        [1.0, f32::NEG_INFINITY, 2.0, f32::INFINITY],
        [7.0, 7.0, 7.0, 7.0],
        [1e-45, 0.0, 1e-45, 0.0],
    ] {
        boxes.push(BBox::new(x1, y1, x2, y2));
    }
    let found = session.detect(&frame, &boxes).unwrap();
    for detection in &found {
        let b = detection.bbox;
        assert!(b.is_valid() && b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 <= 60.0 && b.y2 <= 117.0, "{b:?}");
        assert!(![3, 4, 5].contains(&detection.proposal), "{detection:?}");
    }
    assert_eq!(alone.iter().filter(|d| d.proposal > 0).count(), 0);
    assert!(session.detect(&frame, &[]).unwrap().is_empty());
}

/// The published rules with learned proposals: RoI max pooling of one map, and boxes in pixels of the image.
#[test]
fn learned_proposals_go_with_the_published_rules() {
    let mut builder = builder();
    builder.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3]], spatial_scale: 0.25 });
    builder.outputs.truncate(1);
    builder.rpn.as_mut().unwrap().anchors.truncate(1);
    let manifest = &mut builder.manifest;
    (manifest.resize, manifest.pad_multiple) = (Resize::Published, 1);
    (manifest.box_width_offset, manifest.nms_width_offset) = (1.0, 1.0);
    (manifest.nms_keeps_equal, manifest.min_box_side) = (false, 0.0);
    let bundle = builder.finish(CHANNELS as usize).unwrap();
    for (width, height) in [(150, 100), (61, 97)] {
        let photo = pixels(width, height);
        let frame = Frame::rgb8(&photo, width, height).unwrap();
        let mut session = detector(&bundle, 1).session();
        let found = session.detect_frame(&frame).unwrap();
        let boxes = session.proposals().to_vec();
        assert!(boxes.len() > 20 && !found.is_empty(), "{} {}", boxes.len(), found.len());

        // Stage by stage; a RoI is the cells of its box in the blob.
        let blob = session.preprocess(&frame).unwrap().remove(0);
        let map = session.trunk(&blob).unwrap();
        let in_blob = session.filter_proposals(&[session.rpn(&map).unwrap()], &blob).unwrap();
        let scale = blob.im_scale();
        let image = |v: f32| (f64::from(v) / scale) as f32;
        for (learned, b) in boxes.iter().zip(&in_blob.boxes) {
            let b = [b.x1, b.y1, b.x2, b.y2].map(image);
            let learned = [learned.x1, learned.y1, learned.x2, learned.y2];
            assert!(learned.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4), "{learned:?} {b:?}");
        }
        let rois = session.project(&in_blob.boxes, &[frcnn::ImageBlob::new(vec![], 0, 0, 1.0)]).unwrap();
        let features = session.roi_pool(std::slice::from_ref(&map), &rois.rois).unwrap();
        let output = session.head(&features).unwrap();
        let expected = session.postprocess(&boxes, &rois.index, &output, width, height);
        assert_eq!(bits(&found), bits(&expected));
    }
}

/// What a judge that drops nothing leaves is what there was; one that drops all leaves nothing.
#[test]
fn a_cascade_judges_aligned_regions() {
    let judged = |keep: f32| {
        let mut builder = builder();
        let features = 9 * CHANNELS as usize;
        let mut noise = Noise(77);
        let values = (0..4 * features).map(|_| noise.next()).collect();
        let weight = builder.writer.add("judge", &[features, 4], values);
        let gemm = Gemm { in_features: features as u32, out_features: 4, weight, bias: None };
        let layers = vec![layer(Op::Flatten, &[0]), layer(Op::Gemm(gemm), &[1]), layer(Op::Softmax, &[2])];
        let judge = Graph { layers, outputs: vec![3] };
        builder.cascade = Some(Cascade { judge, keep, rank: 1, chosen: None });
        builder.finish(CHANNELS as usize).unwrap()
    };
    let photo = pixels(131, 97);
    let frame = Frame::rgb8(&photo, 131, 97).unwrap();
    let mut plain = detector(&pyramid(), 1).session();
    let expected = plain.detect_frame(&frame).unwrap();
    let mut all = detector(&judged(0.0), 1).session();
    assert_eq!(bits(&all.detect_frame(&frame).unwrap()), bits(&expected));
    assert_eq!(all.dropped(), (0, all.proposals().len()));
    let mut some = detector(&judged(0.75), 2).session();
    let found = some.detect_frame(&frame).unwrap();
    let (dropped, of) = some.dropped();
    assert!(dropped > 0 && dropped < of, "{dropped} of {of}");
    // A box that is no longer there suppresses nothing: what is new was suppressed before.
    let known = |score: f32| expected.iter().any(|d| d.score == score);
    assert!(found.iter().any(|d| known(d.score)) && expected.iter().any(|d| !found.contains(d)));
    let mut none = detector(&judged(1.0), 1).session();
    assert!(none.detect_frame(&frame).unwrap().is_empty());
}

/// A stream finds what a session finds, and proposes the same.
#[test]
fn streams_of_such_networks() {
    let (width, height) = (150, 100);
    let detector = detector(&pyramid(), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    let mut photo = pixels(width, height);
    for number in 0..6 {
        if number % 3 > 0 {
            photo[3000 * number..][..90].fill(40 * number as u8);
        }
        let frame = Frame::rgb8(&photo, width, height).unwrap();
        let expected = session.detect_frame(&frame).unwrap();
        assert_eq!(bits(&stream.detect_frame(&frame).unwrap()), bits(&expected), "frame {number}");
        assert_eq!(stream.proposals(), session.proposals(), "frame {number}");
        assert!(!expected.is_empty() && (number != 3 || stream.reuse().rois_reused == stream.reuse().rois));
    }
    let expected = detector.expected_reuse(64, 0.01).unwrap().unwrap();
    assert!(expected.map_bytes > 0 && expected.trunk_share < 1.0, "{expected:?}");
}
