//! Sources of proposals, and the steps of selective search.
//!
//! ```text
//! cargo bench --workspace --bench proposals
//! ```
//!
//! A photo of blood cells where the shared data is at hand (see `frcnn-tests`), else a synthetic picture.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use frcnn_proposals::stages::{Bins, ColourSpace, Edges, Planes, RegionFeatures, Similarity, group, segment};
use frcnn_proposals::{Grid, Mode, Motion, Proposals, Propose, SelectiveSearch};
use frcnn_tests::Photo;

const MAX: usize = 2000;

/// 500 pixels wide, which is worked on as it is.
fn photo() -> Photo {
    match frcnn_testkit::shared() {
        Some(folder) => {
            let photo = Photo::open(&folder.join("data/bccd/PNGImages/BloodImage_00007.png"));
            let small = image::imageops::thumbnail(&photo.rgb, 500, 375);
            Photo { rgb: small }
        }
        None => Photo::synthetic(500, 375),
    }
}

fn stages(c: &mut Criterion) {
    let photo = photo();
    let (width, height) = (photo.rgb.width() as usize, photo.rgb.height() as usize);
    let planes = Planes::new(ColourSpace::Lab, photo.rgb.as_raw());
    let edges = Edges::new(&planes, width, height);
    let bins = Bins::new(&planes, width);
    let segmentation = segment(&edges, 50.0);
    let regions = RegionFeatures::new(&segmentation, &bins, width);
    let all = Similarity { colour: true, texture: true, size: true, fill: true };
    let mut stages = c.benchmark_group("selective_search_stages_500x375_lab");
    for (name, space) in [("planes_hsv", ColourSpace::Hsv), ("planes_lab", ColourSpace::Lab)] {
        stages.bench_function(name, |b| b.iter(|| Planes::new(space, black_box(photo.rgb.as_raw()))));
    }
    stages.bench_function("edges", |b| b.iter(|| Edges::new(black_box(&planes), width, height)));
    stages.bench_function("bins", |b| b.iter(|| Bins::new(black_box(&planes), width)));
    for k in [50.0, 100.0] {
        stages.bench_function(format!("segment_k{k}"), |b| b.iter(|| segment(black_box(&edges), k)));
    }
    stages.bench_function("regions", |b| {
        b.iter(|| RegionFeatures::new(black_box(&segmentation), &bins, width))
    });
    stages.bench_function("group", |b| b.iter(|| group(black_box(&regions), all)));
    stages.finish();
}

/// Fast mode in a pool of its own.
fn on_threads(threads: usize) -> impl Fn(&Photo) -> Proposals {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let search = SelectiveSearch { threads, ..SelectiveSearch::default() };
    move |photo| pool.install(|| { search }.propose(black_box(&photo.frame()), MAX))
}

/// One thread and two in turn, so that a machine whose speed changes is as fast for either.
fn two_threads_over_one(_: &mut Criterion) {
    const ROUNDS: usize = 100;
    let photo = photo();
    let searches = [1, 2].map(on_threads);
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (search, times) in searches.iter().zip(&mut times) {
            times.push(search(&photo).elapsed.as_secs_f64() * 1e3);
        }
    }
    let [one, two] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    println!(
        "selective_search_fast: {one:.1} ms on one thread, {two:.1} on two in turn, medians: {:.2}",
        one / two
    );
}

fn sources(c: &mut Criterion) {
    let photo = photo();
    let mut group = c.benchmark_group("proposals_500x375");
    group.sample_size(20);
    for threads in [1, 2] {
        let search = on_threads(threads);
        group.bench_function(format!("selective_search_fast_{threads}_threads"), |b| {
            b.iter(|| search(&photo))
        });
    }
    let mut quality = SelectiveSearch { mode: Mode::Quality, threads: 1, ..SelectiveSearch::default() };
    group.bench_function("selective_search_quality_1_threads", |b| {
        b.iter(|| quality.propose(black_box(&photo.frame()), MAX));
    });
    group.bench_function("grid", |b| b.iter(|| Grid.propose(black_box(&photo.frame()), MAX)));
    group.finish();
}

fn motion(c: &mut Criterion) {
    let frames = [0, 40].map(|shift| Photo {
        rgb: image::imageops::crop_imm(&Photo::synthetic(1400, 720).rgb, shift, 0, 1280, 720).to_image(),
    });
    let mut motion = Motion::new();
    for _ in 0..20 {
        motion.propose(&frames[0].frame(), MAX);
    }
    let mut group = c.benchmark_group("motion_1280x720");
    group.bench_function("nothing_moves", |b| b.iter(|| motion.propose(black_box(&frames[0].frame()), MAX)));
    group.bench_function("much_moves", |b| b.iter(|| motion.propose(black_box(&frames[1].frame()), MAX)));
    group.finish();
}

criterion_group!(benches, two_threads_over_one, stages, sources, motion);
criterion_main!(benches);
