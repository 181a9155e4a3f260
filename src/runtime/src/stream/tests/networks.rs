//! Networks of every kind of trunk, and what may stand around them.

use frcnn_bundle::{
    Affine, Bundle, Cascade, Conv, Gemm, Graph, Int8, LevelRule, Op, Precision, Regions, Resize, RoiAlign,
    RoiPooling, Rpn, Weights,
};

use super::build::{Builder, layer, pool};
use crate::{Detector, Options};

/// The kinds of trunk that give one map.
pub(super) const TRUNKS: usize = 8;
/// Those and the kinds that give a pyramid.
pub(super) const WITH_PYRAMIDS: usize = 10;

pub(super) struct Trunk {
    pub(super) builder: Builder,
    pub(super) precision: Precision,
    pub(super) seed: u32,
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

    pub(super) fn conv(
        &mut self,
        [from, to]: [u32; 2],
        kernel: u32,
        stride: u32,
        pad: u32,
        group: u32,
    ) -> Conv {
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

    pub(super) fn then(&mut self, op: Op) -> u32 {
        self.builder.then(op);
        self.builder.trunk.len() as u32
    }

    pub(super) fn conv_relu(
        &mut self,
        channels: [u32; 2],
        kernel: u32,
        stride: u32,
        pad: u32,
        group: u32,
    ) -> u32 {
        let conv = self.conv(channels, kernel, stride, pad, group);
        self.then(Op::Conv(conv));
        self.then(Op::Relu)
    }

    pub(super) fn add(&mut self, op: Op, inputs: &[u32]) -> u32 {
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
pub(super) fn trunk(kind: usize, precision: Precision, short_side: u32, seed: u32) -> (Trunk, usize) {
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
pub(super) fn bundle(kind: usize, precision: Precision, short_side: u32, seed: u32) -> Bundle {
    let (mut t, channels) = trunk(kind, precision, short_side, seed);
    if seed % 2 == 1 {
        t.builder.cascade = Some(cascade(&mut t.builder, 4 * channels));
    }
    t.builder.finish(channels).unwrap()
}

/// How regions are aligned, and what is around them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) sampling_ratio: u32,
    pub(super) half_pixel: bool,
    pub(super) resize: Resize,
    pub(super) pad_multiple: u32,
    /// Whether there is an RPN.
    pub(super) proposes: bool,
    /// Whether the head has a convolution, as those on a trunk's last stage but one.
    pub(super) convolves: bool,
    /// Max pooling in place of aligning.
    pub(super) pools: bool,
}

/// A detector with RoIAlign on the maps of a trunk of one of the kinds.
pub(super) fn aligned(kind: usize, precision: Precision, short_side: u32, rules: Rules, seed: u32) -> Bundle {
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

pub(super) fn open(bundle: Bundle, threads: usize) -> Detector {
    let options = Options { threads: Some(threads), score_threshold: Some(0.0), ..Options::default() };
    Detector::new(bundle, &options).unwrap()
}
