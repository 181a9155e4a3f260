//! What one frame asks of a machine: counted from a bundle's contents before anything of it is reserved.
//!
//! The counts are upper bounds of what the runtime does, close where networks are as they are published:
//!
//! - a layer's weights as the algorithm packs them that wants most of them;
//! - maps as the runtime keeps them, which hands a tensor's memory on to one of the same length alone;
//! - what a layer copies of its input, for each thread;
//! - predictions of all RoIs.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Conv, Error, Graph, Layer, Op, Precision, Regions, Shape, nominal_blobs};
use frcnn_kernels::{Bf16Isa, Cpu, PreparedLinear};
use serde::Serialize;

use super::{shapes, sum};
use crate::crops::{HEAD_BATCH, TRUNK_BATCH};
use crate::head::{CHUNK_BYTES, CHUNK_ROWS, POOLED_ROWS};
use crate::ops::conv_shape;

/// RoIs for which a bundle is judged when it is opened: what selective search gives of a photo.
pub const NOMINAL_ROIS: usize = 2000;

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
    /// Layers of both graphs as they are planned: some count twice, and those that read many values once more for each
    /// eight of them.
    pub layers: u64,
    /// Bytes of weights, packed.
    pub weight_bytes: u64,
    /// Bytes of blobs and maps.
    pub map_bytes: u64,
    /// Bytes that layers copy for themselves.
    pub scratch_bytes: u64,
    /// Bytes of regions and predictions.
    pub roi_bytes: u64,
    /// All of these bytes.
    pub memory: u64,
    /// Operations, of which a core does about 1e11 a second: multiply-accumulates, of partly filled vectors all lanes, and
    /// what other work takes the time of. The trunk's on all blobs, and the head's on at most [`NOMINAL_ROIS`] RoIs; of
    /// R-CNN those of 128 regions.
    pub operations: u64,
}

impl Demand {
    /// That of a 4:3 photo at the manifest's scales with [`NOMINAL_ROIS`] RoIs.
    ///
    /// # Errors
    /// The graphs do not fit such a photo.
    pub fn nominal(contents: &Contents, threads: usize) -> Result<Demand, Error> {
        Demand::new(contents, &nominal_blobs(contents), NOMINAL_ROIS, threads)
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
        let trunk = TrunkDemand::new(contents, blobs, threads as u64)?;
        let head = HeadDemand::new(contents, trunk.map, rois as u64, threads as u64)?;
        let is_rcnn = matches!(contents.regions, Regions::Warp(_));
        let regions = rois.min(NOMINAL_ROIS) as u64;
        let operations = if is_rcnn {
            let per_region = trunk.operations.saturating_add(head.operations_per_roi);
            times(per_region, regions.min(RCNN_REGIONS))
        } else {
            trunk.operations.saturating_add(times(head.operations_per_roi, regions))
        };
        let blob_bytes = sum(blobs.iter().map(|&blob| image(blob).bytes()));
        let map_bytes = sum([blob_bytes, trunk.map_bytes, head.map_bytes].into_iter());
        let scratch_bytes = trunk.scratch_bytes.max(head.scratch_bytes);
        let layers = || contents.trunk.layers.iter().chain(&contents.head.layers);
        let weight_bytes = sum(layers().map(|layer| packed_bytes(contents, &layer.op)));
        Ok(Demand {
            blobs: blobs.to_vec(),
            rois,
            layers: sum(layers().map(steps)),
            weight_bytes,
            map_bytes,
            scratch_bytes,
            roi_bytes: head.roi_bytes,
            memory: sum([weight_bytes, map_bytes, scratch_bytes, head.roi_bytes].into_iter()),
            operations,
        })
    }
}

fn image([height, width]: [usize; 2]) -> Shape {
    Shape::Map { height, width, channels: 3 }
}

/// What the trunk asks for, on all blobs; of R-CNN on one batch of crops, with the operations of one.
struct TrunkDemand {
    /// What it gives.
    map: Shape,
    map_bytes: u64,
    scratch_bytes: u64,
    operations: u64,
}

impl TrunkDemand {
    fn new(contents: &Contents, blobs: &[[usize; 2]], threads: u64) -> Result<TrunkDemand, Error> {
        let crop = match contents.regions {
            Regions::RoiPooling(_) => None,
            Regions::Warp(warp) => Some([[warp.side as usize; 2]]),
        };
        let (read, batch) = match &crop {
            None => (blobs, 1),
            Some(crop) => (&crop[..], TRUNK_BATCH as u64),
        };
        let trunk = &contents.trunk;
        let (mut scratch_bytes, mut operations) = (0u64, 0u64);
        // The tensors of each run, and the maps that the head reads of all of them.
        let (mut tensors, mut kept) = (vec![], vec![]);
        let mut map = Shape::Flat { features: 0 };
        for &blob in read {
            let values = shapes(trunk, image(blob))?;
            let made = trunk.outputs.first().and_then(|&value| values.get(value as usize)).copied();
            map = made.unwrap_or(map);
            kept.push(times(map.bytes(), batch));
            tensors.push(times(tensor_bytes(trunk, &values), batch));
            scratch_bytes = scratch_bytes.max(graph_scratch(trunk, &values, batch, threads));
            operations = operations.saturating_add(graph_operations(trunk, &values));
        }
        // Tensors of two runs before are still there.
        tensors.sort_unstable();
        let map_bytes = sum(tensors.into_iter().rev().take(3).chain(kept));
        Ok(TrunkDemand { map, map_bytes, scratch_bytes, operations })
    }
}

/// What the head asks for, on all RoIs.
struct HeadDemand {
    map_bytes: u64,
    scratch_bytes: u64,
    roi_bytes: u64,
    operations_per_roi: u64,
}

impl HeadDemand {
    /// `map` is what the trunk gives.
    fn new(contents: &Contents, map: Shape, rois: u64, threads: u64) -> Result<HeadDemand, Error> {
        let head = &contents.head;
        let region = contents.region_shape(map);
        let values = shapes(head, region)?;
        let at_once =
            (CHUNK_BYTES as u64 / region.bytes().max(1)).clamp(64, CHUNK_ROWS as u64).min(rois.max(1));
        let tensors = times(tensor_bytes(head, &values), at_once);
        // What the layers make that pool for themselves.
        let products = head.layers.iter().zip(values.iter().skip(1));
        let products = products.filter(|(layer, _)| matches!(layer.op, Op::Gemm(_)));
        let pooled = sum(products.map(|(_, made)| made.bytes()).take(2));
        let pooled = times(pooled, rois.min(POOLED_ROWS as u64));
        // Scores and deltas; a box, an RoI, its index and a candidate.
        let classes = contents.manifest.classes.len() as u64;
        let predictions = times(classes * 5 * 4 + 100, rois);
        let features = match contents.regions {
            Regions::RoiPooling(_) => 0,
            Regions::Warp(_) => times(region.bytes(), rois.min(HEAD_BATCH as u64)),
        };
        Ok(HeadDemand {
            map_bytes: tensors.saturating_add(pooled),
            scratch_bytes: graph_scratch(head, &values, at_once, threads),
            roi_bytes: predictions.saturating_add(features),
            operations_per_roi: graph_operations(head, &values)
                .saturating_add(pooling_operations(contents, map)),
        })
    }
}

fn times(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, times)
}

/// Channels in whole vectors.
fn lanes(channels: u64) -> u64 {
    channels.next_multiple_of(LANES)
}

/// Bytes of all tensors that a run makes: one is used again for a value of the same length once its own has been read
/// for the last time.
fn tensor_bytes(graph: &Graph, shapes: &[Shape]) -> u64 {
    let fused = fused(graph);
    let is_fused = |value: u32| {
        value.checked_sub(1).and_then(|maker| fused.get(maker as usize)).is_some_and(|&fused| fused)
    };
    let bytes = |value: u32| shapes.get(value as usize).map_or(0, Shape::bytes);
    let mut idle: HashMap<u64, u64> = HashMap::new();
    let mut all = bytes(0);
    for (made, done) in (1..).zip(graph.last_read()) {
        if !is_fused(made) {
            match idle.get_mut(&bytes(made)) {
                Some(free) if *free > 0 => *free -= 1,
                _ => all = all.saturating_add(bytes(made)),
            }
        }
        for value in done.into_iter().filter(|&value| !is_fused(value)) {
            *idle.entry(bytes(value)).or_default() += 1;
        }
    }
    all
}

/// For each layer whether what it gives is never a tensor of its own: it goes into a ReLU, or as 3x3 convolution by
/// Winograd's algorithm into a 2x2 max pooling.
fn fused(graph: &Graph) -> Vec<bool> {
    let mut readers = vec![0u32; graph.layers.len() + 1];
    for &value in graph.layers.iter().flat_map(|layer| &layer.inputs).chain(&graph.outputs) {
        if let Some(readers) = readers.get_mut(value as usize) {
            *readers += 1;
        }
    }
    let mut fused = vec![false; graph.layers.len()];
    let maker = |value: u32| value.checked_sub(1).map(|maker| maker as usize);
    for layer in &graph.layers {
        let Some(before) = layer.inputs.first().copied().and_then(maker) else { continue };
        let Some(reads) = graph.layers.get(before) else { continue };
        let once = readers.get(before + 1) == Some(&1);
        let conv = match (&layer.op, &reads.op) {
            (Op::Relu, Op::Conv(_) | Op::Gemm(_)) => true,
            (Op::MaxPool(_), Op::Relu) => {
                // The ReLU has been found to be its convolution's.
                let conv = reads.inputs.first().copied().and_then(maker);
                conv.is_some_and(|conv| {
                    fused[conv] && graph.layers.get(conv).is_some_and(|l| pools(&layer.op, &l.op))
                })
            }
            (pool @ Op::MaxPool(_), conv) => pools(pool, conv),
            _ => false,
        };
        fused[before] = conv && once;
    }
    fused
}

fn pools(pool: &Op, conv: &Op) -> bool {
    match (pool, conv) {
        (Op::MaxPool(pool), Op::Conv(conv)) => {
            let wide = conv.in_channels.min(conv.out_channels) / conv.group.max(1) >= 32;
            (pool.kernel, pool.stride, pool.pads) == ([2, 2], [2, 2], [0; 4]) && is_winograd(conv) && wide
        }
        _ => false,
    }
}

fn is_winograd(conv: &Conv) -> bool {
    (conv.kernel, conv.stride, conv.dilation) == ([3, 3], [1, 1], [1, 1]) && !is_depthwise(conv)
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

/// Bytes of a layer's weights for its kernel, at most.
fn packed_bytes(contents: &Contents, op: &Op) -> u64 {
    match op {
        Op::Conv(conv) => conv_shape(conv, [1, 0, 0]).max_weight_bytes(Cpu::detect()) as u64,
        Op::Gemm(gemm) => {
            let [k, n] = [gemm.in_features, gemm.out_features].map(|features| features as usize);
            let bytes = PreparedLinear::max_weight_bytes(k, n) as u64;
            // Weights of 16 bits stay so, but where AMX splits f16 ones into two bf16 values.
            match contents.sections.get(gemm.weight as usize).map(|section| section.precision) {
                Some(Precision::Bf16) => bytes / 2,
                Some(Precision::F16) if Bf16Isa::detect() != Some(Bf16Isa::Amx) => bytes / 2,
                _ => bytes,
            }
        }
        op => sum(op
            .sections()
            .filter_map(|id| contents.sections.get(id as usize))
            .map(|section| section.bytes)),
    }
}

/// Bytes that threads need to run a layer of a graph: patches, copied rows or transformed tiles.
fn graph_scratch(graph: &Graph, shapes: &[Shape], batch: u64, threads: u64) -> u64 {
    let bytes = graph.layers.iter().map(|layer| {
        let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
        match (&layer.op, input) {
            (Op::Conv(conv), Some(&Shape::Map { height, width, .. })) => {
                let shape = conv_shape(conv, [batch as usize, height, width]);
                shape.max_scratch_bytes(Cpu::detect(), threads as usize) as u64
            }
            _ => 0,
        }
    });
    bytes.max().unwrap_or(0)
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
    let Regions::RoiPooling(pooling) = &contents.regions else { return 0 };
    let cells = (map.len() / map.channels().max(1)) as u64;
    let levels = pooling.pooled.iter().map(|&[rows, columns]| {
        // Neighbouring bins share their outermost cells.
        let bins = times(u64::from(rows), u64::from(columns));
        times(cells.saturating_add(times(bins, 4)), lanes(map.channels() as u64))
    });
    // Most RoIs are far smaller than the image.
    sum(levels) / 4
}
