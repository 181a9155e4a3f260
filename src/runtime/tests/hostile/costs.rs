//! Networks that would take more memory, time or layers than they should.

use frcnn::{Bundle, Demand, Error, Excess, Frame, Limits, Resource};
use frcnn_bundle::{Affine, Conv, Op, Regions, RoiPooling};

use crate::build::{Builder, layer, open, open_within, pool};

fn refused(bundle: Bundle) -> Excess {
    match open(bundle) {
        Err(Error::Limit(excess)) => excess,
        other => panic!("{other:?} in place of a limit"),
    }
}

/// 1x1 convolutions whose padding makes each map larger than the one before.
fn padded(pads: u32, layers: usize) -> Bundle {
    let mut builder = Builder::new(2);
    let first = builder.conv([3, 8], 1, pads);
    let next = builder.conv([8, 8], 1, pads);
    builder.then(Op::Conv(first));
    for _ in 1..layers {
        builder.then(Op::Conv(next.clone()));
    }
    builder.finish(8).unwrap()
}

#[test]
fn maps_that_grow_are_counted_before_they_are_made() {
    for (pads, layers) in [(1024, 10), (1024, 900), (900, 40)] {
        let bundle = padded(pads, layers);
        assert!(bundle.file_len() < 100_000);
        let excess = refused(bundle);
        assert_eq!(excess.what, Resource::Memory, "{excess}");
        assert!(excess.to_string().contains("--max-cost"), "{excess}");
    }
    assert!(open(padded(2, 10)).is_ok());
}

#[test]
fn maps_that_double_are_counted_before_they_are_made() {
    for doublings in [12u32, 20, 63, 64, 200] {
        let mut builder = Builder::new(2);
        builder.manifest.scales = vec![600];
        for value in 0..doublings {
            builder.trunk.push(layer(Op::Concat, &[value, value]));
        }
        match builder.finish(3 << doublings.min(12)) {
            Ok(bundle) => assert_eq!(refused(bundle).what, Resource::Memory, "{doublings} doublings"),
            // More channels than any value may have, or than the head's weights are for.
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("channels") || text.contains("features"), "{error}");
            }
        }
    }
    let mut builder = Builder::new(2);
    builder.manifest.scales = vec![600];
    builder.trunk.push(layer(Op::Concat, &[0; 5000]));
    let bundle = builder.finish(15_000).unwrap();
    assert_eq!(refused(bundle).what, Resource::Memory);
}

#[test]
fn every_scale_counts() {
    for scales in [vec![20_000], vec![600, 20_000], vec![8000; 16]] {
        let mut builder = Builder::new(2);
        (builder.manifest.scales, builder.manifest.max_long_side) = (scales, 20_000);
        let conv = builder.conv([3, 4], 3, 1);
        builder.then(Op::Conv(conv));
        assert_eq!(refused(builder.finish(4).unwrap()).what, Resource::Memory);
    }
}

/// The nominal photo is 4:3; the frame may be a square, or a line.
#[test]
fn the_frame_counts_as_it_is() {
    let mut builder = Builder::new(2);
    (builder.manifest.scales, builder.manifest.max_long_side) = (vec![100], 20_000);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv));
    let nominal = Demand::nominal(builder_contents(&builder), 1).unwrap().memory;
    let detector =
        open_within(builder.finish(4).unwrap(), Limits { memory: 2 * nominal, ..Limits::default() }).unwrap();
    let pixels = vec![0; 2000 * 30 * 3];
    let mut session = detector.session();
    for (width, height) in [(2000, 30), (30, 2000)] {
        let frame = Frame::rgb8(&pixels, width, height).unwrap();
        let error = session.detect(&frame, &[]).unwrap_err();
        assert!(matches!(&error, Error::Limit(excess) if excess.what == Resource::Memory), "{error}");
        assert!(matches!(session.preprocess(&frame), Err(Error::Limit(_))));
        assert!(matches!(detector.detect(&frame, &[]), Err(Error::Limit(_))));
    }
    let frame = Frame::rgb8(&pixels, 40, 30).unwrap();
    session.detect(&frame, &[]).unwrap();
    // As are its boxes.
    let boxes = vec![frcnn::BBox::new(0.0, 0.0, 9.0, 9.0); 1_000_000];
    assert!(matches!(session.detect(&frame, &boxes), Err(Error::Limit(_))));
    session.detect(&frame, &boxes[..10]).unwrap();
}

/// For a count, the layers need no weights.
fn builder_contents(builder: &Builder) -> &'static frcnn::Contents {
    let mut copy = Builder::new(builder.manifest.classes.len());
    copy.manifest = builder.manifest.clone();
    let conv = copy.conv([3, 4], 3, 1);
    copy.then(Op::Conv(conv));
    Box::leak(Box::new(copy.finish(4).unwrap().contents().clone()))
}

#[test]
fn operations_are_counted_before_they_begin() {
    let mut large = Builder::new(2);
    let conv = large.conv([3, 1], 1024, 512);
    large.then(Op::Conv(conv));
    let error = large.finish(1).unwrap_err().to_string();
    assert!(error.contains("kernel"), "{error}");

    let mut pooled = Builder::new(2);
    pooled.manifest.scales = vec![1024];
    pooled.then(Op::MaxPool(pool(1024, 1, [1023; 4], false)));
    assert_eq!(refused(pooled.finish(3).unwrap()).what, Resource::Operations);

    let mut many = Builder::new(2);
    many.manifest.scales = vec![600];
    let (first, next) = (many.conv([3, 256], 1, 0), many.conv([256, 256], 3, 1));
    many.then(Op::Conv(first));
    for _ in 0..40 {
        many.then(Op::Conv(next.clone()));
    }
    assert_eq!(refused(many.finish(256).unwrap()).what, Resource::Operations);
}

/// A convolution of `channels` in as many groups as `group`.
fn grouped(builder: &mut Builder, channels: u32, group: u32, kernel: u32) -> Conv {
    let weight =
        builder.weights(&[kernel as usize, kernel as usize, (channels / group) as usize, channels as usize]);
    Conv {
        in_channels: channels,
        out_channels: channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        group,
        weight,
        bias: None,
    }
}

/// The kinds whose time is not that of their multiplications.
#[test]
fn slow_kinds_of_layers_count_as_slow() {
    let lrn = |beta| Op::Lrn { size: 5, alpha: 1.0, beta, k: 1.0 };
    let depthwise = |builder: &mut Builder| Op::Conv(grouped(builder, 16, 16, 128));
    let small_groups = |builder: &mut Builder| Op::Conv(grouped(builder, 512, 256, 3));
    let pooled = |_: &mut Builder| Op::MaxPool(pool(301, 1, [150; 4], false));
    let power = |_: &mut Builder| lrn(0.6);
    type Kind<'a> = (&'a str, u32, usize, &'a dyn Fn(&mut Builder) -> Op);
    let kinds: [Kind; 4] = [
        ("depthwise", 16, 2, &depthwise),
        ("groups", 512, 200, &small_groups),
        ("pooling", 3, 1, &pooled),
        ("power", 16, 200, &power),
    ];
    for (name, channels, layers, kind) in kinds {
        let mut builder = Builder::new(2);
        builder.manifest.scales = vec![600];
        if channels != 3 {
            let first = builder.conv([3, channels], 1, 0);
            builder.then(Op::Conv(first));
        }
        let op = kind(&mut builder);
        for _ in 0..layers {
            builder.then(op.clone());
        }
        let demand = Demand::nominal(builder.finish(channels as usize).unwrap().contents(), 1).unwrap();
        assert!(demand.operations > Limits::default().operations, "{name}: {:.2e}", demand.operations as f64);
    }
}

/// What one layer adds to the layers as they are planned.
#[test]
fn layers_that_are_slow_to_plan_count_more_than_once() {
    let mut affine = Builder::new(2);
    let scale = affine.weights(&[3]);
    for _ in 0..600 {
        affine.then(Op::Affine(Affine { channels: 3, scale, shift: scale }));
    }
    let excess = refused(affine.finish(3).unwrap());
    assert_eq!((excess.what, excess.needed > 1200), (Resource::Layers, true), "{excess}");

    let mut wide = Builder::new(2);
    wide.manifest.scales = vec![1];
    wide.trunk.push(layer(Op::Concat, &[0; 10_000]));
    assert_eq!(refused(wide.finish(30_000).unwrap()).what, Resource::Layers);

    // Of DenseNet-201, whose layers read all maps before them, 6, 12, 48 and 32 in a block.
    let mut dense = Builder::new(2);
    let (conv, start) = (dense.conv([3, 3], 1, 0), dense.trunk.len());
    for layers in [6u32, 12, 48, 32] {
        let first = dense.trunk.len() as u32;
        for _ in 0..layers {
            let from = dense.trunk.len() as u32;
            let maps: Vec<u32> = (first..=from).step_by(4).take(layers as usize).collect();
            dense.trunk.push(layer(Op::Concat, &maps));
            dense.trunk.push(layer(Op::GlobalAveragePool, &[0]));
            dense.trunk.push(layer(Op::Relu, &[0]));
            dense.trunk.push(layer(Op::Conv(conv.clone()), &[0]));
        }
    }
    assert!(dense.trunk.len() > start);
    dense.outputs = vec![0];
    let demand = Demand::nominal(dense.finish(3).unwrap().contents(), 1).unwrap();
    assert!(demand.layers < Limits::default().layers / 10 * 9, "{}", demand.layers);
}

fn relus(layers: usize) -> Bundle {
    let mut builder = Builder::new(2);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv));
    for _ in 0..layers {
        builder.then(Op::Relu);
    }
    builder.finish(4).unwrap()
}

#[test]
fn layers_are_limited() {
    for layers in [1000, 10_000, 200_000] {
        let excess = refused(relus(layers));
        assert_eq!((excess.what, excess.limit), (Resource::Layers, 1000), "{excess}");
    }
}

#[test]
fn hundreds_of_layers_run() {
    let layers = if frcnn_testkit::emulated() { 100 } else { 400 };
    let frame = [9; 70 * 66 * 3];
    let frame = Frame::rgb8(&frame, 70, 66).unwrap();
    let boxes = [frcnn::BBox::new(3.0, 3.0, 40.0, 40.0)];
    open(relus(layers)).unwrap().detect(&frame, &boxes).unwrap();

    // Small convolutions, whose maps are large enough for strips.
    let mut builder = Builder::new(2);
    builder.manifest.scales = vec![600];
    let (first, next) = (builder.conv([3, 8], 1, 0), builder.conv([8, 8], 1, 0));
    builder.then(Op::Conv(first));
    for _ in 0..layers {
        builder.then(Op::Conv(next.clone()));
    }
    open(builder.finish(8).unwrap()).unwrap().detect(&frame, &boxes).unwrap();
}

#[test]
fn many_classes_are_detected() {
    let mut builder = Builder::new(10_000);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv));
    let detector = open(builder.finish(4).unwrap()).unwrap();
    let boxes: Vec<_> = (0..1000)
        .map(|i| {
            frcnn::BBox::new((i % 31) as f32, (i / 31) as f32, (i % 31 + 20) as f32, (i / 31 + 20) as f32)
        })
        .collect();
    let pixels = [100; 64 * 64 * 3];
    let found = detector.detect(&Frame::rgb8(&pixels, 64, 64).unwrap(), &boxes).unwrap();
    assert_eq!(found.len(), 100);
}

/// Networks as they are published pass, and leave room.
#[test]
fn published_networks_are_within_the_limits() {
    let vgg16 = |scales: Vec<u32>, max_long_side| {
        let mut builder = Builder::new(21);
        (builder.manifest.scales, builder.manifest.max_long_side) = (scales, max_long_side);
        let mut from = 3;
        for (convs, to) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
            for _ in 0..convs {
                let conv = builder.conv([from, to], 3, 1);
                builder.then(Op::Conv(conv)).then(Op::Relu);
                from = to;
            }
            if builder.trunk.len() < 30 {
                builder.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
            }
        }
        builder.trunk.pop_if(|last| matches!(last.op, Op::MaxPool(_)));
        // The published head has 120 million weights; of two of its outputs there are a hundred thousand.
        builder.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[7, 7]], spatial_scale: 0.0625 });
        builder.finish(512).unwrap()
    };
    for (scales, long) in [(vec![600], 1000), (vec![1200], 2000), (vec![480, 576, 688, 864, 1200], 2000)] {
        let bundle = vgg16(scales, long);
        let contents = bundle.contents();
        let blobs: Vec<[usize; 2]> = contents
            .manifest
            .scales
            .iter()
            .map(|&short| [short as usize, (short as usize * 5 / 3).min(long as usize)])
            .collect();
        for demand in [Demand::nominal(contents, 2).unwrap(), Demand::new(contents, &blobs, 2000, 2).unwrap()]
        {
            // fc6 and fc7, and what 2000 RoIs multiply with them.
            let (memory, operations) =
                (demand.memory + 4 * 120_000_000, demand.operations + 2000 * 120_000_000);
            println!(
                "{:?}: {:.2} GiB, {:.2e}",
                demand.blobs,
                memory as f64 / (1u64 << 30) as f64,
                operations as f64
            );
            assert!(memory < Limits::default().memory / 5 * 4, "{demand:?}");
            assert!(operations < Limits::default().operations / 5 * 4, "{demand:?}");
        }
    }
}
