//! Each stage of the detector beside what it must not be slower than, in one run.
//!
//! ```text
//! cargo bench -p frcnn-benches --bench stages
//! ```
//!
//! One thread, an untrained SqueezeNet Fast R-CNN (speed does not depend on what weights say, as long as
//! they are no denormals), a 480 x 640 blob and 2000 RoIs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use frcnn::{BBox, Frame, Session};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_kernels::matmul_into;
use frcnn_onnx::pb::{ModelProto, ValueInfoProto};
use frcnn_tests::{Photo, boxes, compile_new, detector};
use prost::Message;
use tract_onnx::prelude::*;

const ROIS: usize = 2000;

fn session() -> Session {
    let bundle = compile_new(Arch::SqueezeNet, 3, |manifest| manifest.scales = vec![480]);
    detector(&bundle, 1).session()
}

/// tract's own plan of the trunk, as it comes out of tract-onnx.
fn tract_trunk(height: usize, width: usize) -> Arc<TypedRunnableModel> {
    let mut model: ModelProto = new_model(Arch::SqueezeNet, 3, 0).unwrap().onnx;
    let graph = model.graph.as_mut().unwrap();
    let end = graph.node.iter().position(|node| node.op_type == "MaxRoiPool").unwrap();
    let name = graph.node[end].input[0].clone();
    graph.node.truncate(end);
    graph.input.retain(|input| input.name == "data");
    graph.output = vec![ValueInfoProto { name, ..Default::default() }];
    let fact = f32::fact([1, 3, height, width]);
    let encoded = model.encode_to_vec();
    let model = tract_onnx::onnx().model_for_read(&mut encoded.as_slice()).unwrap();
    let model = model.with_input_fact(0, fact.into()).unwrap();
    model.into_optimized().unwrap().into_runnable().unwrap()
}

fn trunk(c: &mut Criterion) {
    let mut session = session();
    let photo = Photo::synthetic(640, 480);
    let blob = session.preprocess(&photo.frame()).unwrap().remove(0);
    let tract = tract_trunk(blob.height, blob.width);
    // Channels last where tract wants them first: the same values in another order cost the same.
    let input = Tensor::from_shape(&[1, 3, blob.height, blob.width], &blob.data).unwrap().into_tvalue();
    let mut group = c.benchmark_group("trunk_480x640");
    group.sample_size(20);
    group.bench_function("frcnn", |b| b.iter(|| session.trunk(black_box(&blob)).unwrap()));
    group.bench_function("tract", |b| b.iter(|| tract.run(tvec!(black_box(input.clone()))).unwrap()));
    group.finish();
}

fn head(c: &mut Criterion) {
    let mut session = session();
    let sizes = [(512 * 36, 512), (512, 512), (512, 4), (512, 16)];
    let fill = |len: usize| (0..len).map(|i| (i * 7919 % 251) as f32 / 251.0).collect::<Vec<f32>>();
    for rois in [10, 100, ROIS] {
        let pooled = fill(rois * sizes[0].0);
        let weights = sizes.map(|(k, n)| fill(k * n));
        let mut outputs = sizes.map(|(_, n)| vec![0.0; rois * n]);
        let mut group = c.benchmark_group(format!("head_{rois}_rois"));
        group.sample_size(20);
        let products: usize = sizes.iter().map(|(k, n)| 2 * rois * k * n).sum();
        group.throughput(Throughput::Elements(products as u64));
        group.bench_function("frcnn", |b| b.iter(|| session.head(black_box(&pooled)).unwrap()));
        group.bench_function("plain_gemms", |b| {
            b.iter(|| {
                for (((k, n), weight), output) in sizes.iter().zip(&weights).zip(&mut outputs) {
                    matmul_into(black_box(&pooled[..rois * k]), weight, rois, *k, *n, 1, output).unwrap();
                }
            });
        });
        group.finish();
    }
}

fn roi_pool(c: &mut Criterion) {
    let mut session = session();
    let photo = Photo::synthetic(640, 480);
    let proposals: Vec<BBox> = boxes(ROIS, 640.0, 480.0, 1);
    let blobs = session.preprocess(&photo.frame()).unwrap();
    let map = [session.trunk(&blobs[0]).unwrap()];
    let rois = session.project(&proposals, &blobs).unwrap().rois;
    let mut group = c.benchmark_group("roi_pool_59x79x512");
    group.sample_size(20);
    group.throughput(Throughput::Elements(rois.len() as u64));
    group.bench_function("frcnn", |b| b.iter(|| session.roi_pool(black_box(&map), &rois).unwrap()));
    group.finish();
}

fn whole(c: &mut Criterion) {
    let mut session = session();
    let photo = Photo::synthetic(640, 480);
    let frame: Frame = photo.frame();
    let proposals = boxes(ROIS, 640.0, 480.0, 1);
    let mut group = c.benchmark_group("detect_480x640_2000_rois");
    group.sample_size(10);
    group.bench_function("frcnn", |b| b.iter(|| session.detect(black_box(&frame), &proposals).unwrap()));
    group.finish();
}

criterion_group!(benches, trunk, head, roi_pool, whole);
criterion_main!(benches);
