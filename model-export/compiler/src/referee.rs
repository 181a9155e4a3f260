//! tract-onnx's own run of the ONNX model, against which the lowered network is checked.
//!
//! tract has no `MaxRoiPool`, so the model is run in two halves, with the plain reference RoI pooling
//! between them. An R-CNN's network is run whole, on the same crops.

mod parts;
mod regions;

use frcnn::{BBox, Detector, F32Products, FeatureMap, HeadOutput, ImageBlob, Options, RpnOutput};
use frcnn_bundle::{Bundle, Regions, Shape, nominal_size};
use frcnn_core::{largest_difference, relative_difference};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;
use std::sync::Arc;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use crate::error::Problem;
use crate::lower::to_channels_last;
use crate::magnitude::Culprit;
use crate::report::{Agreement, Drift};
use crate::{check_cost, culprit, finite, guard, magnitude};
use regions::{Features, Pooled, SampleRois};

pub(crate) use parts::{OwnedSplit, SplitModel};

/// Rounding in a different order explains differences far below this share of a stage's largest
/// magnitude; a mistake in lowering lies far above it.
const ALLOWED: f64 = 1e-3;
/// Where the trunk takes it: small, so that checking VGG16 takes seconds, and odd, so that strides and
/// ceil modes leave a remainder, unless blobs are padded to multiples.
const CHECK_SIZE: [usize; 2] = [197, 259];
const CHECK_ROIS: usize = 16;
/// An R-CNN's network takes a second for each at VGG16's size.
const CHECK_CROPS: usize = 2;

/// A seeded input and what the lowered network makes of it.
#[derive(Debug)]
pub(crate) struct SampleRun {
    blob: ImageBlob,
    rois: SampleRois,
    /// What an R-CNN's trunk read: `[R, S, S, 3]`.
    crops: Vec<f32>,
    /// What any other's trunk gave.
    maps: Vec<FeatureMap>,
    /// What the RPN gives of the first map, if there is one.
    rpn: Option<RpnOutput>,
    /// What the head read.
    features: Vec<f32>,
    output: HeadOutput,
}

impl SampleRun {
    pub(crate) fn run(bundle: &Arc<Bundle>, fixed_rois: Option<usize>) -> Result<SampleRun, Problem> {
        let contents = bundle.contents();
        // Layers may rely on sides that are padded so: detectron2's pyramids double the size of a map.
        let multiple = (contents.manifest.pad_multiple as usize).max(1);
        let [height, width] = CHECK_SIZE.map(|side| side.next_multiple_of(multiple));
        let fits = contents.trunk.infer(Shape::Map { height, width, channels: 3 }).is_ok();
        let (height, width) = if fits { (height, width) } else { nominal_size(contents) };
        let count = match contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => fixed_rois.unwrap_or(CHECK_ROIS),
            Regions::Warp(_) => CHECK_CROPS,
        };
        let blob_size = match contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => [height, width],
            Regions::Warp(warp) => [warp.side as usize; 2],
        };
        check_cost::check(contents, blob_size, count)?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let data = (0..height * width * 3).map(|_| rng.random_range(-128.0..128.0)).collect();
        let blob = ImageBlob::new(data, height, width, 1.0);
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

        let detector = plain(bundle)?;
        let mut session = detector.session();
        let rois = SampleRois::new(&session, bundle, &boxes, &blob)?;
        let Features { crops, maps, features } = Features::new(&session, bundle, &blob, &rois)?;
        let rpn = match (&contents.rpn, maps.first()) {
            (Some(_), Some(map)) => Some(session.rpn(map)?),
            _ => None,
        };
        let output = session.head(&features)?;
        Ok(SampleRun { blob, rois, crops, maps, rpn, features, output })
    }

    /// Compares the lowered network with tract-onnx's run of `split`. `levels` are those of RoI pooling in the model's
    /// order, `scores_first` tells the order of the model's outputs, `softmax` whether the model leaves it to the reader.
    pub(crate) fn compare(
        &self,
        split: SplitModel,
        levels: &[[u32; 2]],
        bundle: &Arc<Bundle>,
        scores_first: bool,
        softmax: bool,
    ) -> Result<Agreement, Problem> {
        let blob = &self.blob;
        let data = bundle.contents().network_input().of_blob(&blob.data);
        let data = to_channels_first(&data, [blob.height, blob.width, 3]);
        let data = [tensor(&[1, 3, blob.height, blob.width], &data, "trunk")?];
        let trunk = run(&split.trunk, &data, "trunk")?;
        let (maps, errors): (Vec<Vec<f32>>, Vec<_>) = self
            .maps
            .iter()
            .enumerate()
            .map(|(position, map)| map_error(map, trunk.get(position), "conv"))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let is_large = |map: &Vec<f32>, error: &Result<f64, Problem>| {
            error.is_err() || magnitude::largest(map) >= magnitude::LARGE
        };
        let is_large = maps.iter().zip(&errors).any(|(map, error)| is_large(map, error));
        let in_trunk = is_large.then(|| too_large(&split.trunk, &data)).flatten();
        drop(split.trunk);
        let mut conv: f64 = 0.0;
        for error in errors {
            match error {
                Ok(error) => conv = conv.max(error),
                Err(problem) => return Err(Culprit::explain(in_trunk, problem)),
            }
        }
        let rpn = match (&split.rpn, &self.rpn, trunk.first()) {
            (Some(model), Some(found), Some(map)) => {
                Some(self.compare_rpn(model, found, map, in_trunk.as_ref())?)
            }
            _ => None,
        };

        let views: Vec<frcnn_kernels::FeatureMap> = self
            .maps
            .iter()
            .zip(&maps)
            .map(|(map, values)| {
                frcnn_kernels::FeatureMap::new(values, map.height(), map.width(), map.channels())
            })
            .collect::<Result<_, _>>()
            .map_err(|error| Problem::Runtime(error.into()))?;
        let pooled = regions::pooled(&views, &self.rois, levels, bundle)?;
        let output = self.head_of(&pooled, bundle)?;
        let pooled: Vec<Tensor> =
            pooled.iter().map(|pooled| self.pooled_tensor(pooled)).collect::<Result<_, _>>()?;
        let head = run(&split.head, &pooled, "head")?;
        let (scores, boxes) = if scores_first { (0, 1) } else { (1, 0) };
        let mut scores = values(head.get(scores), "head")?;
        if softmax {
            softmax_rows(&mut scores, bundle.contents().manifest.classes.len());
        }
        let boxes = values(head.get(boxes), "head")?;
        let agreement =
            self.agreement([blob.height, blob.width], conv, &output, &scores, &boxes).map_err(|problem| {
                let culprit = in_trunk.or_else(|| too_large(&split.head, &pooled));
                Culprit::explain(culprit, problem)
            })?;
        Ok(Agreement { rpn, ..agreement })
    }

    /// What the runtime's head makes of regions that the head of tract-onnx reads as well. Of RoIAlign's these are sampled from the
    /// maps of tract-onnx, and held against the runtime's own: rounding in a deep trunk and in the head do not add up then.
    fn head_of(&self, pooled: &[Pooled], bundle: &Arc<Bundle>) -> Result<Cow<'_, HeadOutput>, Problem> {
        let (SampleRois::Aligned(_), [regions]) = (&self.rois, pooled) else {
            return Ok(Cow::Borrowed(&self.output));
        };
        error_between("roi_align", &self.features, &regions.values)?;
        let detector = plain(bundle)?;
        Ok(Cow::Owned(detector.session().head(&regions.values)?))
    }

    /// Holds the RPN's head against tract-onnx's run of it, on the first map that tract-onnx gave.
    fn compare_rpn(
        &self,
        model: &ModelProto,
        found: &RpnOutput,
        map: &TValue,
        in_trunk: Option<&Culprit>,
    ) -> Result<f64, Problem> {
        let input = [map.clone().into_tensor()];
        let given = run(model, &input, "RPN")?;
        let mut largest: f64 = 0.0;
        for (position, (map, stage)) in
            [(&found.logits, "rpn_logits"), (&found.deltas, "rpn_deltas")].into_iter().enumerate()
        {
            let (_, error) = map_error(map, given.get(position), stage)?;
            largest = largest.max(error.map_err(|problem| {
                let culprit = in_trunk.cloned().or_else(|| too_large(model, &input));
                Culprit::explain(culprit, problem)
            })?);
        }
        Ok(largest)
    }

    /// Regions as ONNX has them, `[R, C, P, P]`.
    fn pooled_tensor(&self, pooled: &Pooled) -> Result<Tensor, Problem> {
        let [height, width, channels] = pooled.region;
        let values: Vec<f32> = pooled
            .values
            .chunks_exact((height * width * channels).max(1))
            .flat_map(|roi| to_channels_first(roi, pooled.region))
            .collect();
        tensor(&[self.rois.len(), channels, height, width], &values, "head")
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
        conv_error.and_then(|error| self.agreement([side; 2], error, &self.output, &scores, &boxes)).map_err(
            |problem| {
                let culprit = crops.iter().find_map(|crop| too_large(network, crop));
                Culprit::explain(culprit, problem)
            },
        )
    }

    fn agreement(
        &self,
        blob: [usize; 2],
        conv: f64,
        output: &HeadOutput,
        scores: &[f32],
        boxes: &[f32],
    ) -> Result<Agreement, Problem> {
        Ok(Agreement {
            blob,
            rois: self.rois.len(),
            conv,
            cls_prob: error_between("cls_prob", &output.cls_prob, scores)?,
            bbox_pred: error_between("bbox_pred", &output.bbox_pred, boxes)?,
            rpn: None,
        })
    }

    /// What `factored` makes of the same features, against this sample's network.
    pub(crate) fn drift(&self, factored: &Arc<Bundle>) -> Result<Drift, Problem> {
        let output = plain(factored)?.session().head(&self.features)?;
        Ok(drift(&self.output, &output))
    }

    /// What `rounded` makes of the same blob, against `exact`, its network in f32.
    pub(crate) fn rounding(&self, exact: &Arc<Bundle>, rounded: &Arc<Bundle>) -> Result<Drift, Problem> {
        let run = |bundle: &Arc<Bundle>| -> Result<HeadOutput, Problem> {
            let mut session = plain(bundle)?.session();
            let Features { features, .. } = Features::new(&session, bundle, &self.blob, &self.rois)?;
            Ok(session.head(&features)?)
        };
        Ok(drift(&run(exact)?, &run(rounded)?))
    }
}

/// A detector whose products are those of f32 on every CPU: the lowering is held against tract-onnx, and not what AMX rounds, which a
/// head that takes a small difference of large numbers makes many times larger.
fn plain(bundle: &Arc<Bundle>) -> Result<Detector, frcnn::Error> {
    Detector::new(bundle.clone(), &Options::default().with_f32_products(F32Products::Exact))
}

/// tract-onnx's values of one map, channels last, and how far the runtime's are from them.
fn map_error(
    map: &FeatureMap,
    given: Option<&TValue>,
    stage: &'static str,
) -> Result<(Vec<f32>, Result<f64, Problem>), Problem> {
    let (height, width, channels) = (map.height(), map.width(), map.channels());
    let shape = given.map_or(&[][..], |map| map.shape());
    if shape != [1, channels, height, width] {
        return Err(Problem::Shape {
            stage,
            found: vec![1, channels, height, width],
            expected: shape.to_vec(),
        });
    }
    let expected = to_channels_last(&values(given, "trunk")?, [height, width, channels]);
    let error = error_between(stage, map.data()?, &expected);
    Ok((expected, error))
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
