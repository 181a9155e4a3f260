//! What comes out of networks that give what is no number, and of boxes that are none.

use frcnn::{BBox, Frame};
use frcnn_bundle::{Affine, Conv, Gemm, Int8, Op, Precision, Scores, Weights};

use crate::build::{Builder, open};

const SIDE: u32 = 50;

/// A network whose scores and deltas are its biases, of which the deltas are `delta` for all.
fn constant(scores: [f32; 2], delta: [f32; 4], width_offset: f32) -> Builder {
    let mut builder = Builder::new(2);
    builder.manifest.scores = Scores::Margins;
    builder.manifest.score_threshold = -1.0;
    (builder.manifest.box_width_offset, builder.manifest.nms_width_offset) = (width_offset, width_offset);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv));
    let mut head = builder.usual_head(16, true);
    let scores = builder.writer.add("scores", &[2], scores.to_vec());
    let deltas = builder.writer.add("deltas", &[8], [delta, delta].concat());
    let zeros = [
        builder.writer.add("none", &[16, 2], vec![0.0; 32]),
        builder.writer.add("none", &[16, 8], vec![0.0; 128]),
    ];
    for layer in &mut head.layers {
        if let Op::Gemm(gemm) = &mut layer.op {
            let is_scores = gemm.out_features == 2;
            let bias = Some(if is_scores { scores } else { deltas });
            *gemm = Gemm { weight: zeros[usize::from(!is_scores)], bias, ..gemm.clone() };
        }
    }
    // Without the softmax.
    head.outputs[0] = 2;
    builder.head = Some(head);
    builder
}

#[test]
fn no_detection_breaks_its_promise() {
    let huge = f32::MAX;
    let proposals: Vec<BBox> = [
        [10.0, 10.0, 30.0, 30.0],
        [10.0, 10.0, 10.0, 10.0],
        [-1e30, -1e30, 1e30, 1e30],
        [-huge, -huge, huge, huge],
        [huge, huge, huge, huge],
        [30.0, 30.0, 10.0, 10.0],
        [f32::NAN, 1.0, 2.0, 3.0],
        [1.0, f32::NEG_INFINITY, 2.0, f32::INFINITY],
        [1e-45, 0.0, 1e-45, 0.0],
    ]
    .map(|[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2))
    .to_vec();
    let pixels = [77; (SIDE * SIDE * 3) as usize];
    let frame = Frame::rgb8(&pixels, SIDE, SIDE).unwrap();
    let values = [0.0, 1.0, -1.0, 100.0, -100.0, 1e30, -1e30, huge, -huge];
    for score in [1.0, huge] {
        for offset in [0.0, 1.0] {
            for (dx, dw) in values.iter().flat_map(|&dx| values.map(|dw| (dx, dw))) {
                let detector =
                    open(constant([0.0, score], [dx, -dx, dw, -dw], offset).finish(4).unwrap()).unwrap();
                for found in &detector.detect(&frame, &proposals).unwrap() {
                    let b = found.bbox;
                    assert!(found.score.is_finite() && b.is_valid(), "{found:?}");
                    // The last pixel, or its edge.
                    let last = SIDE as f32 - offset;
                    assert!(b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 <= last && b.y2 <= last, "{found:?}");
                }
            }
        }
    }
}

/// The last pixel where corners belong to a box, and where they are edges the last edge.
#[test]
fn boxes_that_are_too_large_end_where_the_image_does() {
    let pixels = [77; (SIDE * SIDE * 3) as usize];
    let frame = Frame::rgb8(&pixels, SIDE, SIDE).unwrap();
    let boxes = [BBox::new(10.0, 10.0, 30.0, 30.0)];
    for offset in [0.0, 1.0] {
        let large = constant([0.0, 1.0], [0.0, 0.0, 3.0, 3.0], offset);
        let found = open(large.finish(4).unwrap()).unwrap().detect(&frame, &boxes).unwrap();
        let last = SIDE as f32 - offset;
        assert_eq!(found[0].bbox, BBox::new(0.0, 0.0, last, last));
    }
    // The original coder has no offset, and corners that are pixels.
    let mut original = constant([0.0, 1.0], [0.0, 0.0, 3.0, 3.0], 1.0);
    original.manifest.box_width_offset = 0.0;
    let found = open(original.finish(4).unwrap()).unwrap().detect(&frame, &boxes).unwrap();
    assert_eq!(found[0].bbox.x2, SIDE as f32 - 1.0);
}

#[test]
fn what_is_left_out_is_counted() {
    let pixels = [77; (SIDE * SIDE * 3) as usize];
    let frame = Frame::rgb8(&pixels, SIDE, SIDE).unwrap();
    let boxes = [BBox::new(1.0, 1.0, 20.0, 20.0), BBox::new(30.0, 30.0, 49.0, 49.0)];
    for (delta, found, not_finite) in [
        ([0.0; 4], 2, 0),
        // Times the size of a box more than there is.
        ([f32::MAX, 0.0, 0.0, 0.0], 0, 2),
        // Shrunk to less than a pixel.
        ([0.0, 0.0, -100.0, 0.0], 0, 0),
    ] {
        let detector = open(constant([0.0, 1.0], delta, 1.0).finish(4).unwrap()).unwrap();
        let mut session = detector.session();
        assert_eq!(session.detect(&frame, &boxes).unwrap().len(), found, "{delta:?}");
        assert_eq!(session.not_finite(), not_finite, "{delta:?}");
    }
    // Values that overflow on the way: a product of them is infinite, and infinities less each other are no number.
    let mut builder = constant([0.0, 1.0], [0.0; 4], 1.0);
    let scale = builder.writer.add("scale", &[4], vec![1e38; 4]);
    let affine = Op::Affine(Affine { channels: 4, scale, shift: scale });
    builder.then(affine.clone()).then(affine);
    let head = builder.head.as_mut().unwrap();
    let weight =
        builder.writer.add("w", &[16, 2], (0..32).map(|i| if i % 4 < 2 { 1.0 } else { -1.0 }).collect());
    for layer in &mut head.layers {
        if let Op::Gemm(gemm) = &mut layer.op
            && gemm.out_features == 2
        {
            gemm.weight = weight;
        }
    }
    let detector = open(builder.finish(4).unwrap()).unwrap();
    let mut session = detector.session();
    assert_eq!(session.detect(&frame, &boxes).unwrap().len(), 0);
    assert_eq!(session.not_finite(), 2);
}

/// What is not finite in front of an int8 layer is so behind it, as of f32 and f16 layers: in a trunk's map and in a head's scores.
#[test]
fn no_precision_hides_what_is_not_finite() {
    let pixels = [77; (SIDE * SIDE * 3) as usize];
    let frame = Frame::rgb8(&pixels, SIDE, SIDE).unwrap();
    let boxes = [BBox::new(1.0, 1.0, 20.0, 20.0), BBox::new(30.0, 30.0, 49.0, 49.0)];
    for precision in [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8] {
        for in_trunk in [false, true] {
            let mut builder = constant([0.0, 1.0], [0.0; 4], 1.0);
            // 1e38 times 1e38 is infinite.
            let scale = builder.writer.add("scale", &[4], vec![1e38; 4]);
            let affine = Op::Affine(Affine { channels: 4, scale, shift: scale });
            builder.then(affine.clone()).then(affine);
            let mut weights = |shape: &[usize]| match precision {
                Precision::Int8 => {
                    let channels = shape[shape.len() - 1];
                    let scales = builder.writer.add("scales", &[channels], vec![0.1; channels]);
                    let int8 = Int8 { scales, input_scale: 0.05, input_zero_point: 3 };
                    let values = vec![10; shape.iter().product()];
                    builder.writer.add_int8("w", shape, values.into(), int8)
                }
                precision => {
                    let values = vec![1.0; shape.iter().product()];
                    builder.writer.add_weights("w", shape, Weights::rounded(&values, precision))
                }
            };
            if in_trunk {
                let weight = weights(&[3, 3, 4, 4]);
                let conv = Conv { weight, ..builder.conv([4, 4], 3, 1) };
                builder.then(Op::Conv(conv));
            } else {
                let weight = weights(&[16, 2]);
                for layer in &mut builder.head.as_mut().unwrap().layers {
                    if let Op::Gemm(gemm) = &mut layer.op
                        && gemm.out_features == 2
                    {
                        gemm.weight = weight;
                    }
                }
            }
            let detector = open(builder.finish(4).unwrap()).unwrap();
            let mut session = detector.session();
            if in_trunk {
                let blob = session.preprocess(&frame).unwrap().remove(0);
                let map = session.trunk(&blob).unwrap();
                assert!(map.data().unwrap().iter().all(|value| !value.is_finite()), "{precision:?}");
            } else {
                assert_eq!(session.detect(&frame, &boxes).unwrap().len(), 0, "{precision:?}");
                assert_eq!(session.not_finite(), 2, "{precision:?}");
            }
        }
    }
}
