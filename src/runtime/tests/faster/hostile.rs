//! Networks with learned proposals that are made to hurt.

use frcnn::{BBox, Detector, Error, Frame, Limits, Options};

use crate::pyramid::{ANCHORS, CHANNELS, builder};
use crate::{detector, pixels};

fn error_of(options: &Options, change: impl FnOnce(&mut crate::build::Builder)) -> String {
    let mut builder = builder();
    change(&mut builder);
    let bundle = builder.finish(CHANNELS as usize).unwrap();
    Detector::new(bundle, options).err().unwrap().to_string()
}

/// Weights are finite, or no bundle; what the network makes of them may not be.
#[test]
fn logits_that_are_no_numbers_are_counted_and_left_out() {
    for (value, what) in [(f32::MAX, "overflows"), (-f32::MAX, "is negative"), (0.0, "is all alike")] {
        let mut builder = builder();
        let weights =
            builder.writer.add("huge", &[1, 1, CHANNELS as usize, ANCHORS], vec![value; 8 * ANCHORS]);
        let rpn = builder.rpn.as_mut().unwrap();
        let frcnn_bundle::Op::Conv(conv) = &mut rpn.graph.layers[2].op else { panic!("no convolution") };
        (conv.weight, conv.bias) = (weights, None);
        let bundle = builder.finish(CHANNELS as usize).unwrap();
        let photo = pixels(131, 97);
        let frame = Frame::rgb8(&photo, 131, 97).unwrap();
        let mut session = detector(&bundle, 1).session();
        let found = session.detect_frame(&frame).unwrap();
        assert!(session.proposals().iter().all(BBox::is_valid), "{what}");
        assert!(found.iter().all(|d| d.score.is_finite() && d.bbox.is_valid()), "{what}");
        // Sums of the largest numbers are infinite, or NaN where signs differ.
        assert_eq!(session.not_finite() > 0, value != 0.0, "{what}");
        // Signs of the one frame do not stay.
        assert!(session.detect(&frame, &[]).unwrap().is_empty());
        assert_eq!(session.not_finite(), 0, "{what}");
    }
}

#[test]
fn deltas_that_are_no_numbers_are_counted_and_left_out() {
    let mut builder = builder();
    let weights = builder.writer.add("huge", &[1, 1, 8, 4 * ANCHORS], vec![f32::MAX; 8 * 4 * ANCHORS]);
    let rpn = builder.rpn.as_mut().unwrap();
    let frcnn_bundle::Op::Conv(conv) = &mut rpn.graph.layers[3].op else { panic!("no convolution") };
    (conv.weight, conv.bias) = (weights, None);
    let bundle = builder.finish(CHANNELS as usize).unwrap();
    let photo = pixels(60, 117);
    let mut session = detector(&bundle, 2).session();
    session.detect_frame(&Frame::rgb8(&photo, 60, 117).unwrap()).unwrap();
    assert!(session.not_finite() > 0);
    assert!(session.proposals().iter().all(BBox::is_valid));
}

#[test]
fn what_it_would_cost_is_refused_beforehand() {
    // A blob of 20,000 x 20,000 pixels has 25 million cells of the finest map, and as many anchors thrice.
    let error = error_of(&Options::default(), |builder| {
        (builder.manifest.scales, builder.manifest.max_long_side) = (vec![20_000], 20_000);
    });
    assert!(error.contains("of memory") && error.contains("the limit is"), "{error}");
    // Suppression among many boxes.
    let tight =
        Options { limits: Limits { operations: 2_000_000_000, ..Limits::NONE }, ..Options::default() };
    let mut fits = builder();
    fits.manifest.scales = vec![100];
    assert!(Detector::new(fits.finish(CHANNELS as usize).unwrap(), &tight).is_ok());
    let error = error_of(&tight, |builder| {
        (builder.manifest.scales, builder.manifest.max_long_side) = (vec![1000], 2000);
        let rpn = builder.rpn.as_mut().unwrap();
        (rpn.pre_nms_top_n, rpn.post_nms_top_n) = (16_384, 16_384);
    });
    assert!(error.contains("operations"), "{error}");
    let few = Options { limits: Limits { layers: 28, ..Limits::NONE }, ..Options::default() };
    assert!(error_of(&few, |_| {}).contains("29 layers"), "{}", error_of(&few, |_| {}));
}

/// A frame is held to the limits as it is, with all anchors and proposals that it may have.
#[test]
fn frames_are_held_to_the_limits() {
    let bundle = builder().finish(CHANNELS as usize).unwrap();
    let nominal = frcnn::Demand::nominal(bundle.contents(), 1).unwrap();
    let limits = Limits { memory: nominal.memory, ..Limits::default() };
    let detector =
        Detector::new(bundle, &Options { threads: Some(1), limits, ..Options::default() }).unwrap();
    let photo = pixels(120, 90);
    assert!(detector.detect_frame(&Frame::rgb8(&photo, 120, 90).unwrap()).is_ok());
    let boxes = vec![BBox::new(1.0, 1.0, 20.0, 20.0); 100_000];
    let error = detector.detect(&Frame::rgb8(&photo, 120, 90).unwrap(), &boxes).unwrap_err();
    assert!(matches!(error, Error::Limit(_)), "{error}");
}

/// From one pixel on: maps of one cell, strides longer than the image.
#[test]
fn frames_may_be_tiny() {
    let mut small = builder();
    small.manifest.scales = vec![1];
    let bundle = small.finish(CHANNELS as usize).unwrap();
    for (width, height) in [(1, 1), (1, 50), (50, 1), (3, 2)] {
        let photo = pixels(width, height);
        let mut session = detector(&bundle, 2).session();
        let found = session.detect_frame(&Frame::rgb8(&photo, width, height).unwrap()).unwrap();
        assert!(found.iter().all(|d| d.bbox.is_valid() && d.bbox.x2 <= width as f32));
    }
}
