//! Caffe's weights, as the trainer reads them.
#![no_main]

use std::collections::BTreeSet;

use frcnn_fuzz::seed;
use frcnn_onnx::caffe::{
    BlobProto, BlobShape, LayerParameter, MAX_DIMENSIONS, NetParameter, V1LayerParameter, read,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fn blob(shape: &[i64]) -> BlobProto {
    let data = (0..shape.iter().product()).map(|i: i64| i as f32 / 8.0 - 1.0).collect();
    BlobProto { shape: Some(BlobShape { dim: shape.to_vec() }), data, ..Default::default() }
}

/// Four dimensions in fields of their own, and numbers of 64 bits.
fn old(blob: BlobProto) -> BlobProto {
    let shape = blob.shape.unwrap_or_default().dim;
    let side = |i: usize| (shape.len() + i).checked_sub(4).map_or(Some(1), |at| Some(shape[at] as i32));
    let double_data = blob.data.into_iter().map(f64::from).collect();
    BlobProto {
        num: side(0),
        channels: side(1),
        height: side(2),
        width: side(3),
        double_data,
        ..Default::default()
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let layers = [
        ("data", vec![]),
        ("conv1_1", vec![blob(&[4, 3, 3, 3]), blob(&[4])]),
        ("fire2/squeeze1x1", vec![blob(&[2, 4, 1, 1]), blob(&[2])]),
        ("bn", vec![blob(&[2]), blob(&[2]), blob(&[1])]),
        ("fc6", vec![blob(&[5, 8]), blob(&[5])]),
    ];
    let (mut new, mut before) = (NetParameter::default(), NetParameter::default());
    for (name, blobs) in layers {
        let name = Some(name.to_string());
        let older = blobs.iter().cloned().map(old).collect();
        before.layers.push(V1LayerParameter { name: name.clone(), blobs: older });
        new.layer.push(LayerParameter { name, blobs });
    }
    let one = NetParameter { layer: vec![new.layer[4].clone()], layers: vec![before.layers[1].clone()] };
    [("new", new), ("old", before), ("both", one)]
        .map(|(name, net)| (format!("{name}.caffemodel"), net.encode_to_vec()))
        .into()
}

fuzz_target!(
    init: { seed(seeds); },
    |file: &[u8]| {
        let Ok(blobs) = read(file) else { return };
        assert!(!blobs.is_empty());
        let mut names = BTreeSet::new();
        for blob in blobs {
            assert!(blob.shape.len() <= MAX_DIMENSIONS && blob.shape.iter().all(|&side| side > 0));
            assert_eq!(blob.shape.iter().product::<i64>(), blob.values.len() as i64, "{:?}", blob.shape);
            assert!(blob.values.iter().all(|value| value.is_finite()));
            assert!(names.insert((blob.layer, blob.part)));
        }
    }
);
