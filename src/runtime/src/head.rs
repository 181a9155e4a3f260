//! The head: pooled RoIs to class probabilities and box deltas.

use frcnn_bundle::{Contents, Graph, Op};
use frcnn_core::{Roi, ShapeError};
use frcnn_kernels::{KOrder, Step, roi_pool_into, roi_pool_linear_into};
use tract_core::internal::*;

use crate::ops::Workshop;
use crate::plan::{Plan, values};
use crate::pooled_linear::PooledLinear;
use crate::{Error, FeatureMap};

/// Bytes of features that the head's plan takes at once: enough rows to keep its products busy, few enough that 100,000
/// RoIs fit on a board.
const CHUNK_BYTES: usize = 12 << 20;
/// Rows at once, at most: a layer of 4096 features makes 8 MiB of them, which an L3 keeps.
const CHUNK_ROWS: usize = 512;
/// RoIs pooled and multiplied at once, for whose sake the weights are read once: 16 MiB of 1024 features.
const POOLED_ROWS: usize = 4096;

/// What the head gives for `R` RoIs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadOutput {
    /// `[R, K + 1]`, each row a distribution over the classes.
    pub cls_prob: Vec<f32>,
    /// `[R, 4 (K + 1)]`: tx, ty, tw, th of each class.
    pub bbox_pred: Vec<f32>,
}

/// A tensor by its published blob name.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
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
    workshop: Workshop,
    /// Of the whole head, or of what comes after `first`.
    plan: Plan,
    first: Option<PooledLinear>,
    /// `[P, P, C]` of one RoI.
    pooled: [usize; 3],
}

/// What the head reads.
#[derive(Clone, Copy)]
pub(crate) enum Regions<'a> {
    /// RoIs of feature maps, one for each level.
    Maps(&'a [FeatureMap], &'a [Roi]),
    /// `[R, P, P, C]`, pooled already.
    Pooled(&'a [f32]),
}

impl Head {
    pub(crate) fn new(channels: usize, workshop: &Workshop) -> Result<Head, Error> {
        let workshop = workshop.with_own_tensors();
        let contents = &workshop.network.contents;
        let [height, width] = contents.roi_pooling.pooled.map(|p| p as usize);
        let (graph, pooled) = (&contents.head, [height, width, channels]);
        let first = PooledLinear::of(graph);
        let plan = match &first {
            Some(first) => {
                let rest = &first.rest;
                plan(rest, &[first.gemm.out_features as usize], &rest.outputs, &workshop)?
            }
            None => plan(graph, &pooled, &graph.outputs, &workshop)?,
        };
        Ok(Head { workshop, plan, first, pooled })
    }

    /// Values in one pooled RoI.
    pub(crate) fn features(&self) -> usize {
        self.pooled.iter().product()
    }

    /// Writes the predictions for `regions` to `output`. `after` is called after each step of the work.
    pub(crate) fn run(
        &self,
        regions: Regions<'_>,
        output: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let _run = self.workshop.tensors.run();
        output.cls_prob.clear();
        output.bbox_pred.clear();
        match &self.first {
            Some(first) => regions.chunks(POOLED_ROWS, self.features()).try_for_each(|regions| {
                let rows = regions.rows(self.features());
                let features = first.gemm.out_features as usize;
                let made = self
                    .workshop
                    .tensors
                    .make(&[rows, features], |out| self.first(first, regions, out, after));
                let made = made.map_err(Error::graph("head"))?;
                for chunk in values("head", &made)?.chunks(CHUNK_ROWS * features.max(1)) {
                    let rows = chunk.len() / features.max(1);
                    self.run_plan(&[rows, features], output, |input| {
                        input.copy_from_slice(chunk);
                        Ok(())
                    })?;
                }
                after(Step::Multiply);
                Ok(())
            }),
            None => {
                let rows = (CHUNK_BYTES / 4 / self.features().max(1)).clamp(64, CHUNK_ROWS);
                regions.chunks(rows, self.features()).try_for_each(|regions| {
                    let [height, width, channels] = self.pooled;
                    let shape = [regions.rows(self.features()), height, width, channels];
                    self.run_plan(&shape, output, |pooled| {
                        match regions {
                            Regions::Maps(maps, rois) => self.pool(maps, rois, pooled)?,
                            Regions::Pooled(features) => pooled.copy_from_slice(features),
                        }
                        after(Step::Pool);
                        Ok(())
                    })?;
                    after(Step::Multiply);
                    Ok(())
                })
            }
        }
    }

    /// The layer that reads pooled RoIs.
    fn first(
        &self,
        first: &PooledLinear,
        regions: Regions<'_>,
        out: &mut [f32],
        after: &mut dyn FnMut(Step),
    ) -> TractResult<()> {
        let (relu, threads) = (first.relu, self.workshop.threads);
        let bias = self.workshop.bias(first.gemm.bias);
        let linear = self.workshop.linears.get(first.gemm.weight)?;
        match regions {
            Regions::Maps(maps, rois) => {
                let maps = maps.iter().map(FeatureMap::view).collect::<Result<Vec<_>, Error>>()?;
                let bins = [self.pooled[0], self.pooled[1]];
                self.workshop.with_scratch(|scratch| {
                    roi_pool_linear_into(&maps, rois, bins, linear, bias, relu, threads, scratch, out, after)
                })?;
            }
            Regions::Pooled(features) => {
                linear.run(features, bias, relu, regions.rows(self.features()), threads, out)?;
            }
        }
        Ok(())
    }

    /// Appends what the plan makes of an input of `shape`, which `fill` writes.
    fn run_plan(
        &self,
        shape: &[usize],
        output: &mut HeadOutput,
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<(), Error> {
        let input = self.workshop.tensors.make(shape, fill).map_err(Error::graph("head"))?;
        let result = self.plan.run(input.into_tvalue())?;
        let [cls_prob, bbox_pred] = &result[..] else {
            return Err(ShapeError { what: "head outputs", expected: 2, found: result.len() }.into());
        };
        output.cls_prob.extend_from_slice(values("head", cls_prob)?);
        output.bbox_pred.extend_from_slice(values("head", bbox_pred)?);
        Ok(())
    }

    /// Pools each run of RoIs that share a level from that level's map; zeros where there is none.
    pub(crate) fn pool(&self, maps: &[FeatureMap], rois: &[Roi], pooled: &mut [f32]) -> Result<(), Error> {
        let (bins, features) = ([self.pooled[0], self.pooled[1]], self.features());
        let mut rest = pooled;
        for run in rois.chunk_by(|a, b| a.level == b.level) {
            let (out, after) = rest.split_at_mut(run.len() * features);
            rest = after;
            match run.first().and_then(|roi| maps.get(usize::from(roi.level))) {
                Some(map) => roi_pool_into(map.view()?, run, bins, self.workshop.threads, out)?,
                None => out.fill(0.0),
            }
        }
        Ok(())
    }

    /// Runs the head on `[R, P, P, C]` and gives what its named layers made.
    pub(crate) fn stages(&self, pooled: &[f32]) -> Result<Vec<Stage>, Error> {
        let graph_error = Error::graph("head");
        let rows = pooled.len() / self.features().max(1);
        let graph = &self.workshop.network.contents.head;
        let named = named_values(graph);
        let outputs: Vec<u32> = named.iter().map(|(_, value)| *value).collect();
        let plan = plan(graph, &self.pooled, &outputs, &self.workshop)?;
        let [height, width, channels] = self.pooled;
        let input = Tensor::from_shape(&[rows, height, width, channels], pooled).map_err(&graph_error)?;
        let tensors = plan.run(input.into_tvalue())?;
        named
            .into_iter()
            .zip(&tensors)
            .map(|((name, _), tensor)| {
                Ok(Stage { name, shape: tensor.shape().to_vec(), data: values("head", tensor)?.to_vec() })
            })
            .collect()
    }
}

impl<'a> Regions<'a> {
    fn rows(self, features: usize) -> usize {
        match self {
            Regions::Maps(_, rois) => rois.len(),
            Regions::Pooled(pooled) => pooled.len() / features.max(1),
        }
    }

    fn chunks(self, rows: usize, features: usize) -> Box<dyn Iterator<Item = Regions<'a>> + 'a> {
        match self {
            Regions::Maps(maps, rois) => {
                Box::new(rois.chunks(rows).map(move |rois| Regions::Maps(maps, rois)))
            }
            Regions::Pooled(pooled) => Box::new(pooled.chunks(rows * features.max(1)).map(Regions::Pooled)),
        }
    }
}

/// A plan of some head's graph, whose input is `features` of each RoI.
fn plan(graph: &Graph, features: &[usize], outputs: &[u32], workshop: &Workshop) -> Result<Plan, Error> {
    let symbols = SymbolScope::default();
    let rois = symbols.sym("R").to_dim();
    let input: Vec<TDim> = [rois].into_iter().chain(features.iter().map(ToDim::to_dim)).collect();
    Plan::new("head", graph, &input, outputs, workshop, symbols)
}

/// The order in which the layer that reads pooled RoIs sums their features.
pub(crate) fn pooled_order(contents: &Contents, channels: usize) -> Option<(u32, KOrder)> {
    let first = PooledLinear::of(&contents.head)?;
    let [height, width] = contents.roi_pooling.pooled.map(|p| p as usize);
    Some((first.gemm.weight, KOrder::ChannelSlabs { bins: height * width, channels }))
}

/// The values that have a published name, each after the ReLU that follows its layer, then the outputs.
fn named_values(graph: &Graph) -> Vec<(String, u32)> {
    let after_relu = |value: u32| {
        let relu = graph.layers.iter().position(|l| l.inputs == [value] && matches!(l.op, Op::Relu));
        relu.map_or(value, |position| position as u32 + 1)
    };
    let mut named: Vec<(String, u32)> = Vec::new();
    for (position, layer) in graph.layers.iter().enumerate() {
        if matches!(layer.op, Op::Conv(_) | Op::Gemm(_)) && !layer.name.ends_with("_L") {
            let name = layer.name.strip_suffix("_U").unwrap_or(&layer.name);
            named.push((name.to_string(), after_relu(position as u32 + 1)));
        }
    }
    for (name, &value) in ["cls_prob", "bbox_pred"].into_iter().zip(&graph.outputs) {
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.to_string(), value));
        }
    }
    named
}
