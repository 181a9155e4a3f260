//! A stream gives what a detection of its composite gives, bit for bit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/hostile/build.rs"]
mod build;

use build::{Builder, layer, pool, warp};
use frcnn_bundle::{
    Affine, Bundle, Cascade, Conv, Gemm, Graph, Int8, LevelRule, Op, Precision, Regions, Resize, RoiAlign,
    RoiPooling, Rpn, Weights,
};
use proptest::prelude::*;

use super::{Stream, StreamOptions, Tolerance};
use crate::trunk::FeatureMap;
use crate::{BBox, Detector, Frame, HeadOutput, Options, PixelFormat, Session};

const CASES: u32 = if cfg!(debug_assertions) { 2 } else { 24 };

/// The kinds of trunk that give one map.
const TRUNKS: usize = 8;
/// Those and the kinds that give a pyramid.
const WITH_PYRAMIDS: usize = 10;

struct Trunk {
    builder: Builder,
    precision: Precision,
    seed: u32,
}

impl Trunk {
    /// Weights of both signs, of a size that keeps maps alive.
    fn values(&mut self, len: usize, fan_in: usize) -> Vec<f32> {
        let size = (6.0 / fan_in as f32).sqrt();
        let mut next = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| size * next()).collect()
    }

    fn conv(&mut self, [from, to]: [u32; 2], kernel: u32, stride: u32, pad: u32, group: u32) -> Conv {
        let shape = [kernel, kernel, from / group, to].map(|side| side as usize);
        let fan_in = shape[..3].iter().product();
        let values = self.values(shape.iter().product(), fan_in);
        let weight = match self.precision {
            Precision::Int8 if group == 1 => {
                let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
                let scale = (largest / 127.0).max(1e-9);
                let values: Vec<i8> = values.iter().map(|value| (value / scale).round() as i8).collect();
                let scales = self.builder.writer.add("scales", &[to as usize], vec![scale; to as usize]);
                let int8 = Int8 { scales, input_scale: 0.05, input_zero_point: 3 };
                self.builder.writer.add_int8("w", &shape, values.into(), int8)
            }
            Precision::F32 | Precision::Int8 => self.builder.writer.add("w", &shape, values),
            _ if group > 1 => self.builder.writer.add("w", &shape, values),
            half => self.builder.writer.add_weights("w", &shape, Weights::rounded(&values, half)),
        };
        let bias = self.values(to as usize, 20);
        let bias = Some(self.builder.writer.add("b", &[to as usize], bias));
        Conv {
            in_channels: from,
            out_channels: to,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [pad; 4],
            group,
            weight,
            bias,
        }
    }

    fn affine(&mut self, channels: u32) -> Op {
        let (scale, shift) = (self.values(channels as usize, 3), self.values(channels as usize, 30));
        let scale = self.builder.writer.add("scale", &[channels as usize], scale);
        let shift = self.builder.writer.add("shift", &[channels as usize], shift);
        Op::Affine(Affine { channels, scale, shift })
    }

    fn then(&mut self, op: Op) -> u32 {
        self.builder.then(op);
        self.builder.trunk.len() as u32
    }

    fn conv_relu(&mut self, channels: [u32; 2], kernel: u32, stride: u32, pad: u32, group: u32) -> u32 {
        let conv = self.conv(channels, kernel, stride, pad, group);
        self.then(Op::Conv(conv));
        self.then(Op::Relu)
    }

    fn add(&mut self, op: Op, inputs: &[u32]) -> u32 {
        self.builder.trunk.push(layer(op, inputs));
        self.builder.trunk.len() as u32
    }
}

/// A cascade that drops about half of the regions: what a judge of one layer says of `features` pooled values.
fn cascade(builder: &mut Builder, features: usize) -> Cascade {
    let classes = builder.manifest.classes.len();
    let weight = builder.weights(&[features, classes]);
    let (in_features, out_features) = (features as u32, classes as u32);
    let gemm = Op::Gemm(Gemm { in_features, out_features, weight, bias: None });
    let layers = vec![layer(Op::Flatten, &[0]), layer(gemm, &[1]), layer(Op::Softmax, &[2])];
    Cascade { judge: Graph { layers, outputs: vec![3] }, keep: 0.75, rank: 1, chosen: None }
}

/// A trunk of one of the kinds, and the channels of its maps.
fn trunk(kind: usize, precision: Precision, short_side: u32, seed: u32) -> (Trunk, usize) {
    let mut t = Trunk { builder: Builder::new(4), precision, seed };
    t.builder.manifest.scales = vec![short_side];
    let channels = match kind {
        // VGG16's.
        0 => {
            t.conv_relu([3, 16], 3, 1, 1, 1);
            t.conv_relu([16, 16], 3, 1, 1, 1);
            t.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
            t.conv_relu([16, 32], 3, 1, 1, 1);
            t.conv_relu([32, 32], 3, 1, 1, 1);
            t.then(Op::MaxPool(pool(2, 2, [0; 4], false)));
            t.conv_relu([32, 24], 3, 1, 1, 1);
            24
        }
        // SqueezeNet's.
        1 => {
            t.conv_relu([3, 24], 7, 2, 0, 1);
            t.then(Op::MaxPool(pool(3, 2, [0; 4], true)));
            for from in [24, 32] {
                let squeezed = t.conv_relu([from, 8], 1, 1, 0, 1);
                let one = t.conv_relu([8, 16], 1, 1, 0, 1);
                let conv = t.conv([8, 16], 3, 1, 1, 1);
                let three = t.add(Op::Conv(conv), &[squeezed]);
                let three = t.add(Op::Relu, &[three]);
                t.add(Op::Concat, &[one, three]);
            }
            32
        }
        // CaffeNet's.
        2 => {
            t.conv_relu([3, 24], 11, 4, 5, 1);
            t.then(Op::Lrn { size: 5, alpha: 0.0001, beta: 0.75, k: 1.0 });
            t.then(Op::MaxPool(pool(3, 2, [1; 4], true)));
            t.conv_relu([24, 32], 5, 1, 2, 2);
            t.then(Op::Lrn { size: 5, alpha: 0.0001, beta: 0.75, k: 1.0 });
            t.conv_relu([32, 16], 3, 1, 1, 1);
            16
        }
        // Residual ones, with every activation.
        3 => {
            let input = t.conv_relu([3, 16], 3, 2, 1, 1);
            let conv = t.conv([16, 16], 3, 1, 1, 1);
            let one = t.add(Op::Conv(conv), &[input]);
            let affine = t.affine(16);
            let one = t.add(affine, &[one]);
            let sum = t.add(Op::Add, &[one, input]);
            let swish = t.add(Op::HardSwish, &[sum]);
            let conv = t.conv([16, 16], 1, 1, 0, 1);
            let two = t.add(Op::Conv(conv), &[swish]);
            let two = t.add(Op::LeakyRelu { alpha: 0.1 }, &[two]);
            let sigmoid = t.add(Op::Sigmoid, &[two]);
            let product = t.add(Op::Mul, &[two, sigmoid]);
            let sum = t.add(Op::Add, &[product, swish]);
            t.add(Op::Clip { low: -6.0, high: 6.0 }, &[sum]);
            t.conv_relu([16, 24], 3, 2, 1, 1);
            24
        }
        // Depthwise layers, and squeeze and excitation, which sees the whole map.
        4 => {
            t.conv_relu([3, 16], 3, 2, 1, 1);
            let map = t.conv_relu([16, 16], 5, 1, 2, 16);
            let mean = t.add(Op::GlobalAveragePool, &[map]);
            let conv = t.conv([16, 8], 1, 1, 0, 1);
            let squeezed = t.add(Op::Conv(conv), &[mean]);
            let squeezed = t.add(Op::Relu, &[squeezed]);
            let conv = t.conv([8, 16], 1, 1, 0, 1);
            let excited = t.add(Op::Conv(conv), &[squeezed]);
            let excited = t.add(Op::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, &[excited]);
            t.add(Op::Mul, &[map, excited]);
            t.conv_relu([16, 16], 1, 1, 0, 1);
            // Functions other than ReLU, which convolutions apply.
            let conv = t.conv([16, 24], 1, 1, 0, 1);
            t.then(Op::Conv(conv));
            t.then(Op::HardSwish);
            let conv = t.conv([24, 24], 3, 1, 1, 24);
            t.then(Op::Conv(conv));
            t.then(Op::Clip { low: 0.0, high: 6.0 });
            let conv = t.conv([24, 16], 3, 1, 1, 1);
            t.then(Op::Conv(conv));
            t.then(Op::HardSwish);
            16
        }
        // Means, of every rule.
        5 => {
            t.conv_relu([3, 16], 3, 1, 0, 1);
            t.then(Op::AveragePool { pool: pool(3, 2, [1; 4], false), count_include_pad: true });
            t.conv_relu([16, 16], 3, 1, 1, 1);
            t.then(Op::AveragePool { pool: pool(3, 2, [1, 0, 1, 0], true), count_include_pad: false });
            t.then(Op::AveragePool { pool: pool(2, 2, [0; 4], true), count_include_pad: true });
            16
        }
        // Dilation, and windows that skip cells; padding that only the gemm crate's products take.
        6 => {
            let conv = Conv { dilation: [2, 2], ..t.conv([3, 16], 3, 1, 2, 1) };
            t.then(Op::Conv(conv));
            t.then(Op::Relu);
            t.conv_relu([16, 16], 2, 3, 0, 1);
            t.conv_relu([16, 24], 1, 1, 1, 1);
            24
        }
        // A ResNet's pyramid: maps of four sizes, the last of which only an RPN reads.
        8 => {
            let c1 = t.conv_relu([3, 16], 3, 2, 1, 1);
            let conv = t.conv([16, 16], 3, 1, 1, 1);
            let block = t.add(Op::Conv(conv), &[c1]);
            let block = t.add(Op::Add, &[block, c1]);
            let c1 = t.add(Op::Relu, &[block]);
            let c2 = t.conv_relu([16, 24], 3, 2, 1, 1);
            let c3 = t.conv_relu([24, 32], 3, 2, 1, 1);
            let mut lateral = |from: u32, at: u32| {
                let conv = t.conv([from, 16], 1, 1, 0, 1);
                t.add(Op::Conv(conv), &[at])
            };
            let [l1, l2, top] = [lateral(16, c1), lateral(24, c2), lateral(32, c3)];
            let up = t.add(Op::Upsample, &[top, l2]);
            let middle = t.add(Op::Add, &[up, l2]);
            let up = t.add(Op::Upsample, &[middle, l1]);
            let fine = t.add(Op::Add, &[l1, up]);
            let outputs = [fine, middle, top].map(|map| {
                let conv = t.conv([16, 16], 3, 1, 1, 1);
                t.add(Op::Conv(conv), &[map])
            });
            let last = t.add(Op::MaxPool(pool(1, 2, [0; 4], false)), &[outputs[2]]);
            t.builder.outputs = outputs.into_iter().chain([last]).collect();
            16
        }
        // A pyramid whose maps are upsampled for several readers, from one that sees the whole image.
        9 => {
            let fine = t.conv_relu([3, 16], 5, 3, 2, 1);
            let coarse = t.conv_relu([16, 16], 3, 2, 0, 1);
            let mean = t.add(Op::GlobalAveragePool, &[coarse]);
            let conv = t.conv([16, 16], 1, 1, 0, 1);
            let mean = t.add(Op::Conv(conv), &[mean]);
            let everywhere = t.add(Op::Upsample, &[mean, coarse]);
            let coarse = t.add(Op::Add, &[coarse, everywhere]);
            let up = t.add(Op::Upsample, &[coarse, fine]);
            let product = t.add(Op::Mul, &[up, fine]);
            let sum = t.add(Op::Add, &[product, up]);
            t.builder.outputs = vec![sum, coarse];
            16
        }
        // Maps that go separate ways and meet.
        _ => {
            let a = t.conv_relu([3, 16], 3, 1, 1, 1);
            let conv = t.conv([3, 8], 5, 1, 2, 1);
            let b = t.add(Op::Conv(conv), &[0]);
            let pooled = t.add(Op::MaxPool(pool(3, 1, [1; 4], false)), &[b]);
            let joined = t.add(Op::Concat, &[a, pooled, b]);
            let conv = t.conv([32, 32], 3, 1, 1, 1);
            let out = t.add(Op::Conv(conv), &[joined]);
            t.add(Op::Add, &[out, joined]);
            t.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
            32
        }
    };
    (t, channels)
}

/// A detector with a trunk of one of the kinds; of every other seed with a cascade.
fn bundle(kind: usize, precision: Precision, short_side: u32, seed: u32) -> Bundle {
    let (mut t, channels) = trunk(kind, precision, short_side, seed);
    if seed % 2 == 1 {
        t.builder.cascade = Some(cascade(&mut t.builder, 4 * channels));
    }
    t.builder.finish(channels).unwrap()
}

/// How regions are aligned, and what is around them.
#[derive(Clone, Copy, Debug)]
struct Rules {
    sampling_ratio: u32,
    half_pixel: bool,
    resize: Resize,
    pad_multiple: u32,
    /// Whether there is an RPN.
    proposes: bool,
    /// Whether the head has a convolution, as those on a trunk's last stage but one.
    convolves: bool,
    /// Max pooling in place of aligning.
    pools: bool,
}

/// A detector with RoIAlign on the maps of a trunk of one of the kinds.
fn aligned(kind: usize, precision: Precision, short_side: u32, rules: Rules, seed: u32) -> Bundle {
    let (mut t, channels) = trunk(kind, precision, short_side, seed);
    let manifest = &mut t.builder.manifest;
    (manifest.resize, manifest.pad_multiple) = (rules.resize, rules.pad_multiple);
    if rules.resize != Resize::Published {
        (manifest.box_width_offset, manifest.nms_width_offset) = (0.0, 0.0);
        (manifest.nms_keeps_equal, manifest.min_box_side) = (true, 0.01);
        manifest.box_weights = [10.0, 10.0, 5.0, 5.0];
    }
    let maps = t.builder.outputs.len().max(1);
    // The last one of four is for the RPN alone.
    let mut pooled = if maps > 3 { maps - 1 } else { maps };
    if rules.pools {
        pooled = 1;
        t.builder.regions = Regions::RoiPooling(RoiPooling { pooled: vec![[3, 2]], spatial_scale: 0.25 });
    } else {
        t.builder.regions = Regions::RoiAlign(RoiAlign {
            pooled: [3, 2],
            sampling_ratio: rules.sampling_ratio,
            half_pixel: rules.half_pixel,
            spatial_scales: [0.5, 0.25, 0.125][..pooled].to_vec(),
            level_rule: LevelRule { canonical_size: 40.0, canonical_level: 3, finest_level: 2 },
        });
    }
    if rules.proposes {
        let channels = channels as u32;
        let three = t.conv([channels, channels], 3, 1, 1, 1);
        let [logits, deltas] = [3, 12].map(|to| t.conv([channels, to], 1, 1, 0, 1));
        let layers = vec![
            layer(Op::Conv(three), &[0]),
            layer(Op::Relu, &[1]),
            layer(Op::Conv(logits), &[2]),
            layer(Op::Conv(deltas), &[2]),
        ];
        let base = |size: f32| [0.5, 1.0, 2.0].map(|ratio| frcnn_core::base_anchor(size, ratio)).to_vec();
        t.builder.rpn = Some(Rpn {
            graph: Graph { layers, outputs: vec![3, 4] },
            anchors: (0..maps).map(|map| base((12 << map) as f32)).collect(),
            strides: None,
            // Maps have values of some hundreds: boxes stay near their anchors.
            box_weights: [400.0; 4],
            pre_nms_top_n: 60,
            post_nms_top_n: 50,
            nms_iou: 0.7,
            min_side: 1e-3,
            score_threshold: 0.0,
        });
    } else {
        t.builder.outputs.truncate(pooled);
    }
    if rules.convolves {
        t.builder.head = Some(convolving_head(&mut t, channels as u32));
    }
    if seed % 2 == 1 {
        t.builder.cascade = Some(cascade(&mut t.builder, 6 * channels));
    }
    t.builder.finish(channels).unwrap()
}

/// A convolution on the bins of each region, and the mean of what it gives.
fn convolving_head(t: &mut Trunk, channels: u32) -> Graph {
    let classes = t.builder.manifest.classes.len();
    let conv = t.conv([channels, 8], 3, 1, 1, 1);
    let mut gemm = |out: usize| {
        let values = t.values(8 * out, 8);
        let weight = t.builder.writer.add("w", &[8, out], values);
        Op::Gemm(Gemm { in_features: 8, out_features: out as u32, weight, bias: None })
    };
    let (scores, boxes) = (gemm(classes), gemm(4 * classes));
    let layers = vec![
        layer(Op::Conv(conv), &[0]),
        layer(Op::Relu, &[1]),
        layer(Op::GlobalAveragePool, &[2]),
        layer(Op::Flatten, &[3]),
        layer(scores, &[4]),
        layer(Op::Softmax, &[5]),
        layer(boxes, &[4]),
    ];
    Graph { layers, outputs: vec![6, 7] }
}

fn open(bundle: Bundle, threads: usize) -> Detector {
    let options = Options { threads: Some(threads), score_threshold: Some(0.0), ..Options::default() };
    Detector::new(bundle, &options).unwrap()
}

/// A camera's pixels.
struct Camera {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    state: u32,
}

impl Camera {
    fn new(width: usize, height: usize, seed: u32) -> Camera {
        let mut camera = Camera { pixels: vec![0; width * height * 3], width, height, state: seed };
        for i in 0..camera.pixels.len() {
            camera.pixels[i] = (camera.next() >> 24) as u8;
        }
        camera
    }

    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.state
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() >> 8) as usize % most.max(1)
    }

    /// Something moves: rectangles get other pixels.
    fn change(&mut self, rectangles: usize, side: usize) {
        for _ in 0..rectangles {
            let (x, y) = (self.below(self.width), self.below(self.height));
            let (w, h) = (1 + self.below(side), 1 + self.below(side));
            for y in y..(y + h).min(self.height) {
                for x in x..(x + w).min(self.width) {
                    let value = (self.next() >> 24) as u8;
                    self.pixels[(y * self.width + x) * 3 + self.state as usize % 3] = value;
                }
            }
        }
    }

    fn frame(&self) -> Frame<'_> {
        Frame::rgb8(&self.pixels, self.width as u32, self.height as u32).unwrap()
    }

    fn boxes(&mut self, count: usize) -> Vec<BBox> {
        let corner = |camera: &mut Camera| {
            let (w, h) = (camera.width, camera.height);
            [camera.below(w + 20) as f32 - 10.0, camera.below(h + 20) as f32 - 10.0]
        };
        let any = |camera: &mut Camera| {
            let ([x1, y1], [x2, y2]) = (corner(camera), corner(camera));
            BBox::new(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2))
        };
        (0..count).map(|_| any(self)).collect()
    }
}

/// The bits of maps are those of others.
fn same(maps: &[FeatureMap], expected: &[FeatureMap], what: &str) {
    assert_eq!(maps.len(), expected.len(), "{what}");
    for (number, (map, expected)) in maps.iter().zip(expected).enumerate() {
        let bits = |map: &FeatureMap| map.data().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((map.height(), map.width()), (expected.height(), expected.width()));
        let (found, expected) = (bits(map), bits(expected));
        let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
        let place = wrong.map(|i| {
            let cell = i / map.channels();
            (cell / map.width(), cell % map.width(), i % map.channels())
        });
        assert_eq!(place, None, "{what}, {number}");
    }
}

/// Every stage of a stream against a detection from the start, among boxes or the network's own.
fn check_among(
    stream: &mut Stream,
    session: &mut Session,
    camera: &Camera,
    boxes: Option<&[BBox]>,
    what: &str,
) {
    let found = match boxes {
        Some(boxes) => stream.detect(&camera.frame(), boxes),
        None => stream.detect_frame(&camera.frame()),
    };
    let found = found.unwrap();
    let composite = stream.composite().unwrap();
    if stream.options.tolerance == Tolerance::Fixed(0.0) {
        assert!(composite.packed().unwrap() == camera.pixels, "{what}: the composite is the frame");
    }
    let what = &format!("{what}, {:?}", stream.reuse());
    let blobs = session.preprocess(&composite).unwrap();
    let mut maps = Vec::new();
    for (level, blob) in stream.maps.trunk.iter().zip(&blobs) {
        let expected = session.maps(blob).unwrap();
        same(&level.maps().unwrap(), &expected, &format!("the map, {what}"));
        maps.extend(expected);
    }
    if boxes.is_none() {
        assert_eq!(stream.maps.rpn.len(), maps.len());
        for (level, map) in stream.maps.rpn.iter().zip(&maps) {
            let expected = session.rpn(map).unwrap();
            let expected = [expected.logits, expected.deltas];
            same(&level.maps().unwrap(), &expected, &format!("the RPN, {what}"));
        }
    }
    let expected = match boxes {
        Some(boxes) => session.detect(&composite, boxes),
        None => session.detect_frame(&composite),
    };
    let expected = expected.unwrap();
    if boxes.is_none() {
        let corners = |boxes: &[BBox]| {
            boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(corners(stream.proposals()), corners(session.proposals()), "the proposals, {what}");
    }
    assert_eq!(stream.not_finite(), session.not_finite(), "{what}");
    let bits = |output: &HeadOutput| {
        output.cls_prob.iter().chain(&output.bbox_pred).map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let (found_bits, expected_bits) = (bits(stream.regions.output()), bits(&session.output));
    assert_eq!(found_bits.len(), expected_bits.len(), "{what}");
    assert_eq!(stream.session.dropped(), session.dropped(), "{what}");
    let wrong = found_bits.iter().zip(&expected_bits).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "the head, {what}");
    assert_eq!(found, expected, "{what}");
}

fn check(stream: &mut Stream, session: &mut Session, camera: &Camera, boxes: &[BBox], what: &str) {
    check_among(stream, session, camera, Some(boxes), what);
}

/// A sequence of frames: nothing changes, something does, all of it does, and boxes come and go.
fn check_sequence(detector: &Detector, options: StreamOptions, (width, height): (usize, usize), seed: u32) {
    let mut camera = Camera::new(width, height, seed);
    let mut stream = detector.stream(options).unwrap();
    let mut session = detector.session();
    let mut boxes = camera.boxes(40);
    // Given, the network's own, or both in turn, which know nothing of each other.
    let sources: &[bool] = match (detector.has_rpn(), seed % 3) {
        (false, _) | (true, 0) => &[true],
        (true, 1) => &[false],
        (true, _) => &[false, true, true, false],
    };
    let mut sources = sources.iter().cycle();
    let mut check = |camera: &Camera, boxes: &[BBox], what: &str| {
        let given = sources.next().is_some_and(|&given| given).then_some(boxes);
        check_among(&mut stream, &mut session, camera, given, what);
        *stream.reuse()
    };
    let is_exact = options.tolerance == Tolerance::Fixed(0.0);
    check(&camera, &boxes, "the first frame");
    let reuse = check(&camera, &boxes, "the same frame");
    if is_exact {
        assert_eq!((reuse.cells_changed, reuse.trunk_share), (0, 0.0));
    }
    if is_exact && (!detector.has_rpn() || seed % 3 < 2) {
        assert_eq!(reuse.rois_reused, reuse.rois);
    }
    for (rectangles, side) in [(1, 12), (1, 1), (2, 30), (40, 4), (1, 400), (3, 9)] {
        camera.change(rectangles, side);
        boxes.truncate(30);
        boxes.extend(camera.boxes(10));
        check(&camera, &boxes, &format!("{rectangles} of {side}"));
    }
}

fn precision() -> impl Strategy<Value = Precision> {
    prop_oneof![
        3 => Just(Precision::F32),
        1 => Just(Precision::Bf16),
        1 => Just(Precision::F16),
        1 => Just(Precision::Int8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(CASES)))]

    #[test]
    fn a_stream_gives_what_its_composite_gives(
        kind in 0..TRUNKS,
        precision in precision(),
        (width, height) in (40usize..230, 40usize..230),
        short_side in 48u32..200,
        (threads, reuse_mib) in (1usize..4, prop_oneof![2 => Just(256u32), 1 => Just(1), 1 => Just(0)]),
        tolerance in prop_oneof![
            2 => Just(Tolerance::Fixed(0.0)), 1 => Just(Tolerance::Fixed(40.0)), 1 => Just(Tolerance::Learned),
        ],
        seed in any::<u32>(),
    ) {
        let detector = open(bundle(kind, precision, short_side, seed), threads);
        check_sequence(&detector, StreamOptions { tolerance, reuse_mib }, (width, height), seed);
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let resize = prop_oneof![
        2 => Just((Resize::Torchvision, 32)),
        1 => Just((Resize::Detectron2, 16)),
        1 => Just((Resize::Published, 1)),
        1 => Just((Resize::Published, 16)),
    ];
    (0u32..3, any::<bool>(), resize, any::<bool>(), (0..4, 0..4)).prop_map(
        |(sampling_ratio, half_pixel, (resize, pad_multiple), proposes, (convolves, pools))| Rules {
            sampling_ratio,
            half_pixel,
            resize,
            pad_multiple,
            proposes,
            convolves: convolves == 0,
            pools: pools == 0,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(2 * CASES)))]

    #[test]
    fn aligned_regions_and_learned_proposals(
        kind in prop_oneof![0..TRUNKS, TRUNKS..WITH_PYRAMIDS],
        precision in precision(),
        (width, height) in (40usize..230, 40usize..230),
        short_side in 48u32..200,
        rules in rules(),
        (threads, reuse_mib) in (1usize..4, prop_oneof![2 => Just(256u32), 1 => Just(1), 1 => Just(0)]),
        tolerance in prop_oneof![
            2 => Just(Tolerance::Fixed(0.0)), 1 => Just(Tolerance::Fixed(40.0)), 1 => Just(Tolerance::Learned),
        ],
        seed in any::<u32>(),
    ) {
        let detector = open(aligned(kind, precision, short_side, rules, seed), threads);
        check_sequence(&detector, StreamOptions { tolerance, reuse_mib }, (width, height), seed);
    }
}

/// Every kind of pyramid with every source of proposals, whatever the random ones were.
#[test]
fn every_pyramid_in_every_precision() {
    for kind in TRUNKS..WITH_PYRAMIDS {
        // Emulated, in every other precision.
        let step = if frcnn_testkit::emulated() { 2 } else { 1 };
        for (precision, seed) in Precision::ALL.into_iter().zip(6..).step_by(step) {
            let rules = Rules {
                sampling_ratio: 2 * (seed % 2),
                half_pixel: seed % 2 == 0,
                resize: Resize::Torchvision,
                pad_multiple: 32,
                proposes: true,
                convolves: seed % 3 == 0,
                pools: false,
            };
            let detector = open(aligned(kind, precision, 100, rules, seed), 2);
            let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
            check_sequence(&detector, options, (131, 103), seed);
        }
    }
}

/// A small change of a large picture: most of a pyramid, of the RPN's maps and of the regions stays.
#[test]
fn pyramids_cost_what_has_changed() {
    let rules = Rules {
        sampling_ratio: 2,
        half_pixel: false,
        resize: Resize::Torchvision,
        pad_multiple: 32,
        proposes: true,
        convolves: false,
        pools: false,
    };
    let detector = open(aligned(8, Precision::F32, 300, rules, 4), 2);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let mut camera = Camera::new(400, 300, 3);
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    check_among(&mut stream, &mut session, &camera, None, "the first frame");
    assert_eq!(stream.reuse().trunk_share, 1.0);
    for pixel in &mut camera.pixels[3 * (400 * 20 + 20)..][..12] {
        *pixel ^= 255;
    }
    check_among(&mut stream, &mut session, &camera, None, "a change in a corner");
    let reuse = *stream.reuse();
    assert!(reuse.trunk_share > 0.0 && reuse.trunk_share < 0.25, "{reuse:?}");
    assert!(
        reuse.rois > 20 && reuse.rois_reused > reuse.rois / 3 && reuse.rois_reused < reuse.rois,
        "{reuse:?}"
    );
    check_among(&mut stream, &mut session, &camera, None, "the same frame");
    assert_eq!((stream.reuse().trunk_share, stream.reuse().rois_reused), (0.0, stream.reuse().rois));
    let expected = detector.expected_reuse(256, 0.01).unwrap().unwrap();
    assert!(expected.map_bytes > 0 && expected.trunk_share > 0.0 && expected.trunk_share < 0.5);
    // Boxes of one's own, between those of the RPN.
    let boxes = camera.boxes(30);
    check_among(&mut stream, &mut session, &camera, Some(&boxes), "given boxes");
    camera.change(1, 9);
    check_among(&mut stream, &mut session, &camera, Some(&boxes), "given boxes after a change");
    check_among(&mut stream, &mut session, &camera, None, "its own again");
}

/// Where any change changes all of it, maps in between are not kept, whatever the budget.
#[test]
fn maps_that_would_spare_nothing_are_not_kept() {
    let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
    let map = t.conv_relu([3, 16], 3, 2, 1, 1);
    let mean = t.add(Op::GlobalAveragePool, &[map]);
    t.add(Op::Mul, &[map, mean]);
    t.conv_relu([16, 32], 3, 1, 1, 1);
    t.conv_relu([32, 8], 3, 1, 1, 1);
    let detector = open(t.builder.finish(8).unwrap(), 2);
    let expected = |mib| detector.expected_reuse(mib, 0.001).unwrap().unwrap();
    assert_eq!(expected(256), expected(0));
    assert_eq!(expected(256).trunk_share, 1.0);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    check_sequence(&detector, options, (120, 90), 4);
}

/// A network without an RPN says so, and the frame before stays.
#[test]
fn proposals_that_there_are_not() {
    let detector = open(bundle(0, Precision::F32, 64, 2), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    let mut camera = Camera::new(90, 70, 4);
    let boxes = camera.boxes(10);
    check(&mut stream, &mut session, &camera, &boxes, "the first frame");
    let error = stream.detect_frame(&camera.frame()).unwrap_err().to_string();
    assert!(error.contains("has no stage `rpn`"), "{error}");
    check(&mut stream, &mut session, &camera, &boxes, "the same frame");
    assert_eq!(stream.reuse().rois_reused, stream.reuse().rois);
}

/// Every kind of trunk in every precision, whatever the random ones were.
#[test]
fn every_trunk_in_every_precision() {
    // Emulated, some trunks in every precision.
    for kind in (0..TRUNKS).step_by(if frcnn_testkit::emulated() { 3 } else { 1 }) {
        for precision in Precision::ALL {
            let detector = open(bundle(kind, precision, 100, 7), 2);
            let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
            check_sequence(&detector, options, (131, 103), 5);
        }
    }
}

/// Maps so large that layers run in strips: of direct convolutions, and with one by Winograd's algorithm inside.
#[test]
fn layers_in_strips() {
    for channels in [[3, 32, 64], [16, 32, 64]] {
        let [from, middle, to] = channels;
        let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
        t.builder.manifest.scales = vec![500];
        if from > 3 {
            t.conv_relu([3, from], 1, 1, 0, 1);
        }
        t.conv_relu([from, middle], 3, 1, 1, 1);
        t.conv_relu([middle, to], 3, 1, 1, 1);
        t.then(Op::MaxPool(pool(2, 2, [0; 4], true)));
        t.conv_relu([to, 8], 3, 4, 1, 1);
        let detector = open(t.builder.finish(8).unwrap(), 2);
        let strips = detector.plan().iter().any(|layer| layer.by.contains("in strips"));
        assert!(strips, "{:?}", detector.plan());
        let mut camera = Camera::new(700, 500, 9);
        let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
        let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
        let boxes = camera.boxes(20);
        check(&mut stream, &mut session, &camera, &boxes, "the first frame");
        // Changes of single cells, too, that reach an output through a tile alone.
        let sides = [30, 1, 90, 1, 3, 3, 9, 9];
        for side in sides.into_iter().take(if frcnn_testkit::emulated() { 2 } else { sides.len() }) {
            camera.change(1, side);
            check(&mut stream, &mut session, &camera, &boxes, "a change");
            assert!(stream.reuse().trunk_share < 0.5, "{:?}", stream.reuse());
        }
    }
}

/// What is expected of a budget is what a frame costs, and more memory never costs more.
#[test]
fn what_a_budget_buys_is_known_before_a_frame() {
    // The middle of such a frame, a quarter of its rows and columns, is whole cells of 8 pixels.
    let detector = open(bundle(1, Precision::F32, 384, 8), 1);
    let mut shares = Vec::new();
    for reuse_mib in [0, 1, 4, 64] {
        let expected = detector.expected_reuse(reuse_mib, 0.0625).unwrap().unwrap();
        let mut camera = Camera::new(512, 384, 2);
        let mut stream =
            detector.stream(StreamOptions { tolerance: Tolerance::Fixed(0.0), reuse_mib }).unwrap();
        stream.detect(&camera.frame(), &[]).unwrap();
        for row in camera.pixels.chunks_exact_mut(512 * 3).skip(144).take(96) {
            row[192 * 3..320 * 3].iter_mut().for_each(|value| *value ^= 255);
        }
        stream.detect(&camera.frame(), &[]).unwrap();
        // Resizing may reach a pixel farther.
        let found = stream.reuse().trunk_share;
        assert!((0.0..0.02).contains(&(found - expected.trunk_share)), "{found} {expected:?}");
        assert!(expected.map_bytes <= stream.reuse().kept_bytes);
        shares.push(expected);
    }
    assert!(
        shares.is_sorted_by(
            |less, more| less.map_bytes <= more.map_bytes && less.trunk_share >= more.trunk_share
        )
    );
    assert!(shares[0].trunk_share > 1.2 * shares[3].trunk_share, "{shares:?}");
    let crops = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
    let mut builder = crops.builder;
    builder.regions = warp(32);
    let conv = builder.conv([3, 8], 3, 1);
    builder.then(Op::Conv(conv)).then(Op::GlobalAveragePool);
    assert_eq!(open(builder.finish(8).unwrap(), 1).expected_reuse(64, 0.1).unwrap(), None);
}

/// R-CNN's regions, SPPnet's levels, and several scales.
#[test]
fn other_methods() {
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    for regions in [
        warp(32),
        Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3], [2, 2], [1, 1]], spatial_scale: 0.25 }),
        Regions::RoiPooling(RoiPooling { pooled: vec![[2, 2]], spatial_scale: 0.25 }),
    ] {
        let mut t = Trunk { builder: Builder::new(3), precision: Precision::F32, seed: 3 };
        t.builder.manifest.scales = vec![60, 100];
        t.conv_relu([3, 16], 3, 2, 1, 1);
        t.conv_relu([16, 16], 3, 2, 1, 1);
        let is_warp = matches!(regions, Regions::Warp(_));
        t.builder.regions = regions;
        let bundle = t.builder.finish(if is_warp { 8 * 8 * 16 } else { 16 }).unwrap();
        check_sequence(&open(bundle, 2), options, (120, 90), 11);
    }
}

#[test]
fn another_size_or_format_is_a_first_frame() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    for (width, height) in [(90, 70), (70, 90), (90, 70)] {
        let mut camera = Camera::new(width, height, 4);
        let boxes = camera.boxes(10);
        check(&mut stream, &mut session, &camera, &boxes, "another size");
        assert_eq!(stream.reuse().trunk_share, 1.0);
        camera.change(1, 5);
        check(&mut stream, &mut session, &camera, &boxes, "a change");
        assert!(stream.reuse().trunk_share < 1.0);
    }
    let gray = vec![7; 90 * 70];
    let frame = Frame::new(&gray, 90, 70, 90, PixelFormat::Gray8).unwrap();
    stream.detect(&frame, &[]).unwrap();
    assert_eq!(stream.reuse().trunk_share, 1.0);
}

/// NaN in a map is a value like any other, and equal bits have not changed.
#[test]
fn a_frame_that_fails_leaves_no_half_of_it() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    let options = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let (mut stream, mut session) = (detector.stream(options).unwrap(), detector.session());
    let mut camera = Camera::new(90, 70, 4);
    let boxes = camera.boxes(10);
    check(&mut stream, &mut session, &camera, &boxes, "the first frame");
    // Too small for the trunk: its poolings leave nothing.
    let tiny = Camera::new(2, 900, 4);
    if stream.detect(&tiny.frame(), &boxes).is_err() {
        camera.change(1, 9);
        check(&mut stream, &mut session, &camera, &boxes, "after an error");
    }
}

#[test]
fn tolerances_are_checked() {
    let detector = open(bundle(0, Precision::F32, 64, 1), 1);
    for wrong in [-1.0, f32::NAN, f32::INFINITY] {
        let options = StreamOptions { tolerance: Tolerance::Fixed(wrong), ..StreamOptions::default() };
        assert!(detector.stream(options).is_err());
    }
}

/// What bf16x3 on AMX needs, which multiplies few rows otherwise: a frame's RoIs are reused together.
#[test]
fn rows_that_are_not_apart_are_kept_together() {
    use super::regions::RegionCache;
    use crate::Roi;
    let roi = |x1| Roi { x1, ..Roi::default() };
    let mut cache = RegionCache::default();
    let mut update = |rois: &[Roi], apart, changed: i32| {
        let mut ran = 0;
        let run = |rois: &[Roi], output: &mut HeadOutput| {
            ran = rois.len();
            output.cls_prob.extend(rois.iter().map(|roi| roi.x1 as f32));
            output.bbox_pred.extend(rois.iter().flat_map(|roi| [roi.x1 as f32; 4]));
            Ok(())
        };
        let reused = cache.update(rois, ([1, 4], apart), |roi| roi.x1 == changed, run).unwrap();
        let expected: Vec<f32> = rois.iter().map(|roi| roi.x1 as f32).collect();
        assert_eq!(cache.output().cls_prob, expected);
        assert_eq!(cache.output().bbox_pred.len(), 4 * rois.len());
        (reused, ran)
    };
    let rois = [roi(1), roi(4), roi(5)];
    assert_eq!(update(&rois, false, 9), (0, 3));
    assert_eq!(update(&rois, false, 9), (3, 0));
    assert_eq!(update(&rois, false, 4), (0, 3));
    assert_eq!(update(&rois, true, 4), (2, 1));
    assert_eq!(update(&rois[..2], false, 9), (0, 2));
    assert_eq!(update(&rois, true, 9), (2, 1));
    // In another order, and twice.
    let other = [roi(5), roi(1), roi(5), roi(4)];
    assert_eq!(update(&other, true, 9), (4, 0));
    assert_eq!(update(&[roi(1), roi(5), roi(4), roi(5)], false, 9), (0, 4));
    assert_eq!(update(&[], true, 9), (0, 0));
}
