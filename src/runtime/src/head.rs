//! The head: features of RoIs to class scores and box deltas.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use frcnn_bundle::{Contents, Factored, Gemm, Graph, Op, Regions, Shape};
use frcnn_core::{Roi, ShapeError};
use frcnn_files::try_reserve;
use frcnn_kernels::{KOrder, Step, roi_pool_into, roi_pool_linear_into};
use tract_core::internal::*;

use crate::fusion::Fusion;
use crate::ops::Resources;
use crate::plan::{Plan, values};
use crate::planned::{PlannedLayer, planned};
use crate::pooled_linear::PooledLinear;
use crate::{Error, FeatureMap};

/// Bytes of features that the head's plan takes at once: enough rows to keep its products busy, few enough that 100,000
/// RoIs fit on a board.
pub(crate) const CHUNK_BYTES: usize = 12 << 20;
/// Rows at once, at most: a layer of 4096 features makes 8 MiB of them, which an L3 keeps.
pub(crate) const CHUNK_ROWS: usize = 512;
/// RoIs pooled and multiplied at once, for whose sake the weights are read once: 16 MiB of 1024 features.
pub(crate) const POOLED_ROWS: usize = 4096;

/// What the head gives for `R` RoIs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadOutput {
    /// `[R, K + 1]`: scores as the manifest says what they are, probabilities or margins.
    pub cls_prob: Vec<f32>,
    /// `[R, 4 (K + 1)]`: tx, ty, tw, th of each class.
    pub bbox_pred: Vec<f32>,
}

/// A tensor by its published blob name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Such as `fc6`; as in the published networks, a layer's blob is what its ReLU left in it.
    pub name: String,
    /// `[R, ...]`, channels last.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Vec<f32>,
}

/// The head of one detector.
#[derive(Debug)]
pub(crate) struct Head {
    resources: Resources,
    /// Of the whole head, or of what comes after `first`.
    plan: Plan,
    first: Option<PooledLinear>,
    /// `[P, P, C]` of one RoI, or `[features]` where it is pooled to several levels.
    input: TVec<usize>,
    /// The levels that RoIs are pooled to; none where they are not pooled.
    levels: Vec<[usize; 2]>,
}

/// What the head reads.
#[derive(Clone, Copy)]
pub(crate) enum HeadInput<'a> {
    /// RoIs of feature maps, one for each level of the image pyramid.
    Maps(&'a [FeatureMap], &'a [Roi]),
    /// `[R, ...]`, pooled already or not to be pooled.
    Features(&'a [f32]),
}

impl Head {
    pub(crate) fn new(region: Shape, resources: &Resources) -> Result<Head, Error> {
        let resources = resources.with_own_tensors();
        let contents = &resources.network.contents;
        let graph = &contents.head;
        let input = match region {
            Shape::Map { height, width, channels } => tvec!(height, width, channels),
            Shape::Flat { features } => tvec!(features),
        };
        let first = PooledLinear::of(graph);
        let plan = match &first {
            Some(first) => {
                let rest = &first.rest;
                plan(rest, &[first.gemm.out_features as usize], &rest.outputs, &resources)?
            }
            None => plan(graph, &input, &graph.outputs, &resources)?,
        };
        let levels = levels(contents);
        Ok(Head { resources, plan, first, input, levels })
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        let (resources, head) = (&self.resources, &self.resources.network.contents.head);
        let graph = self.first.as_ref().map_or(head, |first| &first.rest);
        let fusion = Fusion::new(graph, &graph.outputs, &resources.weights.convs);
        let first = self.first.iter().map(|first| {
            let beside = if first.boxes.is_some() { ", one product with the box regressors" } else { "" };
            let pooled = if self.levels.is_empty() { "" } else { ", fused with RoI pooling" };
            let relu = if first.relu { " + ReLU" } else { "" };
            let by = format!("GEMM, pre-packed{pooled}{beside}{relu}");
            PlannedLayer { graph: "head", layer: first.name.clone(), op: "Gemm", by, reason: None }
        });
        first.chain(planned("head", graph, &fusion, &resources.weights)).collect()
    }

    /// Values that it reads of one RoI.
    pub(crate) fn features(&self) -> usize {
        self.input.iter().product()
    }

    /// Appends the predictions for `regions` to `output`. `after` is called after each step of the work.
    pub(crate) fn run(
        &self,
        regions: HeadInput<'_>,
        output: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let _run = self.resources.tensors.run();
        let rows = regions.rows(self.features());
        let classes = self.resources.network.contents.manifest.classes.len();
        try_reserve(&mut output.cls_prob, rows.saturating_mul(classes)).map_err(Error::memory("scores"))?;
        try_reserve(&mut output.bbox_pred, rows.saturating_mul(4 * classes))
            .map_err(Error::memory("box deltas"))?;
        match &self.first {
            Some(first) => {
                let mut chunks = regions.chunks(POOLED_ROWS, self.features());
                chunks.try_for_each(|regions| self.run_pooled_linear(first, regions, output, after))
            }
            None => {
                let rows = (CHUNK_BYTES / 4 / self.features().max(1)).clamp(64, CHUNK_ROWS);
                let mut chunks = regions.chunks(rows, self.features());
                chunks.try_for_each(|regions| self.run_pooled(regions, output, after))
            }
        }
    }

    /// A head whose first layer runs as one with RoI pooling: that layer for all `regions`, by which its weights are read
    /// once, then what comes after it for a chunk of its rows at a time.
    fn run_pooled_linear(
        &self,
        first: &PooledLinear,
        regions: HeadInput<'_>,
        output: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let graph_error = Error::graph("head");
        let tensors = &self.resources.tensors;
        let rows = regions.rows(self.features());
        let [features, boxes] = first.out_features();
        let made = tensors.make(&[rows, features + boxes], |made| self.first(first, regions, made, after));
        let made = made.map_err(&graph_error)?;
        if rows <= CHUNK_ROWS && boxes == 0 {
            self.run_plan(made, output)?;
        } else {
            let row = (features + boxes).max(1);
            for made in values("head", &made)?.chunks(CHUNK_ROWS * row) {
                // A copy, for a tensor of tract's owns its memory and cannot be some rows of another.
                let input = tensors.make(&[made.len() / row, features], |input| {
                    first.copy_features(made, input);
                    Ok(())
                });
                self.run_plan(input.map_err(&graph_error)?, output)?;
                for made in made.chunks_exact(row) {
                    output.bbox_pred.extend_from_slice(&made[features..]);
                }
            }
        }
        after(Step::Multiply);
        Ok(())
    }

    /// A head that begins with another layer: it reads a tensor of pooled RoIs.
    fn run_pooled(
        &self,
        regions: HeadInput<'_>,
        output: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let shape = self.shape(regions.rows(self.features()));
        let pooled = self.resources.tensors.make(&shape, |pooled| {
            match regions {
                HeadInput::Maps(maps, rois) => self.pool(maps, rois, pooled)?,
                HeadInput::Features(features) => pooled.copy_from_slice(features),
            }
            Ok(())
        });
        let pooled = pooled.map_err(Error::graph("head"))?;
        after(Step::Pool);
        self.run_plan(pooled, output)?;
        after(Step::Multiply);
        Ok(())
    }

    /// The layer that reads pooled RoIs, with the regressors that run as one with it.
    fn first(
        &self,
        first: &PooledLinear,
        regions: HeadInput<'_>,
        out: &mut [f32],
        after: &mut dyn FnMut(Step),
    ) -> TractResult<()> {
        let threads = self.resources.threads;
        let bias = self.bias(first);
        let (bias, relu) = (bias.as_deref(), first.relu && first.boxes.is_none());
        let linear = self.resources.weights.linears.pooled(first)?;
        match regions {
            HeadInput::Maps(maps, rois) => {
                let maps = maps.iter().map(FeatureMap::view).collect::<Result<Vec<_>, Error>>()?;
                let bins = &self.levels;
                self.resources.with_scratch(|scratch| {
                    roi_pool_linear_into(&maps, rois, bins, linear, bias, relu, threads, scratch, out, after)
                })?;
            }
            HeadInput::Features(features) => {
                linear.run(features, bias, relu, regions.rows(self.features()), threads, out)?;
            }
        }
        Ok(())
    }

    /// That of the layer, and of the regressors that it runs with.
    fn bias(&self, first: &PooledLinear) -> Option<Cow<'_, [f32]>> {
        let of = |gemm: &Gemm| self.resources.bias(gemm.bias);
        let Some(boxes) = &first.boxes else { return of(&first.gemm).map(Cow::Borrowed) };
        let both = [&first.gemm, boxes].map(|gemm| match of(gemm) {
            Some(bias) => Cow::Borrowed(bias),
            None => Cow::Owned(vec![0.0; gemm.out_features as usize]),
        });
        Some(Cow::Owned(both.concat()))
    }

    /// Appends what the plan makes of `input`.
    fn run_plan(&self, input: Arc<Tensor>, output: &mut HeadOutput) -> Result<(), Error> {
        let result = self.plan.run(input.into_tvalue())?;
        // Regressors on pooled features have run before.
        let (cls_prob, bbox_pred) = match &result[..] {
            [cls_prob, bbox_pred] => (cls_prob, Some(bbox_pred)),
            [cls_prob] => (cls_prob, None),
            _ => return Err(ShapeError { what: "head outputs", expected: 2, found: result.len() }.into()),
        };
        output.cls_prob.extend_from_slice(values("head", cls_prob)?);
        if let Some(bbox_pred) = bbox_pred {
            output.bbox_pred.extend_from_slice(values("head", bbox_pred)?);
        }
        Ok(())
    }

    /// Pools each run of RoIs that share a level from that level's map; zeros where there is none.
    pub(crate) fn pool(&self, maps: &[FeatureMap], rois: &[Roi], pooled: &mut [f32]) -> Result<(), Error> {
        let features = self.features();
        let mut rest = pooled;
        for run in rois.chunk_by(|a, b| a.level == b.level) {
            let (out, after) = rest.split_at_mut(run.len() * features);
            rest = after;
            match run.first().and_then(|roi| maps.get(usize::from(roi.level))) {
                Some(map) => roi_pool_into(map.view()?, run, &self.levels, self.resources.threads, out)?,
                None => out.fill(0.0),
            }
        }
        Ok(())
    }

    /// `[R, ...]` of its input.
    fn shape(&self, rows: usize) -> TVec<usize> {
        [rows].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Runs the head on the features of RoIs and gives what its named layers made.
    pub(crate) fn stages(&self, pooled: &[f32]) -> Result<Vec<NamedTensor>, Error> {
        let graph_error = Error::graph("head");
        let rows = pooled.len() / self.features().max(1);
        let graph = &self.resources.network.contents.head;
        let named = named_values(graph, &self.resources.network.contents.factored);
        let outputs: Vec<u32> = named.iter().map(|(_, value)| *value).collect();
        let plan = plan(graph, &self.input, &outputs, &self.resources)?;
        let input = Tensor::from_shape(&self.shape(rows), pooled).map_err(&graph_error)?;
        let tensors = plan.run(input.into_tvalue())?;
        named
            .into_iter()
            .zip(&tensors)
            .map(|((name, _), tensor)| {
                Ok(NamedTensor {
                    name,
                    shape: tensor.shape().to_vec(),
                    data: values("head", tensor)?.to_vec(),
                })
            })
            .collect()
    }
}

impl<'a> HeadInput<'a> {
    fn rows(self, features: usize) -> usize {
        match self {
            HeadInput::Maps(_, rois) => rois.len(),
            HeadInput::Features(pooled) => pooled.len() / features.max(1),
        }
    }

    fn chunks(self, rows: usize, features: usize) -> Box<dyn Iterator<Item = HeadInput<'a>> + 'a> {
        match self {
            HeadInput::Maps(maps, rois) => {
                Box::new(rois.chunks(rows).map(move |rois| HeadInput::Maps(maps, rois)))
            }
            HeadInput::Features(all) => Box::new(all.chunks(rows * features.max(1)).map(HeadInput::Features)),
        }
    }
}

/// A plan of some head's graph, whose input is `features` of each RoI.
fn plan(graph: &Graph, features: &[usize], outputs: &[u32], resources: &Resources) -> Result<Plan, Error> {
    let symbols = SymbolScope::default();
    let rois = symbols.sym("R").to_dim();
    let input: Vec<TDim> = [rois].into_iter().chain(features.iter().map(ToDim::to_dim)).collect();
    let fusion = Fusion::new(graph, outputs, &resources.weights.convs);
    Plan::new("head", graph, &fusion, &input, outputs, resources, symbols)
}

/// The levels that a bundle pools RoIs to.
fn levels(contents: &Contents) -> Vec<[usize; 2]> {
    match &contents.regions {
        Regions::RoiPooling(pooling) => {
            pooling.pooled.iter().map(|level| level.map(|p| p as usize)).collect()
        }
        Regions::Warp(_) => Vec::new(),
    }
}

/// The order in which the layer that reads pooled RoIs, if there is one, sums their features.
pub(crate) fn pooled_order(contents: &Contents, channels: usize) -> Option<(PooledLinear, KOrder)> {
    let first = PooledLinear::of(&contents.head)?;
    let bins = levels(contents).iter().map(|[height, width]| height * width).sum();
    Some((first, if bins > 0 { KOrder::ChannelSlabs { bins, channels } } else { KOrder::Natural }))
}

/// The values that have a published name, each after the ReLU that follows its layer, then the outputs.
fn named_values(graph: &Graph, factored: &[Factored]) -> Vec<(String, u32)> {
    let after_relu = |value: u32| {
        let relu = graph.layers.iter().position(|l| l.inputs == [value] && matches!(l.op, Op::Relu));
        relu.map_or(value, |position| position as u32 + 1)
    };
    let factors: HashMap<String, Option<&String>> = factored
        .iter()
        .flat_map(|factored| {
            let [left, right] = factored.factors();
            [(left, None), (right, Some(&factored.layer))]
        })
        .collect();
    let mut named: Vec<(String, u32)> = Vec::new();
    for (position, layer) in graph.layers.iter().enumerate() {
        if !matches!(layer.op, Op::Conv(_) | Op::Gemm(_)) {
            continue;
        }
        let name = match factors.get(&layer.name) {
            // What lies between the two has no published name.
            Some(None) => continue,
            Some(Some(whole)) => whole,
            None => &layer.name,
        };
        named.push((name.clone(), after_relu(position as u32 + 1)));
    }
    for (name, &value) in ["cls_prob", "bbox_pred"].into_iter().zip(&graph.outputs) {
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.to_string(), value));
        }
    }
    named
}
