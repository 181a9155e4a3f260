//! Each convolution of the published trunks in every algorithm that computes it, on one thread.
//!
//! ```text
//! cargo bench --workspace --bench conv -- vgg16/conv4_2
//! ```
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use frcnn_kernels::{ConvAlgorithm, ConvArgs, Isa, PreparedConv, prefer_huge_pages};
use frcnn_tests::trunks::{TRUNKS, convolutions, random, weights};

fn conv(c: &mut Criterion) {
    for (network, blob) in TRUNKS {
        for (name, shape) in convolutions(network.trunk, blob) {
            let (height, width) = shape.output_size().unwrap();
            let weights = weights(&shape, 1);
            let products = height * width * shape.weight_len();
            let mut group = c.benchmark_group(format!("{}/{name}", network.name));
            group.sample_size(10);
            group.throughput(Throughput::Elements(2 * products as u64));
            // Made when a benchmark of the group runs at all: most are filtered out.
            let mut maps = None;
            let chosen = ConvAlgorithm::for_layer(&shape);
            for algorithm in [
                ConvAlgorithm::Plain,
                ConvAlgorithm::Direct,
                ConvAlgorithm::Winograd4Lean,
                ConvAlgorithm::Winograd4,
                ConvAlgorithm::Winograd5,
                ConvAlgorithm::Winograd6,
            ] {
                let prepared =
                    PreparedConv::with(Isa::detect(), Some(algorithm), &shape, &weights, 1).unwrap();
                if prepared.algorithm() != algorithm {
                    continue;
                }
                let mark = if algorithm == chosen { "-chosen" } else { "" };
                let id = BenchmarkId::from_parameter(format!("{algorithm:?}{mark}"));
                group.bench_function(id, |b| {
                    let (input, bias, out) = maps.get_or_insert_with(|| {
                        let mut out = vec![0.0; height * width * shape.out_channels];
                        prefer_huge_pages(&mut out);
                        let input = random(shape.height * shape.width * shape.in_channels, 2);
                        (input, random(shape.out_channels, 3), out)
                    });
                    let mut scratch = Vec::new();
                    b.iter(|| {
                        let input = black_box(&input[..]);
                        let args = ConvArgs { input, bias: Some(bias), relu: true, threads: 1 };
                        prepared.run(&shape, args, &mut scratch, out).unwrap();
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, conv);
criterion_main!(benches);
