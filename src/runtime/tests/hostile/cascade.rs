//! Cascades: what a judge may be, what it drops, and that it changes nothing else.

use frcnn::{BBox, Bundle, Detector, Frame, HeadOutput, NO_ROI, Options};
use frcnn_bundle::{Cascade, Chosen, Conv, Gemm, Graph, Op, Scores};

use crate::build::{Builder, layer, warp};

const CLASSES: usize = 4;
const CHANNELS: usize = 24;
const FEATURES: usize = 4 * CHANNELS;

fn builder() -> Builder {
    let mut builder = Builder::new(CLASSES);
    let conv = builder.conv([3, CHANNELS as u32], 5, 2);
    builder.then(Op::Conv(Conv { stride: [4; 2], ..conv })).then(Op::Relu);
    builder
}

/// A judge of a hidden layer of 5 values.
fn judge(builder: &mut Builder) -> Graph {
    let (first, second) = (builder.gemm(FEATURES, 5), builder.gemm(5, CLASSES));
    let layers = vec![
        layer(Op::Flatten, &[0]),
        layer(first, &[1]),
        layer(Op::Relu, &[2]),
        layer(second, &[3]),
        layer(Op::Softmax, &[4]),
    ];
    Graph { layers, outputs: vec![5] }
}

fn cascade(judge: Graph, keep: f32) -> Option<Cascade> {
    Some(Cascade { judge, keep, rank: 5, chosen: None })
}

fn head(builder: &mut Builder) -> Graph {
    builder.deep_head(FEATURES, [20, 16])
}

fn bundle(keep: Option<f32>) -> Bundle {
    let mut builder = builder();
    builder.head = Some(head(&mut builder));
    let judge = judge(&mut builder);
    builder.cascade = keep.and_then(|keep| cascade(judge, keep));
    builder.finish(CHANNELS).unwrap()
}

fn pixels() -> Vec<u8> {
    (0..64 * 96 * 3).map(|i: usize| (i * i % 251) as u8).collect()
}

/// Many, of which some are equal, some pool the same cells, and some are no boxes.
fn boxes() -> Vec<BBox> {
    let bbox = |i: usize| {
        let (x, y) = ((i * 37 % 90) as f32, (i * 23 % 60) as f32);
        match i % 41 {
            7 => BBox::new(x + 9.0, y, x, y),
            9 => BBox::new(f32::NAN, y, x, y),
            _ => BBox::new(x, y, x + (i % 50) as f32, y + (i / 7 % 40) as f32),
        }
    };
    (0..1500).map(bbox).collect()
}

fn detector(bundle: Bundle, threads: usize) -> Detector {
    let options = Options { threads: Some(threads), score_threshold: Some(0.0), ..Options::default() };
    Detector::new(bundle, &options).unwrap()
}

/// What stays gets, bit for bit, what it gets without a cascade, and what is dropped gives nothing.
#[test]
fn it_only_drops() {
    let (pixels, boxes) = (pixels(), boxes());
    let frame = Frame::rgb8(&pixels, 96, 64).unwrap();
    let mut whole = detector(bundle(None), 1).session();
    let blobs = whole.preprocess(&frame).unwrap();
    let maps: Vec<_> = blobs.iter().map(|blob| whole.trunk(blob).unwrap()).collect();
    let rois = whole.project(&boxes, &blobs).unwrap();
    assert_eq!(whole.judge(&maps, &rois.rois).unwrap(), None);
    let features = whole.roi_pool(&maps, &rois.rois).unwrap();
    let output: HeadOutput = whole.head(&features).unwrap();
    let foreground = detector(bundle(Some(0.5)), 1).session().judge(&maps, &rois.rois).unwrap().unwrap();
    assert_eq!(foreground.len(), rois.rois.len());
    let mut sorted = foreground.clone();
    sorted.sort_by(f32::total_cmp);
    let count = sorted.len();
    let (mut least, mut most) = (usize::MAX, 0);
    // The lowest drops none, the last all where a threshold above all values is one.
    let keeps = [0, count / 10, count / 2, count - 9, count - 1].map(|place| sorted[place]);
    let above = sorted[count - 1].next_up();
    let keeps = keeps.into_iter().chain([above]).filter(|&keep| keep <= 1.0);
    for keep in keeps {
        let is_dropped: Vec<bool> = foreground.iter().map(|&value| value < keep).collect();
        let index: Vec<u32> = rois
            .index
            .iter()
            .map(|&row| if row != NO_ROI && is_dropped[row as usize] { NO_ROI } else { row })
            .collect();
        let expected = whole.postprocess(&boxes, &index, &output, 96, 64);
        for threads in [1, 2, 3] {
            let mut session = detector(bundle(Some(keep)), threads).session();
            for _ in 0..2 {
                let found = session.detect(&frame, &boxes).unwrap();
                let dropped = is_dropped.iter().filter(|dropped| **dropped).count();
                assert_eq!(session.dropped(), (dropped, count), "below {keep}");
                assert_eq!(found[..], expected[..], "below {keep}, {threads} threads");
                (least, most) = (least.min(dropped), most.max(dropped));
            }
        }
    }
    assert!(least == 0 && most > count / 2, "{least} and {most} of {count} dropped");
    // No boxes at all.
    assert!(detector(bundle(Some(0.5)), 1).session().detect(&frame, &[]).unwrap().is_empty());
}

/// RoI pooling passes NaN over; a cascade then drops nothing.
#[test]
fn maps_that_are_not_finite_are_not_judged() {
    let pixels = vec![255; 64 * 96 * 3];
    let frame = Frame::rgb8(&pixels, 96, 64).unwrap();
    let of = |scale: f32| {
        let mut builder = builder();
        // Weights that overflow on bright pixels.
        let weight = builder.writer.add("w", &[1, 1, CHANNELS, CHANNELS], vec![scale; CHANNELS * CHANNELS]);
        let conv = builder.conv([CHANNELS as u32; 2], 1, 0);
        builder.then(Op::Conv(Conv { weight, ..conv }));
        builder.head = Some(head(&mut builder));
        let judge = judge(&mut builder);
        builder.cascade = cascade(judge, 1.0);
        let mut session = detector(builder.finish(CHANNELS).unwrap(), 1).session();
        session.detect(&frame, &boxes()).unwrap();
        let (dropped, all) = session.dropped();
        assert!(all > 100);
        dropped as f32 / all as f32
    };
    assert_eq!((of(1e-3), of(f32::MAX)), (1.0, 0.0));
}

/// Scores of a judge that are not numbers drop nothing.
#[test]
fn nan_is_below_no_threshold() {
    let pixels = pixels();
    let frame = Frame::rgb8(&pixels, 96, 64).unwrap();
    let mut builder = builder();
    builder.head = Some(head(&mut builder));
    let mut judge = judge(&mut builder);
    // Of sums that overflow either way, a softmax is NaN.
    let weight = builder.writer.add("w", &[5, CLASSES], vec![f32::MAX; 5 * CLASSES]);
    judge.layers[3].op = Op::Gemm(Gemm { in_features: 5, out_features: CLASSES as u32, weight, bias: None });
    let weight = builder.writer.add("w", &[FEATURES, 5], vec![f32::MAX / 1e3; FEATURES * 5]);
    judge.layers[1].op = Op::Gemm(Gemm { in_features: FEATURES as u32, out_features: 5, weight, bias: None });
    builder.cascade = cascade(judge, 1.0);
    let mut session = detector(builder.finish(CHANNELS).unwrap(), 1).session();
    session.detect(&frame, &[BBox::new(0.0, 0.0, 95.0, 63.0), BBox::new(9.0, 9.0, 60.0, 50.0)]).unwrap();
    assert_eq!(session.dropped(), (0, 2));
}

/// Margins are judged by the largest of an object.
#[test]
fn margins_are_judged_as_well() {
    let (pixels, boxes) = (pixels(), boxes());
    let frame = Frame::rgb8(&pixels, 96, 64).unwrap();
    let of = |keep: f32| {
        let mut builder = builder();
        builder.manifest.scores = Scores::Margins;
        let mut judge = judge(&mut builder);
        judge.layers.pop();
        judge.outputs = vec![4];
        builder.cascade = cascade(judge, keep);
        let mut session = detector(builder.finish(CHANNELS).unwrap(), 2).session();
        session.detect(&frame, &boxes).unwrap();
        let (dropped, all) = session.dropped();
        dropped as f32 / all as f32
    };
    assert_eq!((of(-1e30), of(1e30)), (0.0, 1.0));
}

#[test]
fn what_no_judge_can_be_is_refused() {
    let refused = |change: &dyn Fn(&mut Builder, &mut Cascade), words: &[&str]| {
        let mut builder = builder();
        let judge = judge(&mut builder);
        let mut cascade = cascade(judge, 0.5).unwrap();
        change(&mut builder, &mut cascade);
        builder.cascade = Some(cascade);
        let error = builder.finish(CHANNELS).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    for keep in [-0.1, 1.5, f32::NAN, f32::INFINITY] {
        refused(&|_, cascade| cascade.keep = keep, &["threshold", "from 0 to 1"]);
    }
    refused(
        &|builder, _| {
            builder.regions = warp(4);
            builder.head = Some(builder.usual_head(CHANNELS, true));
        },
        &["R-CNN"],
    );
    refused(&|_, cascade| cascade.judge.outputs = vec![], &["0 values"]);
    refused(&|_, cascade| cascade.judge.outputs = vec![5, 5], &["2 values"]);
    refused(&|_, cascade| cascade.judge.outputs = vec![99], &["judge", "no layer makes"]);
    refused(&|_, cascade| cascade.judge.outputs = vec![3], &["judge", "4 scores"]);
    refused(&|_, cascade| cascade.judge.outputs = vec![4], &["probabilities", "Gemm"]);
    refused(&|_, cascade| cascade.judge = Graph { layers: vec![], outputs: vec![0] }, &["judge", "4 scores"]);
    refused(
        &|builder, cascade| {
            let conv = builder.conv([CHANNELS as u32; 2], 1, 0);
            cascade.judge.layers[0].op = Op::Conv(conv);
        },
        &["no fully connected layer"],
    );
    refused(&|_, cascade| cascade.judge.layers[0].op = Op::GlobalAveragePool, &["no fully connected layer"]);
    refused(&|_, cascade| cascade.judge.layers[2].inputs = vec![4], &["judge"]);
    refused(&|_, cascade| cascade.judge.layers[1].name = "x".repeat(2000), &["name"]);
    let gemm = |change: fn(&mut Gemm)| {
        move |_: &mut Builder, cascade: &mut Cascade| {
            if let Op::Gemm(gemm) = &mut cascade.judge.layers[1].op {
                change(gemm);
            }
        }
    };
    refused(&gemm(|gemm| gemm.weight = 999), &["judge", "section 999"]);
    refused(&gemm(|gemm| gemm.in_features += 1), &["judge", "shape"]);
    for share in [-0.1, 1.1, f32::NAN] {
        let chosen = Chosen { photos: 3, dropped: share, map_before: 0.5, map_after: 0.5 };
        refused(&|_, cascade| cascade.chosen = Some(chosen), &["from 0 to 1"]);
        let chosen = Chosen { photos: 3, dropped: 0.5, map_before: 0.5, map_after: share };
        refused(&|_, cascade| cascade.chosen = Some(chosen), &["from 0 to 1"]);
    }
}

/// A judge's layers, weights and work count as the head's do.
#[test]
fn a_judge_counts_in_the_demand() {
    let demand = |bundle: &Bundle| frcnn::Demand::nominal(bundle.contents(), 1).unwrap();
    let (without, with) = (demand(&bundle(None)), demand(&bundle(Some(0.5))));
    assert_eq!(with.layers, without.layers + 5);
    assert!(with.operations > without.operations);
    let mut builder = builder();
    let mut judge = judge(&mut builder);
    judge.layers.extend((0..1100).map(|i| layer(Op::Relu, &[5 + i])));
    judge.layers.push(layer(Op::Softmax, &[1105]));
    judge.outputs = vec![1106];
    builder.cascade = cascade(judge, 0.5);
    let bundle = builder.finish(CHANNELS).unwrap();
    let error = Detector::new(bundle, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("layers"), "{error}");
}
