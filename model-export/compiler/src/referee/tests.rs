//! Whatever one value is instead, and wherever it stands, it is found.

use crate::onnx::{float_input, int, value};
use frcnn_bundle::{BundleWriter, Contents, Graph, Layer, Manifest, Op, Origin, RoiPooling, Warp};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::*;

/// Whatever one value of either output is instead, and wherever it stands.
#[test]
fn every_value_of_both_outputs_is_held_to_the_referee() {
    let output = HeadOutput { cls_prob: vec![0.5, 0.25, 0.25], bbox_pred: vec![0.0, -2.0, 1.0, 0.5] };
    let blob = ImageBlob::new(Vec::new(), 1, 1, 1.0);
    let sample = SampleRun {
        blob,
        rois: SampleRois::Rois(Vec::new()),
        crops: Vec::new(),
        maps: Vec::new(),
        rpn: None,
        features: Vec::new(),
        output,
    };
    let HeadOutput { cls_prob, bbox_pred } = &sample.output;
    let judged = |scores: &[f32], boxes: &[f32]| sample.agreement([1, 1], 0.0, &sample.output, scores, boxes);
    assert!(judged(cls_prob, bbox_pred).is_ok());
    for bad in [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.1] {
        for place in 0..3 {
            let mut other = cls_prob.clone();
            other[place] = bad;
            assert!(judged(&other, bbox_pred).is_err(), "score {place}: {bad}");
        }
        for place in 0..4 {
            let mut other = bbox_pred.clone();
            other[place] = bad;
            assert!(judged(cls_prob, &other).is_err(), "box delta {place}: {bad}");
        }
    }
    assert!(judged(&cls_prob[..2], bbox_pred).is_err() && judged(cls_prob, &bbox_pred[..3]).is_err());
    // As far apart as is allowed, and twice as far.
    assert!(judged(cls_prob, &[0.0, -2.0, 1.0, 0.502]).is_ok());
    assert!(judged(cls_prob, &[0.0, -2.0, 1.0, 0.504]).is_err());
}

/// What is not finite on this side only.
#[test]
fn what_this_side_makes_of_numbers_must_be_numbers() {
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(error_between("conv", &[bad, 1.0], &[1.0, 1.0]).is_err());
        assert!(error_between("conv", &[1.0, bad], &[1.0, 1.0]).is_err());
        assert!(error_between("conv", &[bad, 1.0], &[bad, 1.0]).is_err());
    }
}

/// A network without weights: a ReLU; the mean of a region's map, its softmax, and the mean four times.
fn bundle(regions: Regions) -> Arc<Bundle> {
    let layer = |op: Op, inputs: &[u32]| Layer { name: op.name().to_string(), op, inputs: inputs.to_vec() };
    let head = vec![
        layer(Op::GlobalAveragePool, &[0]),
        layer(Op::Flatten, &[1]),
        layer(Op::Softmax, &[2]),
        layer(Op::Concat, &[2; 4]),
    ];
    let manifest = Manifest::new(["__background__", "a", "b"].map(str::to_string).to_vec());
    let contents = Contents {
        blob_means: manifest.blob_means(),
        manifest,
        trunk: Graph { layers: vec![layer(Op::Relu, &[0])], outputs: vec![1] },
        regions,
        head: Graph { layers: head, outputs: vec![3, 4] },
        sections: Vec::new(),
        factored: Vec::new(),
        origin: Origin { onnx_sha256: [0; 32], compiler: "a test".to_string() },
        board: None,
        cascade: None,
        rpn: None,
    };
    Arc::new(BundleWriter::new().finish(contents).unwrap())
}

fn model(nodes: &[(&str, &[&str], &str)], input: &str, outputs: &[&str]) -> ModelProto {
    let axis = int("axis", 1);
    let node = nodes.iter().map(|(op, inputs, output)| NodeProto {
        op_type: op.to_string(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_string()],
        attribute: if ["Flatten", "Softmax", "Concat"].contains(op) { vec![axis.clone()] } else { vec![] },
        ..Default::default()
    });
    let output = outputs.iter().map(|name| value(name));
    let graph = GraphProto {
        node: node.collect(),
        input: vec![float_input(input)],
        output: output.collect(),
        ..Default::default()
    };
    let opset = tract_onnx::pb::OperatorSetIdProto { domain: String::new(), version: 13 };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

const RELU: (&str, &[&str], &str) = ("Relu", &["data"], "map");

fn head(reads: &'static [&'static str]) -> [(&'static str, &'static [&'static str], &'static str); 4] {
    [
        ("GlobalAveragePool", reads, "mean"),
        ("Flatten", &["mean"], "row"),
        ("Softmax", &["row"], "scores"),
        ("Concat", &["row", "row", "row", "row"], "boxes"),
    ]
}

/// Puts other values into places of `right`, and each time the map must be what is wrong.
fn assert_held(right: &[f32], mut judge: impl FnMut(&[f32]) -> Result<Agreement, Problem>) {
    judge(right).unwrap();
    let largest = right.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for place in [0, right.len() / 2 + 1, right.len() - 1] {
        for bad in [f32::NAN, f32::INFINITY, right[place] + 0.002 * largest] {
            let mut wrong = right.to_vec();
            wrong[place] = bad;
            match judge(&wrong) {
                Err(Problem::Disagreement { stage: "conv", .. }) => {}
                other => panic!("value {place} is {bad}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_value_of_the_map_is_held_to_the_referee() {
    let bundle = bundle(Regions::RoiPooling(RoiPooling { pooled: vec![[1, 1]], spatial_scale: 1.0 }));
    let mut sample = SampleRun::run(&bundle, None).unwrap();
    let map = sample.maps[0].clone();
    assert_held(map.data().unwrap(), |values| {
        sample.maps = vec![FeatureMap::new(values, map.height(), map.width(), map.channels()).unwrap()];
        let trunk = model(&[RELU], "data", &["map"]);
        let head = model(&head(&["pooled"]), "pooled", &["scores", "boxes"]);
        sample.compare(SplitModel { trunk, rpn: None, head }, &[[1, 1]], &bundle, true, false)
    });
}

#[test]
fn every_value_of_the_maps_of_crops_is_held_to_the_referee() {
    const SIDE: usize = 40;
    let bundle = bundle(Regions::Warp(Warp { side: SIDE as u32, context: 4 }));
    let mut sample = SampleRun::run(&bundle, None).unwrap();
    let nodes = [&[RELU][..], &head(&["map"])].concat();
    let network = model(&nodes, "data", &["map", "scores", "boxes"]);
    let features = sample.features.clone();
    assert_held(&features, |values| {
        sample.features = values.to_vec();
        sample.compare_crops(&network, SIDE, &bundle)
    });
}
