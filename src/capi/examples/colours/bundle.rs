//! A detector of red, green and blue things, small enough to be made by hand: for tests of what surrounds a detector.
//!
//! ```text
//! data ─ conv1 4x4/4 ─ Relu ─ conv2 3x3 ─ Relu ─ roi_pool 3x3 ─ Flatten ─ fc6 ─ Relu ─┬─ cls_score ─ Softmax
//!        redness,            each kept, its lack,                        their means   └─ bbox_pred
//!        greenness,          its four edges; noise                       where a box
//!        blueness                                                        has them; noise
//! ```
//! A box is scored for being full of a colour, for the colour's edges along its own, and against what lacks the colour:
//! so the box that fits wins. The noise makes every kernel count in the last digits without changing what is found.

use frcnn_bundle::{
    Bundle, BundleWriter, Contents, Conv, Error, Gemm, Graph, Layer, Manifest, Op, Origin, Regions,
    RoiPooling,
};

/// Channels of the feature map: for each colour itself, its lack, and its left, right, upper and lower edges; and noise.
const CHANNELS: usize = 32;
const MEANINGFUL: usize = 3 * 6;
/// Bins of a pooled RoI.
const BINS: usize = 9;
/// Features of `fc6`.
const FEATURES: usize = 48;
/// Background, red, green, blue.
const CLASSES: usize = 4;

/// What makes a detector another than the plain one.
pub(crate) struct Variant {
    /// The classes, from 1, of red, green and blue.
    pub(crate) classes: [usize; 3],
    /// How far boxes may be moved: a small part of their size, if anything is to be found. With `f32::MAX` none is
    /// finite, as after a training that diverged.
    pub(crate) deltas: f32,
}

impl Variant {
    pub(crate) const PLAIN: Variant = Variant { classes: [1, 2, 3], deltas: 0.01 };
}

/// The detector, for images whose short side is scaled to `short_side` pixels.
pub(crate) fn colours(short_side: u32, variant: &Variant) -> Result<Bundle, Error> {
    let mut writer = BundleWriter::new();
    let mut noise = Noise(7);

    // A cell's mean of one colour less half of each of the others, 1 for pure colour.
    let mut conv1 = vec![0.0; 4 * 4 * 3 * 3];
    for (tap, weights) in conv1.chunks_exact_mut(3).enumerate() {
        // The blob is blue, green, red; the classes are red, green, blue.
        let channel = tap % 3;
        for (colour, weight) in weights.iter_mut().enumerate() {
            *weight = if colour == 2 - channel { 1.0 } else { -0.5 } / (255.0 * 16.0);
        }
    }
    let conv1 = conv(&mut writer, "conv1", 3, [4, 0], conv1, vec![0.0; 3]);

    // Cells of a 3 x 3 window, row by row: the middle, and the neighbours to the left, right, above and below.
    const MIDDLE: usize = 4;
    const NEIGHBOURS: [usize; 4] = [3, 5, 1, 7];
    let mut conv2 = vec![0.0; 3 * 3 * 3 * CHANNELS];
    for (tap, weights) in conv2.chunks_exact_mut(CHANNELS).enumerate() {
        let (cell, colour) = (tap / 3, tap % 3);
        for (out, weight) in weights.iter_mut().enumerate() {
            let middle = f32::from(cell == MIDDLE);
            *weight = match (out / 6 == colour, out % 6) {
                _ if out >= MEANINGFUL => noise.next(),
                (false, _) => 0.0,
                (true, 0) => middle,
                (true, 1) => -middle,
                (true, edge) => middle - f32::from(cell == NEIGHBOURS[edge - 2]),
            };
        }
    }
    let lack = (0..CHANNELS).map(|out| f32::from(out < MEANINGFUL && out % 6 == 1)).collect();
    let conv2 = conv(&mut writer, "conv2", 3, [3, 1], conv2, lack);

    // Means over the bins that count: all of them, or the three along an edge.
    let mut fc6 = vec![0.0; BINS * CHANNELS * FEATURES];
    for (row, weights) in fc6.chunks_exact_mut(FEATURES).enumerate() {
        let (bin, channel) = (row / CHANNELS, row % CHANNELS);
        let along = [bin % 3 == 0, bin % 3 == 2, bin / 3 == 0, bin / 3 == 2];
        for (out, weight) in weights.iter_mut().enumerate() {
            *weight = match channel % 6 {
                _ if out >= MEANINGFUL => 0.1 * noise.next(),
                _ if out != channel => 0.0,
                0 | 1 => 1.0 / 9.0,
                edge => f32::from(along[edge - 2]) / 3.0,
            };
        }
    }
    let fc6 = gemm(&mut writer, "fc6", BINS * CHANNELS, fc6, vec![0.0; FEATURES]);

    // A box that fits comes to about 12, one inside the thing or half as large again to 8 or less.
    const SCORES: [f32; 6] = [8.0, -8.0, 2.0, 2.0, 2.0, 2.0];
    let mut cls_score = vec![0.0; FEATURES * CLASSES];
    for (row, weights) in cls_score.chunks_exact_mut(CLASSES).enumerate() {
        for (class, weight) in weights.iter_mut().enumerate() {
            let of_class = f32::from(variant.classes.get(row / 6) == Some(&class));
            *weight = if row < MEANINGFUL { of_class * SCORES[row % 6] } else { 0.01 * noise.next() };
        }
    }
    let cls_score = gemm(&mut writer, "cls_score", FEATURES, cls_score, vec![9.0, 0.0, 0.0, 0.0]);
    let bbox_pred = (0..FEATURES * CLASSES * 4).map(|_| variant.deltas * noise.next()).collect();
    let bbox_pred = gemm(&mut writer, "bbox_pred", FEATURES, bbox_pred, vec![0.0; 4 * CLASSES]);

    let mut names = ["__background__"; CLASSES];
    for (class, name) in variant.classes.iter().zip(["red", "green", "blue"]) {
        names[*class] = name;
    }
    let mut manifest = Manifest::new(names.map(String::from).into());
    manifest.name = "colours".into();
    manifest.scales = vec![short_side];
    manifest.pixel_means = [0.0; 3];
    manifest.score_threshold = 0.5;
    let trunk = chain(vec![("conv1", conv1), ("relu1", Op::Relu), ("conv2", conv2), ("relu2", Op::Relu)]);
    let mut head =
        chain(vec![("pool5_flat", Op::Flatten), ("fc6", fc6), ("relu6", Op::Relu), ("cls_score", cls_score)]);
    head.layers.push(Layer { name: "cls_prob".into(), op: Op::Softmax, inputs: vec![4] });
    head.layers.push(Layer { name: "bbox_pred".into(), op: bbox_pred, inputs: vec![3] });
    head.outputs = vec![5, 6];
    writer.finish(Contents {
        blob_means: manifest.blob_means(),
        manifest,
        trunk,
        regions: Regions::RoiPooling(RoiPooling { pooled: vec![[3, 3]], spatial_scale: 0.25 }),
        head,
        sections: Vec::new(),
        factored: Vec::new(),
        origin: Origin { onnx_sha256: [0; 32], compiler: "made by hand".into() },
        board: None,
        cascade: None,
        rpn: None,
    })
}

/// A square kernel, either over blocks without padding or over every cell with it.
fn conv(
    writer: &mut BundleWriter,
    name: &str,
    from: usize,
    [kernel, pad]: [usize; 2],
    weights: Vec<f32>,
    bias: Vec<f32>,
) -> Op {
    let to = bias.len();
    let weight = writer.add(format!("{name}.weight"), &[kernel, kernel, from, to], weights);
    let bias = writer.add(format!("{name}.bias"), &[to], bias);
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
