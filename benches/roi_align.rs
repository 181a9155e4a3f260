//! RoIAlign alone and with the fully connected layer after it, by instruction set and number of RoIs.
//!
//! ```text
//! cargo bench --workspace --bench roi_align
//! ```
//!
//! One thread. RoIs as proposals are: overlapping, of all sizes up to the image's, on the level of each.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frcnn::BBox;
use frcnn_kernels::{
    AlignedRoi, F32Products, FeatureMap, Isa, KOrder, PooledLayer, PreparedLinear, RoiAlign, ScaledMap,
    roi_align_linear_into, roi_align_with,
};

const CHANNELS: usize = 256;
const ALIGN: RoiAlign = RoiAlign { pooled: [7, 7], sampling_ratio: 2, half_pixel: false };

/// A blob and the strides of the maps that are pooled.
struct Case {
    name: &'static str,
    blob: [usize; 2],
    strides: &'static [usize],
}

const CASES: [Case; 2] = [
    Case { name: "resnet50_fpn_800x1088", blob: [800, 1088], strides: &[4, 8, 16, 32] },
    Case { name: "mobilenet_fpn_320x448", blob: [320, 448], strides: &[32] },
];

/// The values of maps, finest first.
struct Data(Vec<Vec<f32>>);

impl Case {
    fn data(&self) -> Data {
        let values = |stride: &usize| {
            let count = self.blob.iter().map(|side| side / stride).product::<usize>() * CHANNELS;
            (0..count).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect()
        };
        Data(self.strides.iter().map(values).collect())
    }

    fn maps<'a>(&self, data: &'a Data) -> Vec<ScaledMap<'a>> {
        let map = |(values, &stride): (&'a Vec<f32>, &usize)| {
            let [height, width] = self.blob.map(|side| side / stride);
            let map = FeatureMap::new(values, height, width, CHANNELS).unwrap();
            ScaledMap { map, spatial_scale: 1.0 / stride as f32 }
        };
        data.0.iter().zip(self.strides).map(map).collect()
    }

    fn rois(&self, count: usize) -> Vec<AlignedRoi> {
        let roi = |i: usize| {
            let part = |prime: usize| (i * prime % 997) as f32 / 997.0;
            let [height, width] = self.blob.map(|side| side as f32);
            // From 16 pixels to the image's sides, as many between 16 and 32 as between 256 and 512.
            let (h, w) = (16.0 * (height / 16.0).powf(part(577)), 16.0 * (width / 16.0).powf(part(313)));
            let (x1, y1) = (part(733) * (width - w), part(859) * (height - h));
            let level = (4.0 + ((w * h).sqrt() / 224.0).log2()).floor() - 2.0;
            let level = level.clamp(0.0, self.strides.len() as f32 - 1.0) as u16;
            AlignedRoi { level, bbox: BBox::new(x1, y1, x1 + w, y1 + h) }
        };
        (0..count).map(roi).collect()
    }
}

fn roi_align(c: &mut Criterion) {
    for case in &CASES {
        let mut group = c.benchmark_group(format!("roi_align_{}", case.name));
        group.sample_size(10);
        let data = case.data();
        let maps = case.maps(&data);
        for count in [10, 150, 1000] {
            let rois = case.rois(count);
            let mut out = vec![0.0; count * ALIGN.bins() * CHANNELS + 16];
            // Where a buffer of the runtime begins: on a cache line.
            let skip = out.as_ptr().align_offset(64);
            let len = out.len() - 16;
            let out = &mut out[skip..][..len];
            group.throughput(Throughput::Bytes(4 * len as u64));
            for isa in Isa::available() {
                let id = BenchmarkId::new(format!("{isa:?}"), count);
                group.bench_function(id, |b| {
                    b.iter(|| roi_align_with(isa, black_box(&maps), &rois, &ALIGN, 1, out).unwrap());
                });
            }
        }
        group.finish();
    }
}

fn with_fc6(c: &mut Criterion) {
    let case = &CASES[0];
    let mut group = c.benchmark_group(format!("roi_align_and_fc6_{}", case.name));
    group.sample_size(10);
    let data = case.data();
    let maps = case.maps(&data);
    let (bins, n) = (ALIGN.bins(), 1024);
    let features = bins * CHANNELS;
    let weights: Vec<f32> = (0..features * n).map(|i| (i % 8191) as f32 / 8191.0 - 0.5).collect();
    let order = KOrder::ChannelSlabs { bins, channels: CHANNELS };
    let linear = PreparedLinear::new(&weights, features, n, order, F32Products::default(), 1).unwrap();
    drop(weights);
    for count in [10, 150, 1000] {
        let rois = case.rois(count);
        let (mut out, mut scratch) = (vec![0.0; count * n], Vec::new());
        group.throughput(Throughput::Elements((2 * count * features * n) as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let mut layers = [PooledLayer { linear: &linear, bias: None, relu: true, out: &mut out }];
                roi_align_linear_into(&maps, &rois, &ALIGN, &mut layers, 1, &mut scratch, &mut |_| {})
                    .unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, roi_align, with_fc6);
criterion_main!(benches);
