//! tract-onnx's own run of the ONNX model, against which the lowered network is checked.
//!
//! tract has no `MaxRoiPool`, so the model is run in two halves, with the plain reference RoI pooling
//! between them. An R-CNN's network is run whole, on the same crops.

use std::collections::HashSet;

use frcnn::{BBox, Detector, FeatureMap, HeadOutput, ImageBlob, Options, Roi, Session};
use frcnn_bundle::{Bundle, Regions, Shape, nominal_size};
use frcnn_core::{largest_difference, relative_difference};
use frcnn_kernels::roi_pool_reference;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::*;

use crate::error::Problem;
use crate::lower::{Lowering, to_channels_last};
use crate::magnitude::Culprit;
use crate::onnx::{float_input, model_of, value};
use crate::report::{Agreement, Drift};
use crate::split::Split;
use crate::{check_cost, culprit, finite, guard, magnitude};

/// Rounding in a different order explains differences far below this share of a stage's largest
/// magnitude; a mistake in lowering lies far above it.
const ALLOWED: f64 = 1e-3;
/// Where the trunk takes it: small, so that checking VGG16 takes seconds, and odd, so that strides and
/// ceil modes leave a remainder.
const CHECK_SIZE: [usize; 2] = [197, 259];
const CHECK_ROIS: usize = 16;
/// An R-CNN's network takes a second for each at VGG16's size.
const CHECK_CROPS: usize = 2;

/// The two halves of a model, cut out of it with their weights.
pub(crate) struct SplitModel {
    trunk: ModelProto,
    head: ModelProto,
}

/// What is needed to take a model apart once nothing borrows it any more.
pub(crate) struct OwnedSplit {
    trunk_nodes: Vec<NodeProto>,
    head_nodes: Vec<NodeProto>,
    data: String,
    feature_map: String,
    pooled: Vec<String>,
    outputs: [String; 2],
}

impl OwnedSplit {
    pub(crate) fn new(split: &Split, lowering: &Lowering) -> OwnedSplit {
        OwnedSplit {
            trunk_nodes: lowering.for_referee(&split.trunk),
            head_nodes: lowering.for_referee(&split.head),
            data: split.data.to_string(),
            feature_map: split.feature_map.to_string(),
            pooled: split.roi_pools.iter().flat_map(|pool| pool.output.clone()).collect(),
            outputs: split.outputs.map(str::to_string),
        }
    }

    /// Weights are moved, not copied: VGG16's are half a gigabyte. Only what both halves read is copied.
    pub(crate) fn apply(self, mut model: ModelProto) -> SplitModel {
        let mut weights = model.graph.take().map(|graph| graph.initializer).unwrap_or_default();
        let read_by = |nodes: &[NodeProto]| -> HashSet<String> {
            nodes.iter().flat_map(|node| &node.input).cloned().collect()
        };
        let read_later = read_by(&self.head_nodes);
        let mut part =
            |nodes: Vec<NodeProto>, inputs: &[String], outputs: &[String], later: &HashSet<String>| {
                let reads = read_by(&nodes);
                let (initializer, mut rest): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut weights).into_iter().partition(|weight| reads.contains(&weight.name));
                rest.extend(initializer.iter().filter(|weight| later.contains(&weight.name)).cloned());
                weights = rest;
                let graph = GraphProto {
                    initializer,
                    input: inputs.iter().map(|name| float_input(name)).collect(),
                    output: outputs.iter().map(|name| value(name)).collect(),
                    node: nodes,
                    ..Default::default()
                };
                model_of(graph, &model)
            };
        let trunk = part(self.trunk_nodes, &[self.data], &[self.feature_map], &read_later);
        let head = part(self.head_nodes, &self.pooled, &self.outputs, &HashSet::new());
        SplitModel { trunk, head }
    }
}

/// A seeded input and what the lowered network makes of it.
pub(crate) struct SampleRun {
    blob: ImageBlob,
    rois: Vec<Roi>,
    /// What an R-CNN's trunk read: `[R, S, S, 3]`.
    crops: Vec<f32>,
    /// What any other's trunk gave.
    map: Option<FeatureMap>,
    /// What the head read.
    features: Vec<f32>,
    output: HeadOutput,
}

impl SampleRun {
    pub(crate) fn run(bundle: &Arc<Bundle>, fixed_rois: Option<usize>) -> Result<SampleRun, Problem> {
        let contents = bundle.contents();
        let [height, width] = CHECK_SIZE;
        let fits = contents.trunk.infer(Shape::Map { height, width, channels: 3 }).is_ok();
        let (height, width) = if fits { (height, width) } else { nominal_size(contents) };
        let count = match contents.regions {
            Regions::RoiPooling(_) => fixed_rois.unwrap_or(CHECK_ROIS),
            Regions::Warp(_) => CHECK_CROPS,
        };
        let blob_size = match contents.regions {
            Regions::RoiPooling(_) => [height, width],
            Regions::Warp(warp) => [warp.side as usize; 2],
        };
        check_cost::check(contents, blob_size, count)?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let data = (0..height * width * 3).map(|_| rng.random_range(-128.0..128.0)).collect();
        let blob = ImageBlob { data, height, width, im_scale: 1.0 };
        let mut side = |len: usize| {
            let (a, b) = (rng.random_range(0.0..len as f32), rng.random_range(0.0..len as f32));
            (a.min(b), a.max(b))
        };
        let boxes: Vec<BBox> = (0..count)
            .map(|_| {
                let ((x1, x2), (y1, y2)) = (side(width), side(height));
                BBox::new(x1, y1, x2, y2)
            })
            .collect();

        let detector = Detector::new(bundle.clone(), &Options::default())?;
        let mut session = detector.session();
        let distinct = session.project(&boxes, std::slice::from_ref(&blob))?.rois;
        // Duplicates would only be dropped on one side; a model may ask for an exact number.
        let rois: Vec<Roi> = distinct.iter().copied().cycle().take(boxes.len()).collect();
        let Features { crops, map, features } = Features::new(&session, bundle, &blob, &rois)?;
        let output = session.head(&features)?;
        Ok(SampleRun { blob, rois, crops, map, features, output })
    }

    /// Compares the lowered network with tract-onnx's run of `split`. `levels` are those of RoI pooling in the model's
    /// order, `scores_first` tells the order of the model's outputs, `softmax` whether the model leaves it to the reader.
    pub(crate) fn compare(
        &self,
        split: SplitModel,
        levels: &[[u32; 2]],
        bundle: &Bundle,
        scores_first: bool,
        softmax: bool,
    ) -> Result<Agreement, Problem> {
        let Some(map) = &self.map else {
            let message = "it has no feature map".to_string();
            return Err(Problem::Referee { part: "trunk".to_string(), message });
        };
        let (height, width, channels) = (map.height(), map.width(), map.channels());
        let blob = &self.blob;
        let data = bundle.contents().network_input().of_blob(&blob.data);
        let data = to_channels_first(&data, [blob.height, blob.width, 3]);
        let data = tensor(&[1, 3, blob.height, blob.width], &data, "trunk")?;
        let data = [data];
        let trunk = run(&split.trunk, &data, "trunk")?;
        let conv = values(trunk.first(), "trunk")?;
        let shape = trunk.first().map_or(&[][..], |map| map.shape());
        if shape != [1, channels, height, width] {
            return Err(Problem::Shape {
                stage: "conv",
                found: vec![1, channels, height, width],
                expected: shape.to_vec(),
            });
        }
        let conv = to_channels_last(&conv, [height, width, channels]);
        let conv_error = error_between("conv", map.data()?, &conv);
        let is_large = conv_error.is_err() || magnitude::largest(&conv) >= magnitude::LARGE;
        let in_trunk = is_large.then(|| too_large(&split.trunk, &data)).flatten();
        drop(split.trunk);
        let conv_error = match conv_error {
            Ok(error) => error,
            Err(problem) => return Err(Culprit::explain(in_trunk, problem)),
        };

        let view = frcnn_kernels::FeatureMap::new(&conv, height, width, channels)
            .map_err(|error| Problem::Runtime(error.into()))?;
        let pooled: Result<Vec<Tensor>, Problem> =
            levels.iter().map(|&level| pooled(view, &self.rois, level)).collect();
        let pooled = pooled?;
        let head = run(&split.head, &pooled, "head")?;
        let (scores, boxes) = if scores_first { (0, 1) } else { (1, 0) };
        let mut scores = values(head.get(scores), "head")?;
        if softmax {
            softmax_rows(&mut scores, bundle.contents().manifest.classes.len());
        }
        let boxes = values(head.get(boxes), "head")?;
        self.agreement([blob.height, blob.width], conv_error, &scores, &boxes).map_err(|problem| {
            let culprit = in_trunk.or_else(|| too_large(&split.head, &pooled));
            Culprit::explain(culprit, problem)
        })
    }

    /// Compares the lowered R-CNN with tract-onnx's run of `network`, which gives the trunk's map, margins and box deltas of
    /// a crop of `side` pixels.
    pub(crate) fn compare_crops(
        &self,
        network: &ModelProto,
        side: usize,
        bundle: &Bundle,
    ) -> Result<Agreement, Problem> {
        let input = bundle.contents().network_input();
        let [mut conv, mut scores, mut boxes] = [const { Vec::new() }; 3];
        let mut crops = Vec::new();
        // One after the other: a classifier may be exported for a batch of one.
        for crop in self.crops.chunks_exact((side * side * 3).max(1)) {
            let crop = to_channels_first(&input.of_blob(crop), [side, side, 3]);
            let crop = [tensor(&[1, 3, side, side], &crop, "network")?];
            let made = run(network, &crop, "network")?;
            crops.push(crop);
            let map = made.first();
            let &[1, channels, height, width] = map.map_or(&[][..], |map| map.shape()) else {
                let message = "its trunk gave no map".to_string();
                return Err(Problem::Referee { part: "network".to_string(), message });
            };
            conv.extend(to_channels_last(&values(map, "network")?, [height, width, channels]));
            scores.extend(values(made.get(1), "network")?);
            boxes.extend(values(made.get(2), "network")?);
        }
        let conv_error = error_between("conv", &self.features, &conv);
        conv_error.and_then(|error| self.agreement([side; 2], error, &scores, &boxes)).map_err(|problem| {
            let culprit = crops.iter().find_map(|crop| too_large(network, crop));
            Culprit::explain(culprit, problem)
        })
    }

    fn agreement(
        &self,
        blob: [usize; 2],
        conv: f64,
        scores: &[f32],
        boxes: &[f32],
    ) -> Result<Agreement, Problem> {
        Ok(Agreement {
            blob,
            rois: self.rois.len(),
            conv,
            cls_prob: error_between("cls_prob", &self.output.cls_prob, scores)?,
            bbox_pred: error_between("bbox_pred", &self.output.bbox_pred, boxes)?,
        })
    }

    /// What `factored` makes of the same features, against this sample's network.
    pub(crate) fn drift(&self, factored: &Arc<Bundle>) -> Result<Drift, Problem> {
        let output = Detector::new(factored.clone(), &Options::default())?.session().head(&self.features)?;
        Ok(drift(&self.output, &output))
    }

    /// What `rounded` makes of the same blob, against `exact`, its network in f32.
    pub(crate) fn rounding(&self, exact: &Arc<Bundle>, rounded: &Arc<Bundle>) -> Result<Drift, Problem> {
        let run = |bundle: &Arc<Bundle>| -> Result<HeadOutput, Problem> {
            let mut session = Detector::new(bundle.clone(), &Options::default())?.session();
            let Features { features, .. } = Features::new(&session, bundle, &self.blob, &self.rois)?;
            Ok(session.head(&features)?)
        };
        Ok(drift(&run(exact)?, &run(rounded)?))
    }
}

/// What lies between a blob and the head.
struct Features {
    crops: Vec<f32>,
    map: Option<FeatureMap>,
    features: Vec<f32>,
}

impl Features {
    fn new(session: &Session, bundle: &Bundle, blob: &ImageBlob, rois: &[Roi]) -> Result<Features, Problem> {
        Ok(match bundle.contents().regions {
            Regions::RoiPooling(_) => {
                let map = session.trunk(blob)?;
                let features = session.roi_pool(std::slice::from_ref(&map), rois)?;
                Features { crops: Vec::new(), map: Some(map), features }
            }
            Regions::Warp(_) => {
                let crops = session.warp(blob, rois)?;
                Features { features: session.trunk_of_crops(&crops)?, crops, map: None }
            }
        })
    }
}

/// One level of RoI pooling, by its definition, as ONNX has it.
fn pooled(map: frcnn_kernels::FeatureMap<'_>, rois: &[Roi], level: [u32; 2]) -> Result<Tensor, Problem> {
    let [height, width] = level.map(|p| p as usize);
    let channels = map.channels();
    let mut pooled = vec![0.0; rois.len() * height * width * channels];
    roi_pool_reference(map, rois, [height, width], &mut pooled, None)
        .map_err(|error| Problem::Runtime(error.into()))?;
    let pooled: Vec<f32> = pooled
        .chunks_exact((height * width * channels).max(1))
        .flat_map(|roi| to_channels_first(roi, [height, width, channels]))
        .collect();
    tensor(&[rois.len(), channels, height, width], &pooled, "head")
}

fn drift(before: &HeadOutput, after: &HeadOutput) -> Drift {
    Drift {
        cls_prob: largest_difference(&after.cls_prob, &before.cls_prob),
        bbox_pred: largest_difference(&after.bbox_pred, &before.bbox_pred),
    }
}

/// Runs one half of a model, or the whole of it; where that fails the error names the node.
fn run(model: &ModelProto, inputs: &[Tensor], part: &str) -> Result<TVec<TValue>, Problem> {
    let run = |model: &ModelProto| try_run(model, inputs, part);
    run(model).map_err(|problem| culprit::named(problem, model, |model| run(model).is_ok()))
}

fn try_run(model: &ModelProto, inputs: &[Tensor], part: &str) -> Result<TVec<TValue>, Problem> {
    guard::tract(part, || {
        let mut parsed = tract_onnx::onnx().with_ignore_value_info(true).parse(model, None)?.model;
        for (position, input) in inputs.iter().enumerate() {
            parsed.set_input_fact(position, f32::fact(input.shape()).into())?;
        }
        let plan = parsed.into_optimized()?.into_runnable()?;
        plan.run(inputs.iter().map(|input| input.clone().into_tvalue()).collect())
    })
}

/// The first layer of `model` whose values are too large for f32, if there is one.
fn too_large(model: &ModelProto, inputs: &[Tensor]) -> Option<Culprit> {
    magnitude::find(model, |model| Some(try_run(model, inputs, "network").ok()?.into_vec()))
}

fn tensor(shape: &[usize], data: &[f32], part: &str) -> Result<Tensor, Problem> {
    Tensor::from_shape(shape, data).map_err(|error| guard::refused(part, &error))
}

fn values(tensor: Option<&TValue>, part: &str) -> Result<Vec<f32>, Problem> {
    tensor
        .and_then(|tensor| crate::constants::floats(tensor))
        .ok_or_else(|| Problem::Referee { part: part.to_string(), message: "it gave no numbers".to_string() })
}

/// The largest difference relative to the largest magnitude of `expected`, if rounding explains it.
fn error_between(stage: &'static str, found: &[f32], expected: &[f32]) -> Result<f64, Problem> {
    let count = finite::count(expected);
    if count > 0 {
        return Err(Problem::NotFiniteOutput { stage, count, total: expected.len() });
    }
    let error = relative_difference(found, expected);
    if error <= ALLOWED { Ok(error) } else { Err(Problem::Disagreement { stage, error, allowed: ALLOWED }) }
}

fn softmax_rows(scores: &mut [f32], classes: usize) {
    for row in scores.chunks_exact_mut(classes.max(1)) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
        let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
        for value in row {
            *value = (f64::from(*value - largest).exp() / sum) as f32;
        }
    }
}

/// `[H, W, C]` values to `[C, H, W]`.
fn to_channels_first(values: &[f32], [height, width, channels]: [usize; 3]) -> Vec<f32> {
    let pixels = height * width;
    (0..channels).flat_map(|c| (0..pixels).map(move |pixel| values[pixel * channels + c])).collect()
}

#[cfg(test)]
mod tests;
