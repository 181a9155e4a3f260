//! What validates runs: at every size a result, or an error that says which size does not go through.

use frcnn::{BBox, Bundle, Detector, Error, Frame};
use frcnn_bundle::{Affine, Conv, Gemm, Graph, Layer, Op, Pool, Regions, RoiPooling, SectionId, Shape};

use crate::build::{Builder, layer, open, pool, warp};

/// Frames that are scaled to odd sizes, upright and lying, one of them a line.
const FRAMES: [(u32, u32); 4] = [(97, 61), (53, 131), (64, 64), (300, 7)];

/// Runs a detector on odd frames, of which some may be too small for it.
fn run(detector: &Detector, what: &dyn Fn() -> String) -> usize {
    let mut ran = 0;
    let mut session = detector.session();
    for (width, height) in FRAMES {
        let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * 31 % 251) as u8).collect();
        let frame = Frame::rgb8(&pixels, width, height).unwrap();
        let (w, h) = (width as f32, height as f32);
        let boxes = [
            BBox::new(0.0, 0.0, w - 1.0, h - 1.0),
            BBox::new(w / 4.0, h / 4.0, w / 2.0, h / 2.0),
            BBox::new(-50.0, -50.0, -20.0, 3.0 * h),
            BBox::new(f32::NAN, 0.0, 3.0, 4.0),
        ];
        match session.detect(&frame, &boxes) {
            Ok(found) => {
                ran += 1;
                for detection in &found {
                    let b = detection.bbox;
                    assert!(detection.score.is_finite() && b.is_valid(), "{detection:?} of {}", what());
                    assert!(
                        b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 < w && b.y2 < h,
                        "{detection:?} of {}",
                        what()
                    );
                }
            }
            Err(Error::BlobSize { .. } | Error::Limit(_)) => {}
            Err(error) => panic!("{error}, of {}", what()),
        }
    }
    ran
}

fn runs(bundle: Result<Bundle, frcnn_bundle::Error>) {
    let bundle = bundle.unwrap();
    let text = format!("{:#?}", bundle.contents().trunk);
    assert!(run(&open(bundle).unwrap(), &|| text.clone()) >= 3, "{text}");
}

#[test]
fn convolutions_may_share_weights_and_differ() {
    let variants: [fn(&mut Conv); 4] = [
        |conv| conv.dilation = [2, 3],
        |conv| conv.stride = [2, 1],
        |conv| conv.pads = [0, 2, 3, 1],
        // As many weights, for other channels.
        |conv| (conv.in_channels, conv.group) = (8, 2),
    ];
    for variant in variants {
        for swapped in [false, true] {
            let mut builder = Builder::new(3);
            let first = builder.conv([3, 4], 1, 0);
            let one = builder.conv([4, 8], 3, 1);
            let mut other = one.clone();
            variant(&mut other);
            builder.then(Op::Conv(first));
            if other.in_channels == 8 {
                builder.then(Op::Conv(one)).then(Op::Conv(other));
            } else {
                let back = builder.conv([8, 4], 1, 0);
                let (one, other) = if swapped { (other, one) } else { (one, other) };
                builder.then(Op::Conv(one)).then(Op::Conv(back)).then(Op::Conv(other));
            }
            runs(builder.finish(8));
        }
    }
}

/// The kernel of one is not taken for the other's: a convolution by two paths gives what it gives by itself.
#[test]
fn shared_weights_give_what_own_ones_do() {
    let build = |shared: bool| {
        let mut builder = Builder::new(3);
        let one = builder.conv([3, 8], 3, 1);
        let weight = if shared { one.weight } else { builder.weights(&[3, 3, 3, 8]) };
        let other = Conv { dilation: [2, 2], pads: [2; 4], weight, ..one.clone() };
        builder.trunk =
            vec![layer(Op::Conv(one), &[0]), layer(Op::Conv(other), &[0]), layer(Op::Concat, &[1, 2])];
        let detector = open(builder.finish(16).unwrap()).unwrap();
        let pixels: Vec<u8> = (0..61 * 47 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let mut session = detector.session();
        let blob = session.preprocess(&Frame::rgb8(&pixels, 61, 47).unwrap()).unwrap().remove(0);
        session.trunk(&blob).unwrap().data().unwrap().to_vec()
    };
    assert_eq!(build(true), build(false));
}

#[test]
fn padding_beyond_the_window_runs_in_strips_or_not() {
    // Emulated, 96 channels take minutes.
    let channels = if frcnn_testkit::emulated() { &[4, 32][..] } else { &[4, 32, 96] };
    for pads in [[15; 4], [16, 1, 40, 0], [0, 30, 90, 30], [3, 3, 3, 3]] {
        for then_pool in [false, true] {
            for &channels in channels {
                let mut builder = Builder::new(3);
                // So large that strips would pay.
                builder.manifest.scales = vec![if channels == 4 { 700 } else { 300 }];
                let conv = builder.conv([3, channels], 3, 1);
                builder.then(Op::Conv(Conv { pads, ..conv })).then(Op::Relu);
                let next = builder.conv([channels, channels], 3, 1);
                if then_pool {
                    builder.then(Op::MaxPool(pool(3, 2, [0; 4], true)));
                } else {
                    builder.then(Op::Conv(Conv { pads, ..next.clone() }));
                }
                builder.then(Op::Conv(Conv { stride: [4; 2], ..next }));
                let detector = open(builder.finish(channels as usize).unwrap()).unwrap();
                assert_eq!(run(&detector, &|| format!("{pads:?}, {channels}, {then_pool}")), FRAMES.len());
            }
        }
    }
}

#[test]
fn probabilities_end_in_a_softmax() {
    let mut builder = Builder::new(3);
    let conv = builder.conv([3, 4], 3, 1);
    builder.then(Op::Conv(conv));
    let mut head = builder.usual_head(16, true);
    head.outputs[0] = 2;
    builder.head = Some(head);
    let error = builder.finish(4).unwrap_err().to_string();
    assert!(error.contains("probabilities") && error.contains("Softmax"), "{error}");
}

#[test]
fn rows_of_features_are_the_heads() {
    for softmax in [false, true] {
        let mut builder = Builder::new(3);
        let conv = builder.conv([3, 4], 3, 1);
        builder.then(Op::Conv(conv)).then(Op::Flatten);
        if softmax {
            builder.then(Op::Softmax);
        }
        builder.outputs = vec![1];
        let error = builder.finish(4).unwrap_err().to_string();
        assert!(error.contains("row of features"), "{error}");
    }
}

/// Numbers that depend on a seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        // Xorshift, whose upper bits are good enough here.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }

    /// Once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// A graph that grows by layers which fit.
struct Growing {
    layers: Vec<Layer>,
    input: Shape,
}

impl Growing {
    fn shapes(&self) -> Option<Vec<Shape>> {
        let graph = Graph { layers: self.layers.clone(), outputs: vec![] };
        graph.infer(self.input).ok()
    }

    /// Adds a random layer, if it fits. `sections` are those of convolutions before, to be shared.
    fn grow(&mut self, random: &mut Random, builder: &mut Builder, sections: &mut Vec<Conv>, row_too: bool) {
        let shapes = self.shapes().unwrap();
        let last = shapes.len() as u32 - 1;
        let from = if random.once_in(4) { random.below(last + 1) } else { last };
        let shape = shapes[from as usize];
        let channels = shape.channels() as u32;
        let small = [0, 0, 0, 1, 1, 2, 3, 5, 15, 17];
        let vector = |builder: &mut Builder| builder.weights(&[channels as usize]);
        let is_map = matches!(shape, Shape::Map { .. });
        let (op, inputs) = match random.below(if is_map { 18 } else { 12 }) {
            0 => (Op::Relu, vec![from]),
            1 => (Op::LeakyRelu { alpha: 0.1 }, vec![from]),
            2 => (
                Op::Clip { low: f32::NEG_INFINITY, high: random.of(&[6.0, f32::INFINITY, -1.0]) },
                vec![from],
            ),
            3 => {
                let hard = Op::HardSigmoid { alpha: 0.2, beta: 0.5 };
                (
                    if random.once_in(3) {
                        hard
                    } else if random.once_in(2) {
                        Op::Sigmoid
                    } else {
                        Op::HardSwish
                    },
                    vec![from],
                )
            }
            4 => {
                let (scale, shift) = (vector(builder), vector(builder));
                (Op::Affine(Affine { channels, scale, shift }), vec![from])
            }
            5 | 6 => {
                let more = (0..random.below(3)).map(|_| random.below(last + 1));
                (Op::Concat, std::iter::once(from).chain(more).collect())
            }
            7 | 8 => (if random.once_in(2) { Op::Add } else { Op::Mul }, vec![from, random.below(last + 1)]),
            9 => (Op::Relu, vec![last]),
            10 | 11 if !is_map => {
                let out_features = 1 + random.below(40);
                let weight = builder.weights(&[channels as usize, out_features as usize]);
                (Op::Gemm(Gemm { in_features: channels, out_features, weight, bias: None }), vec![from])
            }
            10 if row_too => (Op::Flatten, vec![from]),
            11 => (Op::GlobalAveragePool, vec![from]),
            12 => {
                let size = random.of(&[1, 2, 3, 5, 64, 1024]);
                let beta = random.of(&[0.75, 0.5, 0.0, -1.0]);
                (
                    Op::Lrn { size, alpha: random.of(&[1e-4, 1.0, -1.0]), beta, k: random.of(&[1.0, 0.0]) },
                    vec![from],
                )
            }
            13 | 14 => {
                let kernel = [random.of(&[1, 2, 2, 3, 3, 7]), random.of(&[1, 2, 2, 3, 5])];
                let kernel = if random.once_in(2) { [kernel[0]; 2] } else { kernel };
                let stride = random.of(&[[1, 1], [2, 2], [2, 2], [3, 1], [9, 9]]);
                let pads = if random.once_in(2) {
                    [0; 4]
                } else {
                    std::array::from_fn(|i| random.below(kernel[i % 2]))
                };
                let pool = Pool { kernel, stride, pads, ceil_mode: random.once_in(2) };
                let count_include_pad = random.once_in(2);
                (
                    if random.once_in(3) {
                        Op::AveragePool { pool, count_include_pad }
                    } else {
                        Op::MaxPool(pool)
                    },
                    vec![from],
                )
            }
            _ => (Op::Conv(conv(random, builder, sections, channels, &small)), vec![from]),
        };
        self.layers.push(layer(op, &inputs));
        // Small networks, for there are thousands.
        let fits =
            self.shapes().is_some_and(|shapes| shapes.iter().all(|s| !s.is_empty() && s.len() <= 400_000));
        if !fits {
            self.layers.pop();
        }
    }
}

fn conv(
    random: &mut Random,
    builder: &mut Builder,
    sections: &mut Vec<Conv>,
    channels: u32,
    small: &[u32],
) -> Conv {
    let attributes = |random: &mut Random, conv: &mut Conv| {
        conv.stride = random.of(&[[1, 1], [1, 1], [1, 1], [2, 2], [1, 3], [40, 40]]);
        conv.dilation = random.of(&[[1, 1], [1, 1], [1, 1], [2, 2], [1, 5], [30, 1]]);
        conv.pads = match random.below(3) {
            0 => [0; 4],
            1 => [conv.kernel[0] / 2, conv.kernel[1] / 2, conv.kernel[0] / 2, conv.kernel[1] / 2],
            _ => std::array::from_fn(|_| random.of(small)),
        };
    };
    // Of the same weights, with other attributes.
    let known = sections.iter().filter(|conv| conv.in_channels == channels).cloned().collect::<Vec<_>>();
    if !known.is_empty() && random.once_in(3) {
        let mut conv = known[random.below(known.len() as u32) as usize].clone();
        attributes(random, &mut conv);
        return conv;
    }
    let group = match random.below(5) {
        0 => channels,
        1 => (1..=channels).rev().find(|g| channels.is_multiple_of(*g) && *g <= channels / 2).unwrap_or(1),
        _ => 1,
    };
    let out_channels = group * random.of(&[1, 1, 2, 4, 8, 16, 17]);
    let square = random.of(&[1, 1, 3, 3, 3, 5]);
    let kernel =
        if random.once_in(4) { [random.of(&[1, 3, 11]), random.of(&[1, 2, 3])] } else { [square; 2] };
    let shape = [kernel[0], kernel[1], channels / group, out_channels].map(|d| d as usize);
    let bias: Option<SectionId> = random.once_in(2).then(|| builder.weights(&[out_channels as usize]));
    let weight = builder.weights(&shape);
    let mut conv = Conv {
        in_channels: channels,
        out_channels,
        kernel,
        stride: [1; 2],
        dilation: [1; 2],
        pads: [0; 4],
        group,
        weight,
        bias,
    };
    attributes(random, &mut conv);
    sections.push(conv.clone());
    conv
}

/// A bundle of that seed, if what came about is one.
fn random_bundle(seed: u64) -> Result<Bundle, frcnn_bundle::Error> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut builder = Builder::new(2 + random.below(3) as usize);
    builder.manifest.scales = (0..1 + random.below(2)).map(|_| random.of(&[24, 37, 64, 90])).collect();
    let side = random.of(&[20u32, 33]);
    builder.regions = match random.below(4) {
        0 => warp(side),
        1 => Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3], [1, 2]], spatial_scale: 0.5 }),
        _ => {
            let pooled = vec![[1 + random.below(4), 1 + random.below(4)]];
            Regions::RoiPooling(RoiPooling { pooled, spatial_scale: random.of(&[1.0, 0.25, 0.0625]) })
        }
    };
    let (height, width) = match builder.regions {
        Regions::Warp(_) => (side as usize, side as usize),
        Regions::RoiPooling(_) | Regions::RoiAlign(_) => {
            (builder.manifest.scales[0] as usize, builder.manifest.scales[0] as usize * 4 / 3)
        }
    };
    let mut sections = Vec::new();
    let mut trunk = Growing { layers: Vec::new(), input: Shape::Map { height, width, channels: 3 } };
    for _ in 0..random.below(9) {
        trunk.grow(&mut random, &mut builder, &mut sections, false);
    }
    let shapes = trunk.shapes().unwrap();
    let output = if random.once_in(5) { random.below(shapes.len() as u32) } else { shapes.len() as u32 - 1 };
    builder.outputs = vec![output];
    builder.trunk = trunk.layers;

    let mut pooled = shapes[output as usize];
    if let Regions::RoiPooling(pooling) = &builder.regions {
        let channels = pooled.channels();
        pooled = match pooling.pooled[..] {
            [[height, width]] => Shape::Map { height: height as usize, width: width as usize, channels },
            ref levels => Shape::Flat {
                features: levels.iter().map(|[h, w]| (h * w) as usize).sum::<usize>() * channels,
            },
        };
    }
    let mut head = Growing { layers: Vec::new(), input: pooled };
    for _ in 0..random.below(5) {
        head.grow(&mut random, &mut builder, &mut sections, true);
    }
    if matches!(head.shapes().unwrap().last(), Some(Shape::Map { .. })) {
        head.layers.push(layer(Op::Flatten, &[head.layers.len() as u32]));
    }
    let classes = builder.manifest.classes.len();
    // Scores and boxes read the last row, or boxes one before it.
    let shapes = head.shapes().unwrap();
    let rows: Vec<u32> =
        (0..shapes.len() as u32).filter(|&v| matches!(shapes[v as usize], Shape::Flat { .. })).collect();
    let (scores_from, boxes_from) = (*rows.last().unwrap(), random.of(&rows));
    let mut gemm = |from: u32, out: usize| {
        let features = shapes[from as usize].channels();
        let weight = builder.weights(&[features, out]);
        layer(
            Op::Gemm(Gemm { in_features: features as u32, out_features: out as u32, weight, bias: None }),
            &[from],
        )
    };
    let made = [gemm(scores_from, classes), gemm(boxes_from, 4 * classes)];
    let boxes_first = random.once_in(2);
    let first = shapes.len() as u32;
    let (scores, boxes) = if boxes_first { (first + 1, first) } else { (first, first + 1) };
    let [scores_layer, boxes_layer] = made;
    head.layers.extend(if boxes_first { [boxes_layer, scores_layer] } else { [scores_layer, boxes_layer] });
    head.layers.push(layer(Op::Softmax, &[scores]));
    builder.head = Some(Graph { layers: head.layers, outputs: vec![first + 2, boxes] });
    builder.finish(0)
}

/// `FRCNN_RANDOM_GRAPHS=100000 cargo test --release -p frcnn --test hostile -- what_validates_runs` looks at more;
/// `FRCNN_FIRST_GRAPH` says from which on.
#[test]
fn what_validates_runs() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of graphs"))
    };
    let (first, count) = (number("FRCNN_FIRST_GRAPH", 0), number("FRCNN_RANDOM_GRAPHS", 400));
    let (mut valid, mut opened, mut ran) = (0, 0, 0);
    for seed in first..first + count {
        let Ok(bundle) = random_bundle(seed) else { continue };
        valid += 1;
        let contents = bundle.contents().clone();
        let text =
            || format!("graph {seed}: {:?} {:?} {:?}", contents.trunk, contents.head, contents.regions);
        let opening = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match open(bundle) {
            Ok(detector) => (1, run(&detector, &text)),
            Err(Error::Limit(_)) => (0, 0),
            Err(error) => panic!("{error}, of {}", text()),
        }));
        let (open, detected) = opening.unwrap_or_else(|_| panic!("a panic of {}", text()));
        opened += open;
        ran += detected;
    }
    println!("{count} graphs, {valid} of them valid, {opened} opened, {ran} detections");
    assert!(valid * 2 > count, "{valid} of {count} graphs are valid");
    assert!(ran as u64 > valid, "{ran} detections of {valid} graphs");
}
