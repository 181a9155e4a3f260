//! The head: features of RoIs to class scores and box deltas.

use std::collections::HashMap;
use std::sync::Arc;

use frcnn_bundle::{Contents, Factored, Gemm, Graph, Op, Regions, SectionId, Shape};
use frcnn_core::{Roi, ShapeError};
use frcnn_files::try_resize;
use frcnn_kernels::{KOrder, PooledLayer, Step, roi_pool_into, roi_pool_linear_into};
use tract_core::internal::*;

use crate::fusion::Fusion;
use crate::head_parts::{Deltas, HeadParts, Linear, Reads};
use crate::ops::Resources;
use crate::plan::{Plan, values};
use crate::planned::{PlannedLayer, planned};
use crate::{Error, FeatureMap};

/// Bytes of pooled features that the head's plan takes at once: enough rows to keep its products busy, few enough that 100,000
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
    parts: HeadParts,
    /// Of the rest.
    plan: Plan,
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
        let input = match region {
            Shape::Map { height, width, channels } => tvec!(height, width, channels),
            Shape::Flat { features } => tvec!(features),
        };
        let parts = HeadParts::of(&contents.head);
        let rest_input = match parts.second.as_ref().or(parts.first.as_ref()) {
            Some(linear) => tvec!(linear.width()),
            None => input.clone(),
        };
        let plan = plan(&parts.rest, &rest_input, &parts.rest.outputs, &resources)?;
        let levels = levels(contents);
        Ok(Head { resources, parts, plan, input, levels })
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        let (graph, weights) = (&self.resources.network.contents.head, &self.resources.weights);
        let fusion = Fusion::new(graph, &graph.outputs, &weights.convs);
        let pooled: Vec<SectionId> = self.parts.on_pooled_rois().map(|gemm| gemm.weight).collect();
        planned("head", graph, &fusion, weights, |gemm| {
            !self.levels.is_empty() && pooled.contains(&gemm.weight)
        })
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
        let classes = self.resources.network.contents.manifest.classes.len();
        let mut output = output.append(regions.rows(self.features()), classes)?;
        for regions in regions.chunks(self.rows_at_once(), self.features()) {
            let output = output.take(regions.rows(self.features()));
            match &self.parts.first {
                Some(first) => self.run_linears(first, regions, output, after)?,
                None => self.run_pooled(regions, output, after)?,
            }
        }
        Ok(())
    }

    /// RoIs that the first layers take at once.
    fn rows_at_once(&self) -> usize {
        match (&self.parts.first, &self.parts.second) {
            (Some(_), Some(_)) => POOLED_ROWS,
            // The plan reads what the first layer gives.
            (Some(_), None) => CHUNK_ROWS,
            (None, _) => (CHUNK_BYTES / 4 / self.features().max(1)).clamp(64, CHUNK_ROWS),
        }
    }

    /// A head that begins with fully connected layers: the first for all `regions`, by which its weights are read once, then
    /// the others for a chunk of its rows at a time.
    fn run_linears(
        &self,
        first: &Linear,
        regions: HeadInput<'_>,
        mut output: Predictions<'_>,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let graph_error = Error::graph("head");
        let tensors = &self.resources.tensors;
        let rows = regions.rows(self.features());
        let of_first = tensors
            .make(&[rows, first.width()], |out| self.run_first(first, regions, out, output.bbox_pred, after));
        let of_first = of_first.map_err(&graph_error)?;
        let features = values("head", &of_first)?;
        match &self.parts.second {
            Some(second) => {
                for features in features.chunks(CHUNK_ROWS * first.width().max(1)) {
                    let rows = features.len() / first.width().max(1);
                    let of_second = tensors.make(&[rows, second.width()], |out| {
                        self.resources.run_linear(&second.gemm, second.relu, rows, features, out)
                    });
                    self.run_rest(of_second.map_err(&graph_error)?, features, output.take(rows))?;
                }
            }
            None => self.run_rest(of_first.clone(), features, output)?,
        }
        after(Step::Multiply);
        Ok(())
    }

    /// The layers that read pooled RoIs, from these into `out` and `bbox_pred`.
    fn run_first(
        &self,
        first: &Linear,
        regions: HeadInput<'_>,
        out: &mut [f32],
        bbox_pred: &mut [f32],
        after: &mut dyn FnMut(Step),
    ) -> TractResult<()> {
        let threads = self.resources.threads;
        let layer = |gemm: &Gemm, relu, out| {
            let linear = self.resources.weights.linears.get(gemm)?;
            TractResult::Ok(PooledLayer { linear, bias: self.resources.bias(gemm.bias), relu, out })
        };
        let mut layers = vec![layer(&first.gemm, first.relu, out)?];
        if let Some(Deltas { gemm, reads: Reads::PooledRois }) = &self.parts.deltas {
            layers.push(layer(gemm, false, bbox_pred)?);
        }
        match regions {
            HeadInput::Maps(maps, rois) => {
                let maps = maps.iter().map(FeatureMap::view).collect::<Result<Vec<_>, Error>>()?;
                self.resources.with_scratch(|scratch| {
                    roi_pool_linear_into(&maps, rois, &self.levels, &mut layers, threads, scratch, after)
                })?;
            }
            HeadInput::Features(features) => {
                let rows = regions.rows(self.features());
                for PooledLayer { linear, bias, relu, out } in layers {
                    linear.run(features, bias, relu, rows, threads, out)?;
                }
            }
        }
        Ok(())
    }

    /// A head that begins with other layers: its plan reads a tensor of pooled RoIs.
    fn run_pooled(
        &self,
        regions: HeadInput<'_>,
        output: Predictions<'_>,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        let shape = self.shape(regions.rows(self.features()));
        let pooled = self.resources.tensors.make(&shape, |pooled| {
            match regions {
                HeadInput::Maps(maps, rois) => self.pool(maps, rois, pooled)?,
                // A copy, for tract's tensors cannot borrow what they read.
                HeadInput::Features(features) => pooled.copy_from_slice(features),
            }
            Ok(())
        });
        let pooled = pooled.map_err(Error::graph("head"))?;
        after(Step::Pool);
        self.run_rest(pooled, &[], output)?;
        after(Step::Multiply);
        Ok(())
    }

    /// The plan and the box regressors behind the first layers. `of_first` is what the first layer gives.
    fn run_rest(&self, input: Arc<Tensor>, of_first: &[f32], output: Predictions<'_>) -> Result<(), Error> {
        let rows = input.shape().first().copied().unwrap_or(0);
        let result = self.plan.run(input.clone().into_tvalue())?;
        let given = |output: usize| match result.get(output) {
            Some(tensor) => values("head", tensor),
            None => Err(ShapeError { what: "head outputs", expected: 2, found: result.len() }.into()),
        };
        // Copies, for what tract's layers give are tensors of their own: a score for each class.
        copy("scores", given(0)?, output.cls_prob)?;
        let Some(Deltas { gemm, reads }) = &self.parts.deltas else {
            return copy("box deltas", given(1)?, output.bbox_pred);
        };
        let read = match reads {
            // They have run with the first layer.
            Reads::PooledRois => return Ok(()),
            Reads::First => of_first,
            Reads::RestInput => values("head", &input)?,
            Reads::RestOutput => given(1)?,
        };
        let done = self.resources.run_linear(gemm, false, rows, read, output.bbox_pred);
        done.map_err(Error::graph("head"))
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

/// Where the predictions for some RoIs go.
struct Predictions<'a> {
    classes: usize,
    cls_prob: &'a mut [f32],
    bbox_pred: &'a mut [f32],
}

impl HeadOutput {
    /// Room for the predictions of `rows` RoIs, behind those that are there.
    fn append(&mut self, rows: usize, classes: usize) -> Result<Predictions<'_>, Error> {
        Ok(Predictions {
            classes,
            cls_prob: grow("scores", &mut self.cls_prob, rows.saturating_mul(classes))?,
            bbox_pred: grow("box deltas", &mut self.bbox_pred, rows.saturating_mul(4 * classes))?,
        })
    }
}

impl<'a> Predictions<'a> {
    /// Takes the first `rows` RoIs off.
    fn take(&mut self, rows: usize) -> Predictions<'a> {
        let classes = self.classes;
        let cls_prob = self.cls_prob.split_off_mut(..rows * classes).unwrap_or_default();
        let bbox_pred = self.bbox_pred.split_off_mut(..rows * 4 * classes).unwrap_or_default();
        Predictions { classes, cls_prob, bbox_pred }
    }
}

/// Makes room for `more` values behind those of `values`, and gives it.
fn grow<'a>(what: &'static str, values: &'a mut Vec<f32>, more: usize) -> Result<&'a mut [f32], Error> {
    let before = values.len();
    try_resize(values, before.saturating_add(more), 0.0).map_err(Error::memory(what))?;
    Ok(&mut values[before..])
}

fn copy(what: &'static str, from: &[f32], to: &mut [f32]) -> Result<(), Error> {
    ShapeError::check(what, to.len(), from.len())?;
    to.copy_from_slice(from);
    Ok(())
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

/// The order in which each fully connected layer sums its features; `channels` are those of the maps.
pub(crate) fn sum_order(contents: &Contents, channels: usize) -> impl Fn(&Gemm) -> KOrder + use<> {
    let parts = HeadParts::of(&contents.head);
    let pooled: Vec<SectionId> = parts.on_pooled_rois().map(|gemm| gemm.weight).collect();
    let bins = levels(contents).iter().map(|[height, width]| height * width).sum();
    move |gemm| match bins {
        1.. if pooled.contains(&gemm.weight) => KOrder::ChannelSlabs { bins, channels },
        _ => KOrder::Natural,
    }
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
