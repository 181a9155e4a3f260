//! RoI pooling alone and with the fully connected layer after it, by instruction set, map and number of RoIs.
//!
//! ```text
//! cargo bench --workspace --bench roi_pool
//! ```
//!
//! One thread. RoIs as proposals are: many, overlapping, of all sizes up to the map's.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frcnn::Roi;
use frcnn_kernels::{
    F32Products, FeatureMap, Isa, KOrder, PooledLayer, PreparedLinear, roi_pool_linear_into, roi_pool_with,
};

/// A trunk's map and the bins that it is pooled to.
struct Case {
    name: &'static str,
    height: usize,
    width: usize,
    channels: usize,
    bins: usize,
}

const CASES: [Case; 2] = [
    Case { name: "vgg16_38x50x512", height: 38, width: 50, channels: 512, bins: 7 },
    Case { name: "alexnet_37x49x256", height: 37, width: 49, channels: 256, bins: 6 },
];

impl Case {
    fn data(&self) -> Vec<f32> {
        (0..self.height * self.width * self.channels).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect()
    }

    fn rois(&self, count: usize) -> Vec<Roi> {
        let roi = |i: usize| {
            let part = |prime: usize, len: usize| i * prime % 997 * len / 997;
            let (width, height) = (1 + part(313, self.width), 1 + part(577, self.height));
            let (x1, y1) =
                (part(733, self.width - width + 1) as i32, part(859, self.height - height + 1) as i32);
            Roi { level: 0, x1, y1, x2: x1 + width as i32 - 1, y2: y1 + height as i32 - 1 }
        };
        let mut rois: Vec<Roi> = (0..count).map(roi).collect();
        rois.sort();
        rois
    }
}

fn roi_pool(c: &mut Criterion) {
    for case in &CASES {
        let mut group = c.benchmark_group(format!("roi_pool_{}", case.name));
        group.sample_size(10);
        let data = case.data();
        let map = FeatureMap::new(&data, case.height, case.width, case.channels).unwrap();
        for count in [1, 50, 300, 2000] {
            let rois = case.rois(count);
            let mut out = vec![0.0; count * case.bins * case.bins * case.channels + 16];
            // Where a buffer of the runtime begins: on a cache line.
            let skip = out.as_ptr().align_offset(64);
            let len = out.len() - 16;
            let out = &mut out[skip..][..len];
            group.throughput(Throughput::Bytes(4 * len as u64));
            for isa in Isa::available() {
                let id = BenchmarkId::new(format!("{isa:?}"), count);
                let bins = [case.bins; 2];
                group.bench_function(id, |b| {
                    b.iter(|| roi_pool_with(isa, black_box(map), &rois, &[bins], 1, out).unwrap());
                });
            }
        }
        group.finish();
    }
}

fn with_fc6(c: &mut Criterion) {
    let case = &CASES[0];
    let mut group = c.benchmark_group(format!("roi_pool_and_fc6_L_{}", case.name));
    group.sample_size(10);
    let data = case.data();
    let maps = [FeatureMap::new(&data, case.height, case.width, case.channels).unwrap()];
    let (bins, rank) = (case.bins * case.bins, 1024);
    let features = bins * case.channels;
    let weights: Vec<f32> = (0..features * rank).map(|i| (i % 8191) as f32 / 8191.0 - 0.5).collect();
    let order = KOrder::ChannelSlabs { bins, channels: case.channels };
    let linear = PreparedLinear::new(&weights, features, rank, order, F32Products::default(), 1).unwrap();
    drop(weights);
    for count in [10, 100, 300, 2000] {
        let rois = case.rois(count);
        let (mut out, mut scratch) = (vec![0.0; count * rank], Vec::new());
        group.throughput(Throughput::Elements((2 * count * features * rank) as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let bins = [case.bins; 2];
                let mut layers = [PooledLayer { linear: &linear, bias: None, relu: false, out: &mut out }];
                roi_pool_linear_into(&maps, &rois, &[bins], &mut layers, 1, &mut scratch, &mut |_| {})
                    .unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, roi_pool, with_fc6);
criterion_main!(benches);
