//! From a bundle's file to a detector that is ready, the file in the page cache.
//!
//! ```text
//! cargo bench --workspace --bench open
//! FRCNN_BUNDLE=vgg16.frcnn cargo bench --workspace --bench open
//! ```
//!
//! An untrained SqueezeNet, or the bundle that FRCNN_BUNDLE names.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use frcnn::{Bundle, Detector};
use frcnn_compiler::arch::Arch;
use frcnn_tests::compile_new;

fn open(c: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("frcnn-open-{}", std::process::id()));
    let path = std::env::var_os("FRCNN_BUNDLE").map(PathBuf::from).unwrap_or_else(|| {
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("squeezenet.frcnn");
        compile_new(Arch::SqueezeNet, 3, |_| {}).write(&path).unwrap();
        path
    });
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("bundle", |b| b.iter(|| Bundle::open(black_box(&path)).unwrap()));
    group.bench_function("detector", |b| b.iter(|| Detector::open(black_box(&path)).unwrap()));
    group.finish();
    let _ = std::fs::remove_dir_all(&folder);
}

criterion_group!(benches, open);
criterion_main!(benches);
