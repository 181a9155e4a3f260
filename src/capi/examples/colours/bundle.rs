//! A detector of red, green and blue things, small enough to be made by hand: for tests of what surrounds a detector.
//!
//! ```text
//! data ─ conv1 8x8/8 ─ Relu ─ conv2 3x3 ─ Relu ─ roi_pool 3x3 ─ Flatten ─ fc6 ─ Relu ─┬─ cls_score ─ Softmax
//!        redness,            3 kept,                                     sums of       └─ bbox_pred
//!        greenness,          29 of noise                                 colour, noise
//!        blueness
//! ```
//! The noise makes every kernel count in the last digits without changing what is found.

use frcnn_bundle::{
    Bundle, BundleWriter, Contents, Conv, Error, Gemm, Graph, Layer, Manifest, Op, Precision, RoiPooling,
    Source,
};

/// Channels of the feature map: three colours and noise.
const CHANNELS: usize = 32;
/// Bins of a pooled RoI.
const BINS: usize = 9;
/// Features of `fc6`.
const FEATURES: usize = 48;
/// Background, red, green, blue.
const CLASSES: usize = 4;

/// The detector, for images whose short side is scaled to `short_side` pixels.
pub(crate) fn colours(short_side: u32) -> Result<Bundle, Error> {
    let mut writer = BundleWriter::new();
    let mut noise = Noise(7);

    // A cell's mean of one colour less half of each of the others, 1 for pure colour.
    let mut conv1 = vec![0.0; 8 * 8 * 3 * 3];
    for (tap, weights) in conv1.chunks_exact_mut(3).enumerate() {
        // The blob is blue, green, red; the classes are red, green, blue.
        let channel = tap % 3;
        for (colour, weight) in weights.iter_mut().enumerate() {
            *weight = if colour == 2 - channel { 1.0 } else { -0.5 } / (255.0 * 64.0);
        }
    }
    let conv1 = conv(&mut writer, "conv1", 3, 3, [8, 0], conv1);

    let mut conv2 = vec![0.0; 3 * 3 * 3 * CHANNELS];
    for (tap, weights) in conv2.chunks_exact_mut(CHANNELS).enumerate() {
        for (out, weight) in weights.iter_mut().enumerate() {
            let centre_of_same = tap == 4 * 3 + out;
            *weight = if out >= 3 { noise.next() } else { f32::from(centre_of_same) };
        }
    }
    let conv2 = conv(&mut writer, "conv2", 3, CHANNELS, [3, 1], conv2);

    let mut fc6 = vec![0.0; BINS * CHANNELS * FEATURES];
    for (row, weights) in fc6.chunks_exact_mut(FEATURES).enumerate() {
        for (out, weight) in weights.iter_mut().enumerate() {
            let same = row % CHANNELS == out;
            *weight = if out >= 3 { 0.1 * noise.next() } else { f32::from(same) / BINS as f32 };
        }
    }
    let fc6 = gemm(&mut writer, "fc6", BINS * CHANNELS, fc6, vec![0.0; FEATURES]);

    // A box that is half filled with pure colour stands even with the background.
    let mut cls_score = vec![0.0; FEATURES * CLASSES];
    for (row, weights) in cls_score.chunks_exact_mut(CLASSES).enumerate() {
        for (class, weight) in weights.iter_mut().enumerate() {
            *weight = if row < 3 { 12.0 * f32::from(class == row + 1) } else { 0.01 * noise.next() };
        }
    }
    let cls_score = gemm(&mut writer, "cls_score", FEATURES, cls_score, vec![6.0, 0.0, 0.0, 0.0]);
    let bbox_pred = (0..FEATURES * CLASSES * 4).map(|_| 0.01 * noise.next()).collect();
    let bbox_pred = gemm(&mut writer, "bbox_pred", FEATURES, bbox_pred, vec![0.0; 4 * CLASSES]);

    let mut manifest = Manifest::new(["__background__", "red", "green", "blue"].map(String::from).into());
    manifest.name = "colours".into();
    manifest.scales = vec![short_side];
    manifest.pixel_means_bgr = [0.0; 3];
    manifest.score_threshold = 0.5;
    let trunk = chain(vec![("conv1", conv1), ("relu1", Op::Relu), ("conv2", conv2), ("relu2", Op::Relu)]);
    let mut head =
        chain(vec![("pool5_flat", Op::Flatten), ("fc6", fc6), ("relu6", Op::Relu), ("cls_score", cls_score)]);
    head.layers.push(Layer { name: "cls_prob".into(), op: Op::Softmax, inputs: vec![4] });
    head.layers.push(Layer { name: "bbox_pred".into(), op: bbox_pred, inputs: vec![3] });
    head.outputs = vec![5, 6];
    writer.finish(Contents {
        manifest,
        trunk,
        roi_pooling: RoiPooling { pooled: [3, 3], spatial_scale: 0.125 },
        head,
        sections: Vec::new(),
        factored: Vec::new(),
        precision: Precision::F32,
        source: Source { onnx_sha256: [0; 32], compiler: "made by hand".into() },
    })
}

fn conv(
    writer: &mut BundleWriter,
    name: &str,
    from: usize,
    to: usize,
    [kernel, pad]: [usize; 2],
    weights: Vec<f32>,
) -> Op {
    let weight = writer.add(format!("{name}.weight"), &[kernel, kernel, from, to], weights);
    let bias = writer.add(format!("{name}.bias"), &[to], vec![0.0; to]);
    let stride = if pad == 0 { kernel as u32 } else { 1 };
    Op::Conv(Conv {
        in_channels: from as u32,
        out_channels: to as u32,
        kernel: [kernel as u32; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pads: [pad as u32; 4],
        group: 1,
        weight,
        bias: Some(bias),
    })
}

fn gemm(writer: &mut BundleWriter, name: &str, from: usize, weights: Vec<f32>, bias: Vec<f32>) -> Op {
    let to = bias.len();
    let weight = writer.add(format!("{name}.weight"), &[from, to], weights);
    let bias = writer.add(format!("{name}.bias"), &[to], bias);
    Op::Gemm(Gemm { in_features: from as u32, out_features: to as u32, weight, bias: Some(bias) })
}

/// Layers that each read the one before.
fn chain(layers: Vec<(&str, Op)>) -> Graph {
    let outputs = vec![layers.len() as u32];
    let layer =
        |(i, (name, op)): (usize, (&str, Op))| Layer { name: name.into(), op, inputs: vec![i as u32] };
    Graph { layers: layers.into_iter().enumerate().map(layer).collect(), outputs }
}

/// Numbers in -0.5..0.5 that look random and are the same everywhere.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    }
}
