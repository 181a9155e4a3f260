//! A detector takes as much memory as its demand says, and keeps within the bound that it was given.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "tests")]
#![allow(unsafe_code, reason = "an allocator is no safe thing")]

#[path = "hostile/build.rs"]
mod build;
#[path = "faster/pyramid.rs"]
mod pyramid;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use build::{Builder, layer, pool, warp};
use frcnn::{BBox, Bundle, Demand, Detector, Error, Frame, Options};
use frcnn_bundle::{BundleWriter, Cascade, Gemm, Graph, Op, Regions, RoiPooling};

/// The system's allocator, which counts.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: [usize; 2] = [240, 320];

fn builder() -> Builder {
    let mut builder = Builder::new(5);
    builder.manifest.scales = vec![SIZE[0] as u32];
    builder
}

/// Convolutions and poolings one after the other, as in VGG16: the first pair runs in strips, all pool.
fn chain() -> Bundle {
    let mut builder = builder();
    let mut from = 3;
    for (convs, to) in [(2, 32), (2, 64), (2, 128)] {
        for _ in 0..convs {
            let conv = builder.conv([from, to], 3, 1);
            builder.then(Op::Conv(conv)).then(Op::Relu);
            from = to;
        }
        builder.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
    }
    builder.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[6, 6]], spatial_scale: 0.125 });
    builder.head = Some(builder.deep_head(36 * 128, [256, 512]));
    builder.finish(128).unwrap()
}

/// The same with a judge before the head, which drops nothing.
fn judged() -> Bundle {
    let bundle = chain();
    let mut writer = BundleWriter::of(&bundle);
    let mut gemm = |from: usize, to: usize| {
        let weight = writer.add("w", &[from, to], vec![0.01; from * to]);
        Op::Gemm(Gemm { in_features: from as u32, out_features: to as u32, weight, bias: None })
    };
    let (first, second) = (gemm(36 * 128, 16), gemm(16, 256));
    let scores = gemm(256, 5);
    let layers = vec![
        layer(Op::Flatten, &[0]),
        layer(first, &[1]),
        layer(second, &[2]),
        layer(Op::Relu, &[3]),
        layer(scores, &[4]),
        layer(Op::Softmax, &[5]),
    ];
    let judge = Graph { layers, outputs: vec![6] };
    let mut contents = bundle.contents().clone();
    contents.cascade = Some(Cascade { judge, keep: 0.0, rank: 16, chosen: None });
    writer.finish(contents).unwrap()
}

/// Branches that are concatenated, a normalisation, and operators of tract's.
fn branches() -> Bundle {
    let mut builder = builder();
    let [first, one, other] =
        [([3, 24], 7, 3), ([24, 32], 1, 0), ([24, 40], 3, 1)].map(|(c, k, pad)| builder.conv(c, k, pad));
    builder.then(Op::Conv(first)).then(Op::Relu);
    builder.then(Op::Lrn { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 });
    builder.then(Op::MaxPool(pool(3, 2, [0; 4], true)));
    let from = builder.trunk.len() as u32;
    builder.trunk.push(layer(Op::Conv(one), &[from]));
    builder.trunk.push(layer(Op::Conv(other), &[from]));
    builder.trunk.push(layer(Op::Concat, &[from + 1, from + 2]));
    builder.then(Op::Sigmoid);
    builder.trunk.push(layer(Op::Add, &[from + 3, from + 4]));
    builder.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[2, 2]], spatial_scale: 0.5 });
    builder.finish(72).unwrap()
}

fn crops() -> Bundle {
    let mut builder = builder();
    builder.regions = warp(64);
    let (first, next) = (builder.conv([3, 32], 3, 1), builder.conv([32, 16], 3, 1));
    builder.then(Op::Conv(first)).then(Op::Relu).then(Op::MaxPool(pool(2, 2, [0; 4], true)));
    builder.then(Op::Conv(next)).then(Op::GlobalAveragePool);
    builder.finish(16).unwrap()
}

/// A pyramid of three maps with an RPN, of which each has a part in what is taken.
fn pyramid() -> Bundle {
    let mut builder = pyramid::builder();
    builder.manifest.scales = vec![SIZE[0] as u32];
    builder.manifest.max_long_side = 1000;
    let rpn = builder.rpn.as_mut().unwrap();
    (rpn.pre_nms_top_n, rpn.post_nms_top_n) = (4000, 2000);
    builder.finish(pyramid::CHANNELS as usize).unwrap()
}

fn boxes(count: usize) -> Vec<BBox> {
    let place = |i: usize, step: usize, most: usize| (i * step % (most - 16)) as f32;
    let bbox = |i| {
        let (x, y) = (place(i, 37, SIZE[1]), place(i, 23, SIZE[0]));
        let (width, height) = (16.0 + (i % 90) as f32, 16.0 + (i / 7 % 80) as f32);
        BBox::new(x, y, (x + width).min(SIZE[1] as f32 - 1.0), (y + height).min(SIZE[0] as f32 - 1.0))
    };
    (0..count).map(bbox).collect()
}

/// Most bytes at once while a bundle is made ready and detects, and its demand.
fn peak(bundle: impl Fn() -> Bundle, options: &Options, rois: usize) -> (u64, Demand) {
    let pixels = vec![77; SIZE[0] * SIZE[1] * 3];
    let frame = Frame::rgb8(&pixels, SIZE[1] as u32, SIZE[0] as u32).unwrap();
    // What is counted grows with them, and the head's time does.
    let rois = if frcnn_testkit::emulated() { rois / 4 } else { rois };
    let boxes = boxes(rois);
    let contents = bundle().contents().clone();
    let demand = Demand::new(&contents, &[SIZE], rois, options.threads.unwrap()).unwrap();
    let before = NOW.load(Relaxed);
    let bundle = bundle();
    MOST.store(NOW.load(Relaxed), Relaxed);
    let detector = Detector::new(bundle, options).unwrap();
    let mut session = detector.session();
    for _ in 0..if frcnn_testkit::emulated() { 1 } else { 3 } {
        match detector.has_rpn() {
            true => session.detect_frame(&frame).unwrap(),
            false => session.detect(&frame, &boxes).unwrap(),
        };
    }
    ((MOST.load(Relaxed) - before) as u64, demand)
}

/// What is not counted: plans, tables of RoI pooling, lists of candidates.
const SLACK: u64 = 3 << 20;

/// One test, for the allocator counts what all threads take.
#[test]
fn memory_is_what_the_demand_says() {
    let options =
        |threads| Options { threads: Some(threads), score_threshold: Some(0.9), ..Options::default() };
    for threads in [1, 2, 4, 16] {
        for (name, bundle, rois) in [
            ("chain", &chain as &dyn Fn() -> Bundle, 2000),
            ("judged", &judged, 2000),
            ("branches", &branches, 700),
            ("crops", &crops, 70),
            ("pyramid", &pyramid, 2000),
        ] {
            let (most, demand) = peak(bundle, &options(threads), rois);
            println!("{name}, {threads} threads: {most} of {demand:?}");
            assert!(most <= demand.memory + SLACK, "{name}, {threads} threads: {most} of {demand:?}");
            // Work of few blocks does not reach many threads.
            assert!(
                threads > 4 || most + SLACK >= demand.memory / 10 * 8,
                "{name}, {threads} threads: {most} of {demand:?}"
            );
        }
    }
    memory_is_kept_to(&options(1));
}

/// Convolutions get algorithms with fewer weights, those first that lose least by it, until the bound is kept.
fn memory_is_kept_to(options: &Options) {
    let within = |memory| Options { memory: Some(memory), ..options.clone() };
    let refused = |memory| match Detector::new(chain(), &within(memory)) {
        Err(Error::Options(problem)) => Some(problem),
        other => {
            other.unwrap();
            None
        }
    };
    let problem = refused(1).unwrap();
    let least = problem.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let least = least.unwrap_or_else(|| panic!("{problem}")) << 20;
    assert!(problem.contains("MiB") && refused(least - (1 << 20) - 1).is_some(), "{problem}");
    // How the convolutions are computed, and what they cost by that.
    let plan = |options: &Options| {
        let plan = Detector::new(chain(), options).unwrap().plan();
        let convs: Vec<_> = plan.into_iter().filter(|layer| layer.op == "Conv").collect();
        let cost: f64 = convs.iter().filter_map(|layer| layer.flops).sum();
        (convs.into_iter().map(|layer| layer.by).collect::<Vec<String>>(), cost)
    };
    let ((_, loose), (_, tight)) = (plan(options), plan(&within(least)));
    let (some, more) = plan(&within(least + (2 << 20)));
    println!("{least}: {loose:e}, {more:e}, {tight:e} FLOP: {some:?}");
    assert!(loose < more && more < tight, "{loose:e}, {more:e}, {tight:e}: {some:?}");
    // Which layers those are is no chance, though some of them are alike.
    assert_eq!(plan(&within(least + (2 << 20))).0, some);
    for bound in [least, least + (2 << 20)] {
        let (most, _) = peak(chain, &within(bound), 2000);
        assert!(most <= bound + SLACK, "{most} of {bound}");
    }
}
