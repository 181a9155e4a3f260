//! A small Faster R-CNN with a feature pyramid, as torchvision builds them.

use frcnn::Bundle;
use frcnn_bundle::{Conv, Gemm, Graph, Layer, LevelRule, Op, Pool, Regions, Resize, RoiAlign, Rpn};

use crate::build::{Builder, layer};

pub(crate) const CLASSES: usize = 4;
/// Channels of the pyramid.
pub(crate) const CHANNELS: u32 = 8;
/// Anchors a cell.
pub(crate) const ANCHORS: usize = 3;

/// Seed of the weights that give the RPN's deltas.
const DELTAS: u32 = 25;

/// Noise in -1..1, always the same.
pub(crate) struct Noise(pub(crate) u32);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn noise(builder: &mut Builder, seed: u32, shape: &[usize], size: f32) -> u32 {
    let mut noise = Noise(seed);
    let values = (0..shape.iter().product()).map(|_| size * noise.next()).collect();
    builder.writer.add("w", shape, values)
}

fn conv(builder: &mut Builder, [from, to]: [u32; 2], [kernel, stride]: [u32; 2], seed: u32) -> Op {
    let shape = [kernel, kernel, from, to].map(|d| d as usize);
    // Variances stay about what they are; pixels become small ones first, and boxes are moved by a part of their size.
    let size = match (from, seed) {
        (3, _) => 0.03,
        (_, DELTAS) => 0.4,
        _ => 2.0,
    };
    let size = size / ((kernel * kernel * from) as f32).sqrt();
    let weight = noise(builder, seed, &shape, size);
    let bias = Some(noise(builder, seed + 1, &[to as usize], 0.1));
    Op::Conv(Conv {
        in_channels: from,
        out_channels: to,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        group: 1,
        weight,
        bias,
    })
}

fn gemm(builder: &mut Builder, from: usize, to: usize, size: f32, seed: u32) -> Op {
    let weight = noise(builder, seed, &[from, to], size / (from as f32).sqrt());
    let bias = Some(noise(builder, seed + 1, &[to], 0.1));
    Op::Gemm(Gemm { in_features: from as u32, out_features: to as u32, weight, bias })
}

/// Maps of 1/4 and 1/8 of the blob, which regions are pooled from, and of 1/16, which the RPN alone reads.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new(CLASSES);
    let manifest = &mut builder.manifest;
    (manifest.scales, manifest.max_long_side) = (vec![100], 150);
    (manifest.resize, manifest.pad_multiple) = (Resize::Torchvision, 12);
    (manifest.box_width_offset, manifest.nms_width_offset) = (0.0, 0.0);
    (manifest.nms_keeps_equal, manifest.nms_iou, manifest.min_box_side) = (true, 0.5, 0.01);
    (manifest.box_weights, manifest.score_threshold) = ([10.0, 10.0, 5.0, 5.0], 0.3);

    let b = &mut builder;
    let pool = Pool { kernel: [1; 2], stride: [2; 2], pads: [0; 4], ceil_mode: false };
    let trunk: Vec<Layer> = vec![
        layer(conv(b, [3, 6], [5, 4], 1), &[0]),
        layer(Op::Relu, &[1]),
        layer(conv(b, [6, 10], [3, 2], 3), &[2]),
        layer(Op::Relu, &[3]),
        layer(conv(b, [10, CHANNELS], [1, 1], 5), &[4]),
        layer(conv(b, [6, CHANNELS], [1, 1], 7), &[2]),
        layer(Op::Upsample, &[5, 6]),
        layer(Op::Add, &[6, 7]),
        layer(conv(b, [CHANNELS; 2], [3, 1], 9), &[8]),
        layer(conv(b, [CHANNELS; 2], [3, 1], 11), &[5]),
        layer(Op::MaxPool(pool), &[10]),
    ];
    let (anchors, four) = (ANCHORS as u32, 4 * ANCHORS as u32);
    let rpn = vec![
        layer(conv(b, [CHANNELS; 2], [3, 1], 21), &[0]),
        layer(Op::Relu, &[1]),
        layer(conv(b, [CHANNELS, anchors], [1, 1], 23), &[2]),
        layer(conv(b, [CHANNELS, four], [1, 1], DELTAS), &[2]),
    ];
    let features = 9 * CHANNELS as usize;
    let head = vec![
        layer(Op::Flatten, &[0]),
        layer(gemm(b, features, 24, 2.0, 31), &[1]),
        layer(Op::Relu, &[2]),
        layer(gemm(b, 24, CLASSES, 4.0, 33), &[3]),
        layer(Op::Softmax, &[4]),
        layer(gemm(b, 24, 4 * CLASSES, 4.0, 35), &[3]),
    ];
    builder.trunk = trunk;
    builder.outputs = vec![9, 10, 11];
    builder.head = Some(Graph { layers: head, outputs: vec![5, 6] });
    builder.regions = Regions::RoiAlign(RoiAlign {
        pooled: [3, 3],
        sampling_ratio: 2,
        half_pixel: false,
        spatial_scales: vec![0.25, 0.125],
        level_rule: LevelRule { canonical_size: 40.0, canonical_level: 3, finest_level: 2 },
    });
    let base = |size: f32| [0.5, 1.0, 2.0].map(|ratio| frcnn_core::base_anchor(size, ratio)).to_vec();
    builder.rpn = Some(Rpn {
        graph: Graph { layers: rpn, outputs: vec![3, 4] },
        anchors: vec![base(16.0), base(32.0), base(64.0)],
        strides: None,
        box_weights: [1.0; 4],
        pre_nms_top_n: 90,
        post_nms_top_n: 70,
        nms_iou: 0.6,
        min_side: 1e-3,
        score_threshold: 0.0,
    });
    builder
}

pub(crate) fn pyramid() -> Bundle {
    builder().finish(CHANNELS as usize).unwrap()
}
