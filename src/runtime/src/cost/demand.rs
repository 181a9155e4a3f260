//! What one frame asks of a machine: counted from a bundle's contents before anything of it is reserved.
//!
//! - a layer's weights as its algorithm packs them;
//! - maps and scratch as the runtime keeps them: see [`frame_bytes`];
//! - predictions of all RoIs;
//! - and while a bundle is opened, the weights that are packed already beside those that are not.

use std::collections::HashMap;

use frcnn_bundle::{
    Cascade, Contents, Conv, Error, Gemm, Graph, Layer, Op, Precision, Regions, Rpn, Shape, nominal_blobs,
};
use frcnn_kernels::{Bf16Isa, PreparedLinear};
use serde::Serialize;

use super::{frame::frame_bytes, outputs, shapes, sum, times};
use crate::crops::HEAD_BATCH;
use crate::ops::{ConvPlan, ConvPlans};

/// RoIs for which a bundle is judged when it is opened: what selective search gives of a photo.
pub const NOMINAL_ROIS: usize = 2000;

/// RoIs for which a bundle is judged when it is opened: those that its RPN proposes at most, or [`NOMINAL_ROIS`].
pub fn nominal_rois(contents: &Contents) -> usize {
    contents.rpn.as_ref().map_or(NOMINAL_ROIS, |rpn| rpn.post_nms_top_n as usize)
}

/// Regions of an R-CNN whose operations count: each is as much work as an image, and who asks for thousands knows it.
const RCNN_REGIONS: u64 = 128;
/// Inputs of a layer that are as much work to plan as a layer.
const INPUTS_OF_A_STEP: u64 = 8;
/// Values of the widest vector.
const LANES: u64 = 16;

/// What one frame asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Rows and columns of the blobs for which it is counted.
    pub blobs: Vec<[usize; 2]>,
    /// Regions for which it is counted.
    pub rois: usize,
    /// Threads that work on the frame.
    pub threads: usize,
    /// Layers of all graphs as they are planned: some count twice, and those that read many values once more for each
    /// eight of them; those of the RPN once for each of the trunk's maps.
    pub layers: u64,
    /// Bytes of weights, packed.
    pub weight_bytes: u64,
    /// Bytes of blobs, maps and scratch.
    pub frame_bytes: u64,
    /// Bytes of anchors, regions and predictions.
    pub roi_bytes: u64,
    /// Bytes while the bundle is opened: weights as it has them beside those that are packed.
    pub opening_bytes: u64,
    /// Bytes in memory at once, at most: those while it is opened, or all others.
    pub memory: u64,
    /// Operations, of which a core does about 1e11 a second: multiply-accumulates, of partly filled vectors all lanes, and
    /// what other work takes the time of. The trunk's on all blobs, and the head's on at most [`NOMINAL_ROIS`] RoIs, or as
    /// many as the RPN proposes; of R-CNN those of 128 regions.
    pub operations: u64,
}

impl Demand {
    /// That of a 4:3 photo at the manifest's scales with [`nominal_rois`].
    ///
    /// # Errors
    /// The graphs do not fit such a photo.
    pub fn nominal(contents: &Contents, threads: usize) -> Result<Demand, Error> {
        Demand::new(contents, &nominal_blobs(contents), nominal_rois(contents), threads)
    }

    /// That of an image whose blobs have these rows and columns, and of so many RoIs.
    ///
    /// # Errors
    /// The graphs do not fit a blob.
    pub fn new(
        contents: &Contents,
        blobs: &[[usize; 2]],
        rois: usize,
        threads: usize,
    ) -> Result<Demand, Error> {
        Demand::planned(contents, &ConvPlan::all(contents).iter().collect(), blobs, rois, threads)
    }

    /// The same of convolutions that are computed as `plans` say.
    pub(crate) fn planned(
        contents: &Contents,
        plans: &ConvPlans,
        blobs: &[[usize; 2]],
        rois: usize,
        threads: usize,
    ) -> Result<Demand, Error> {
        let trunk = TrunkDemand::new(contents, blobs)?;
        let head = HeadDemand::new(contents, trunk.map, rois as u64)?;
        let is_rcnn = matches!(contents.regions, Regions::Warp(_));
        let rpn = RpnDemand::new(contents, &trunk.maps)?;
        let regions = rois.min(NOMINAL_ROIS.max(nominal_rois(contents))) as u64;
        let operations = if is_rcnn {
            let per_region = trunk.operations.saturating_add(head.operations_per_roi);
            times(per_region, regions.min(RCNN_REGIONS))
        } else {
            sum([trunk.operations, rpn.operations, times(head.operations_per_roi, regions)].into_iter())
        };
        let weights = PackedBytes::of(contents, plans, threads);
        let frame_bytes = frame_bytes(contents, plans, blobs, rois, threads)?;
        let roi_bytes = head.roi_bytes.saturating_add(rpn.bytes);
        let used = sum([weights.packed, frame_bytes, roi_bytes].into_iter());
        Ok(Demand {
            blobs: blobs.to_vec(),
            rois,
            threads,
            layers: sum(contents.layers().map(steps)).saturating_add(rpn.layers),
            weight_bytes: weights.packed,
            frame_bytes,
            roi_bytes,
            opening_bytes: weights.opening,
            memory: used.max(weights.opening),
            operations,
        })
    }
}

fn image([height, width]: [usize; 2]) -> Shape {
    Shape::Map { height, width, channels: 3 }
}

/// What the trunk asks for, on all blobs; of R-CNN on a crop.
struct TrunkDemand {
    /// What it gives first.
    map: Shape,
    /// All that it gives of the last blob.
    maps: Vec<Shape>,
    operations: u64,
}

impl TrunkDemand {
    fn new(contents: &Contents, blobs: &[[usize; 2]]) -> Result<TrunkDemand, Error> {
        let crop = match contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => None,
            Regions::Warp(warp) => Some([[warp.side as usize; 2]]),
        };
        let trunk = &contents.trunk;
        let (mut maps, mut operations) = (Vec::new(), 0u64);
        for &blob in crop.as_ref().map_or(blobs, |crop| &crop[..]) {
            let values = shapes(trunk, image(blob))?;
            maps = outputs(trunk, &values);
            operations = operations.saturating_add(graph_operations(trunk, &values));
        }
        let map = maps.first().copied().unwrap_or(Shape::Flat { features: 0 });
        Ok(TrunkDemand { map, maps, operations })
    }
}

/// What the RPN asks for, on all maps; nothing where there is none.
#[derive(Default)]
struct RpnDemand {
    /// Of anchors and proposals.
    bytes: u64,
    operations: u64,
    /// Those beyond its own: it is planned for each map.
    layers: u64,
}

impl RpnDemand {
    /// To choose an anchor's logit among others takes some ns, and so does an IoU.
    const OPERATIONS_OF_ANCHOR: u64 = 1000;
    const OPERATIONS_OF_IOU: u64 = 500;

    fn new(contents: &Contents, maps: &[Shape]) -> Result<RpnDemand, Error> {
        let Some(rpn) = &contents.rpn else { return Ok(RpnDemand::default()) };
        let Rpn { graph, pre_nms_top_n, post_nms_top_n, .. } = rpn;
        let (best, most) = (u64::from(*pre_nms_top_n), u64::from(*post_nms_top_n));
        let mut demand = RpnDemand::default();
        let mut largest = 0u64;
        for &map in maps {
            let values = shapes(graph, map)?;
            let anchors = outputs(graph, &values).first().map_or(0, Shape::len) as u64;
            let best = best.min(anchors);
            largest = largest.max(anchors);
            let suppression = product(&[best, best.min(most), Self::OPERATIONS_OF_IOU]);
            let chosen = times(anchors, Self::OPERATIONS_OF_ANCHOR);
            let operations = sum([graph_operations(graph, &values), chosen, suppression].into_iter());
            demand.operations = demand.operations.saturating_add(operations);
            // A box with its score.
            demand.bytes = demand.bytes.saturating_add(times(best, 32));
        }
        // Places of the anchors of one map; proposals in pixels of the image and of the blob.
        demand.bytes = sum([demand.bytes, times(largest, 4), times(most, 64)].into_iter());
        let again = maps.len().saturating_sub(1) as u64;
        demand.layers = times(sum(graph.layers.iter().map(steps)), again);
        Ok(demand)
    }
}

/// What the head asks for.
struct HeadDemand {
    roi_bytes: u64,
    operations_per_roi: u64,
}

impl HeadDemand {
    /// `map` is what the trunk gives.
    fn new(contents: &Contents, map: Shape, rois: u64) -> Result<HeadDemand, Error> {
        let head = &contents.head;
        let region = contents.region_shape(map);
        let values = shapes(head, region)?;
        // Scores and deltas; a box, an RoI, its index and a candidate; the judge's scores.
        let classes = contents.manifest.classes.len() as u64;
        let judged = if contents.cascade.is_some() { classes * 4 + 8 } else { 0 };
        let predictions = times(classes * 5 * 4 + 100 + judged, rois);
        let features = match contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => 0,
            Regions::Warp(_) => times(region.bytes(), rois.min(HEAD_BATCH as u64)),
        };
        Ok(HeadDemand {
            roi_bytes: predictions.saturating_add(features),
            operations_per_roi: sum([
                graph_operations(head, &values),
                pooling_operations(contents, map),
                judge_operations(contents, map)?,
            ]
            .into_iter()),
        })
    }
}

/// Those of judging an RoI, which is pooled for it. All may stay: nothing is taken off what the head asks for.
fn judge_operations(contents: &Contents, map: Shape) -> Result<u64, Error> {
    let Some(Cascade { judge, .. }) = &contents.cascade else { return Ok(0) };
    let values = shapes(judge, contents.region_shape(map))?;
    Ok(graph_operations(judge, &values).saturating_add(pooling_operations(contents, map)))
}

/// Bytes of all weights.
struct PackedBytes {
    /// As kernels read them.
    packed: u64,
    /// While they are packed, the largest layer first.
    opening: u64,
}

impl PackedBytes {
    fn of(contents: &Contents, plans: &ConvPlans, threads: usize) -> PackedBytes {
        let all = sum(contents.sections.iter().map(|section| section.bytes));
        let bytes = |section: u32| contents.sections.get(section as usize).map_or(0, |section| section.bytes);
        let linears = contents.layers().filter_map(|layer| match &layer.op {
            Op::Gemm(gemm) => Some((gemm.weight, linear_bytes(contents, gemm))),
            _ => None,
        });
        // Of each layer: bytes as the bundle has them, and packed. Layers may share weights.
        let mut layers: Vec<(u64, u64)> =
            plans.weights().map(|(section, packed)| (bytes(section), packed)).collect();
        let linears: HashMap<u32, u64> = linears.collect();
        layers.extend(linears.into_iter().map(|(section, packed)| (bytes(section), packed)));
        layers.sort_unstable();
        let (mut opening, mut now) = (all, all);
        while let Some(&(unpacked, packed)) = layers.last() {
            // As many layers are under way as there are threads.
            let under_way = layers.iter().rev().take(threads).map(|&(_, packed)| packed);
            opening = opening.max(now.saturating_add(sum(under_way)));
            now = now.saturating_add(packed).saturating_sub(unpacked);
            layers.pop();
        }
        // Biases and the like stay as they are.
        PackedBytes { packed: now, opening }
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, times)
}

/// Channels in whole vectors.
fn lanes(channels: u64) -> u64 {
    channels.next_multiple_of(LANES)
}

fn is_depthwise(conv: &Conv) -> bool {
    conv.group > 1 && conv.group == conv.in_channels
}

/// Input and output channels of a group, groups, and places in the kernel.
fn conv_sizes(conv: &Conv) -> [u64; 4] {
    let group = conv.group.max(1);
    let [kh, kw] = conv.kernel.map(u64::from);
    [u64::from(conv.in_channels / group), u64::from(conv.out_channels / group), u64::from(group), kh * kw]
}

/// Bytes of a fully connected layer's weights for its kernel, at most.
fn linear_bytes(contents: &Contents, gemm: &Gemm) -> u64 {
    let [k, n] = [gemm.in_features, gemm.out_features].map(|features| features as usize);
    let bytes = PreparedLinear::max_weight_bytes(k, n) as u64;
    // Weights of 16 bits stay so, but where AMX splits f16 ones into two bf16 values.
    match contents.sections.get(gemm.weight as usize).map(|section| section.precision) {
        Some(Precision::Bf16) => bytes / 2,
        Some(Precision::Int8) => bytes / 4,
        Some(Precision::F16) if Bf16Isa::detect() != Some(Bf16Isa::Amx) => bytes / 2,
        _ => bytes,
    }
}

fn graph_operations(graph: &Graph, shapes: &[Shape]) -> u64 {
    let layers = graph.layers.iter().zip(shapes.iter().skip(1));
    sum(layers.map(|(layer, output)| {
        let input =
            layer.inputs.first().and_then(|&value| shapes.get(value as usize)).copied().unwrap_or(*output);
        layer_operations(&layer.op, input, *output)
    }))
}

/// What a layer costs, in units of 10 ps of one core: the time of a multiply-accumulate in a product of matrices at 1e11 a
/// second. So 1e11 operations are about a second, and all kinds of layers are within a factor of 4 of that.
///
/// Measured as CPU time of one thread (AVX-512), with the second frame, on chains of 1 to 20 layers and maps of 60 x 80 to
/// 600 x 800: what a layer spends on each cell, on each tap of a window, and on each value.
///
/// | layer | ns |
/// |---|---|
/// | convolution, few channels | 6 to 7 for a cell of a group, .01 to .02 for a product |
/// | depthwise | 4 (16 channels) to 7 (3 channels) for a tap of a cell |
/// | pooling | 1 to 4 (3 channels), 27 (64 channels) for a tap of a cell |
/// | LRN, `beta` .75 | 32 (3 channels), 100 (64 channels) for a cell |
/// | LRN, other `beta` | 50 to 58 for a value |
/// | global average pooling | 106 (3 channels), 150 (64 channels) for a cell |
/// | affine | 15 (64 channels) to 60 (3 channels) for a cell |
/// | Concat, Add | 1.4 to 2.9 for a value |
/// | ReLU, Sigmoid and the like | .2 to .9 for a value |
fn layer_operations(op: &Op, input: Shape, output: Shape) -> u64 {
    let values = output.len() as u64;
    let channels = output.channels().max(1) as u64;
    let cells = values / channels;
    let each = |cell: u64, value: u64| times(cells, times(channels, value).saturating_add(cell));
    match op {
        Op::Conv(conv) => {
            let [ci, co, group, taps] = conv_sizes(conv);
            if is_depthwise(conv) {
                times(each(1000, 10), taps)
            } else {
                // One vector that holds all channels of a group does not keep a core busy, nor are they alone: the rows
                // that a window sees are copied.
                let slow = if co <= LANES { 3 } else { 1 };
                let products = product(&[taps, ci, lanes(co), slow]);
                let copied = product(&[u64::from(conv.kernel[0]), ci, 25]);
                product(&[cells, group, products.saturating_add(copied).saturating_add(600)])
            }
        }
        Op::MaxPool(pool) | Op::AveragePool { pool, .. } => {
            times(each(100, 40), product(&[u64::from(pool.kernel[0]), u64::from(pool.kernel[1])]))
        }
        Op::Lrn { size, beta, .. } => {
            let taps = times(16, u64::from(*size).min(2 * channels));
            // Of 3/4 the power is two square roots.
            if *beta == 0.75 {
                each(2500, taps.saturating_add(40))
            } else {
                each(0, taps.saturating_add(5000))
            }
        }
        Op::Gemm(gemm) => times(u64::from(gemm.in_features), lanes(channels)),
        Op::GlobalAveragePool => {
            let cells = input.len() as u64 / channels;
            times(cells, times(channels, 50).saturating_add(10_000))
        }
        Op::Affine(_) => each(2500, 20),
        Op::Softmax => times(values, 500),
        Op::Concat | Op::Add | Op::Mul => times(values, 200),
        _ => times(values, 60),
    }
}

/// Steps that a layer is planned as: planning takes time with their square, and with that of what one of them reads.
fn steps(layer: &Layer) -> u64 {
    let own = match layer.op {
        Op::GlobalAveragePool | Op::Affine(_) => 2,
        _ => 1,
    };
    own + layer.inputs.len() as u64 / INPUTS_OF_A_STEP
}

/// Pooling one RoI: every cell that it could cover, and every bin.
fn pooling_operations(contents: &Contents, map: Shape) -> u64 {
    let cells = (map.len() / map.channels().max(1)) as u64;
    let channels = lanes(map.channels() as u64);
    let pooling = match &contents.regions {
        Regions::Warp(_) => return 0,
        Regions::RoiPooling(pooling) => pooling,
        Regions::RoiAlign(align) => {
            let bins = product(&align.pooled.map(u64::from));
            // Cells of a bin that its points lie between; as many as it has where the points follow its size.
            let of_bins = match u64::from(align.sampling_ratio) {
                0 => cells.saturating_add(times(bins, 4)),
                ratio => product(&[bins, ratio + 1, ratio + 1]),
            };
            return times(of_bins, channels);
        }
    };
    let levels = pooling.pooled.iter().map(|&[rows, columns]| {
        // Neighbouring bins share their outermost cells.
        let bins = times(u64::from(rows), u64::from(columns));
        times(cells.saturating_add(times(bins, 4)), channels)
    });
    // Most RoIs are far smaller than the image.
    sum(levels) / 4
}
