//! The fully connected layers of VGG16's factored head by number of RoIs, on each
//! instruction set, in f32 and in int8, beside the plain product.
//!
//! ```text
//! cargo bench --workspace --bench linear
//! ```
//!
//! One thread. With 10 RoIs a layer is one pass over its weights, with 2000 it is bound by multiplications.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frcnn_kernels::{Int8Isa, Int8Weights, Isa, KOrder, PreparedLinear, Quantization, linear_into};

const LAYERS: [(&str, usize, usize); 4] =
    [("fc6_L", 25088, 1024), ("fc6_U", 1024, 4096), ("fc7_L", 4096, 256), ("bbox_pred", 4096, 84)];

fn linear(c: &mut Criterion) {
    for (name, k, n) in LAYERS {
        let mut group = c.benchmark_group(format!("{name}_{k}x{n}"));
        group.sample_size(10);
        let value = |i: usize| (i * 7919 % 8191) as f32 / 8191.0 - 0.5;
        let weights: Vec<f32> = (0..k * n).map(value).collect();
        let packed = |isa| PreparedLinear::with(isa, &weights, k, n, KOrder::Natural, 1).unwrap();
        let exact = Isa::available().map(|isa| (format!("{isa:?}"), packed(isa)));
        let bf16x3 = PreparedLinear::bf16x3(&weights, k, n, KOrder::Natural, 1).unwrap();
        let bf16x3 = bf16x3.map(|layer| ("bf16x3".to_string(), layer));
        let values: Vec<i8> = weights.iter().map(|weight| (weight * 254.0) as i8).collect();
        let (scales, input) = (vec![1.0 / 254.0; n], Quantization { scale: 1.0 / 255.0, zero_point: 128 });
        let int8 = Int8Isa::available().skip(1).map(|isa| {
            let weights = Int8Weights { values: &values, scales: &scales, input };
            let layer = PreparedLinear::from_int8_with(isa, weights, k, n, KOrder::Natural, 1).unwrap();
            (format!("int8 {isa:?}"), layer)
        });
        let layers: Vec<_> = exact.chain(bf16x3).chain(int8).collect();
        for rows in [10, 100, 2000] {
            let x: Vec<f32> = (0..rows * k).map(value).collect();
            let mut out = vec![0.0; rows * n];
            group.throughput(Throughput::Elements((2 * rows * k * n) as u64));
            for (name, layer) in &layers {
                group.bench_function(BenchmarkId::new(name, rows), |b| {
                    b.iter(|| layer.run(&x, None, true, rows, 1, &mut out).unwrap());
                });
            }
            group.bench_function(BenchmarkId::new("plain", rows), |b| {
                b.iter(|| linear_into(&x, &weights, None, true, rows, k, n, 1, &mut out).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, linear);
criterion_main!(benches);
