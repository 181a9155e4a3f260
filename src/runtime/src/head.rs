//! The head: features of RoIs to class scores and box deltas.

use frcnn_bundle::{Contents, Gemm, Graph, SectionId, Shape};
use frcnn_core::ShapeError;
use frcnn_files::try_resize;
use frcnn_kernels::{KOrder, PooledLayer, Step};
use tract_core::internal::*;

use crate::Error;
use crate::fusion::Fusion;
use crate::head_parts::{Deltas, HeadParts, Linear, Reads};
use crate::head_stages::named_values;
use crate::ops::{Readers, Resources};
use crate::plan::{Plan, values};
use crate::planned::{PlannedLayer, planned};
use crate::pooling::{MapRegions, Pooling};

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

/// The head of one detector, or its judge, which gives scores alone.
#[derive(Debug)]
pub(crate) struct Head {
    name: &'static str,
    graph: Graph,
    resources: Resources,
    parts: HeadParts,
    /// Of the rest.
    plan: Plan,
    /// `[P, P, C]` of one RoI, or `[features]` where it is pooled to several levels.
    input: TVec<usize>,
    pooling: Pooling,
}

/// What the head reads.
#[derive(Clone, Copy)]
pub(crate) enum HeadInput<'a> {
    /// Regions that it pools.
    Maps(MapRegions<'a>),
    /// `[R, ...]`, pooled already or not to be pooled.
    Features(&'a [f32]),
}

impl Head {
    /// `graph` is one of the network's, by its name.
    pub(crate) fn new(
        name: &'static str,
        graph: &Graph,
        region: Shape,
        resources: &Resources,
    ) -> Result<Head, Error> {
        let contents = &resources.network.contents;
        let input = match region {
            Shape::Map { height, width, channels } => tvec!(height, width, channels),
            Shape::Flat { features } => tvec!(features),
        };
        let parts = HeadParts::of(graph);
        let rest_input = match parts.second.as_ref().or(parts.first.as_ref()) {
            Some(linear) => tvec!(linear.width()),
            None => input.clone(),
        };
        let plan = plan(name, &parts.rest, &rest_input, &parts.rest.outputs, resources)?;
        let pooling = Pooling::of(contents);
        let graph = graph.clone();
        Ok(Head { name, graph, resources: resources.clone(), parts, plan, input, pooling })
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        let (graph, weights) = (&self.graph, &self.resources.weights);
        let fusion = Fusion::new(graph, &graph.outputs, &weights.plans);
        let pooled: Vec<SectionId> = self.parts.on_pooled_rois().map(|gemm| gemm.weight).collect();
        planned(self.name, graph, &fusion, weights, |gemm| {
            self.pooling.bins() > 0 && pooled.contains(&gemm.weight)
        })
    }

    /// All of its layers.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
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
        let classes = self.resources.network.contents.manifest.classes.len();
        let deltas = if self.graph.outputs.len() > 1 { 4 * classes } else { 0 };
        let mut output = output.append(regions.rows(self.features()), [classes, deltas])?;
        for regions in regions.chunks(self.parts.rows_at_once(self.features()), self.features()) {
            let output = output.take(regions.rows(self.features()));
            match &self.parts.first {
                Some(first) => self.run_linears(first, regions, output, after)?,
                None => self.run_pooled(regions, output, after)?,
            }
        }
        Ok(())
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
        let graph_error = Error::graph(self.name);
        let rows = regions.rows(self.features());
        let shape = [rows, first.width()];
        let fill = |out: &mut [f32]| self.run_first(first, regions, out, output.bbox_pred, after);
        let of_first = match &self.parts.second {
            Some(_) => self.resources.make(&shape, fill),
            None => self.plan.make_input(&shape, fill),
        };
        let of_first = of_first.map_err(&graph_error)?;
        let features = values(self.name, &of_first)?;
        match &self.parts.second {
            Some(second) => {
                for features in features.chunks(CHUNK_ROWS * first.width().max(1)) {
                    let rows = features.len() / first.width().max(1);
                    let of_second = self.plan.make_input(&[rows, second.width()], |out| {
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
            HeadInput::Maps(regions) => {
                let features = self.features();
                self.pooling.pool_linear(regions, features, &mut layers, &self.resources, after)?;
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
        let pooled = self.plan.make_input(&shape, |pooled| {
            match regions {
                HeadInput::Maps(regions) => self.pool(regions, pooled)?,
                // A copy, for tract's tensors cannot borrow what they read.
                HeadInput::Features(features) => pooled.copy_from_slice(features),
            }
            Ok(())
        });
        let pooled = pooled.map_err(Error::graph(self.name))?;
        after(Step::Pool);
        self.run_rest(pooled, &[], output)?;
        after(Step::Multiply);
        Ok(())
    }

    /// The plan and the box regressors behind the first layers. `of_first` is what the first layer gives.
    fn run_rest(&self, input: TValue, of_first: &[f32], output: Predictions<'_>) -> Result<(), Error> {
        let rows = input.shape().first().copied().unwrap_or(0);
        let result = self.plan.run(input.clone())?;
        let given = |output: usize| match result.get(output) {
            Some(tensor) => values(self.name, tensor),
            None => Err(ShapeError {
                what: "head outputs",
                expected: self.parts.rest.outputs.len(),
                found: result.len(),
            }
            .into()),
        };
        // Copies, for what tract's layers give are tensors of their own: a score for each class.
        copy("scores", given(0)?, output.cls_prob)?;
        if output.deltas == 0 {
            return Ok(());
        }
        let Some(Deltas { gemm, reads }) = &self.parts.deltas else {
            return copy("box deltas", given(1)?, output.bbox_pred);
        };
        let read = match reads {
            // They have run with the first layer.
            Reads::PooledRois => return Ok(()),
            Reads::First => of_first,
            Reads::RestInput => values(self.name, &input)?,
            Reads::RestOutput => given(1)?,
        };
        let done = self.resources.run_linear(gemm, false, rows, read, output.bbox_pred);
        done.map_err(Error::graph(self.name))
    }

    /// Pools regions.
    pub(crate) fn pool(&self, regions: MapRegions<'_>, pooled: &mut [f32]) -> Result<(), Error> {
        self.pooling.pool(regions, self.features(), self.resources.threads, pooled)
    }

    /// `[R, ...]` of its input.
    fn shape(&self, rows: usize) -> TVec<usize> {
        [rows].into_iter().chain(self.input.iter().copied()).collect()
    }

    /// Runs the head on the features of RoIs and gives what its named layers made.
    pub(crate) fn stages(&self, pooled: &[f32]) -> Result<Vec<NamedTensor>, Error> {
        let contents = &self.resources.network.contents;
        let named = named_values(&contents.head, &contents.factored);
        let outputs: Vec<u32> = named.iter().map(|(_, value)| *value).collect();
        let tensors = self.given(pooled, &outputs)?;
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

    /// The given values of the graph, on the features of RoIs.
    pub(crate) fn values(&self, pooled: &[f32], wanted: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        let tensors = self.given(pooled, wanted)?;
        tensors.iter().map(|tensor| Ok(values("head", tensor)?.to_vec())).collect()
    }

    fn given(&self, pooled: &[f32], wanted: &[u32]) -> Result<TVec<TValue>, Error> {
        let rows = pooled.len() / self.features().max(1);
        let plan = plan(self.name, &self.graph, &self.input, wanted, &self.resources)?;
        let input = Tensor::from_shape(&self.shape(rows), pooled).map_err(Error::graph("head"))?;
        plan.run(input.into_tvalue())
    }
}

/// Where the predictions for some RoIs go.
struct Predictions<'a> {
    classes: usize,
    /// Of each RoI; none where only scores are asked for.
    deltas: usize,
    cls_prob: &'a mut [f32],
    bbox_pred: &'a mut [f32],
}

impl HeadOutput {
    /// Room for the predictions of `rows` RoIs, behind those that are there.
    fn append(&mut self, rows: usize, [classes, deltas]: [usize; 2]) -> Result<Predictions<'_>, Error> {
        Ok(Predictions {
            classes,
            deltas,
            cls_prob: grow("scores", &mut self.cls_prob, rows.saturating_mul(classes))?,
            bbox_pred: grow("box deltas", &mut self.bbox_pred, rows.saturating_mul(deltas))?,
        })
    }
}

impl<'a> Predictions<'a> {
    /// Takes the first `rows` RoIs off.
    fn take(&mut self, rows: usize) -> Predictions<'a> {
        let Predictions { classes, deltas, .. } = *self;
        let cls_prob = self.cls_prob.split_off_mut(..rows * classes).unwrap_or_default();
        let bbox_pred = self.bbox_pred.split_off_mut(..rows * deltas).unwrap_or_default();
        Predictions { classes, deltas, cls_prob, bbox_pred }
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
            HeadInput::Maps(regions) => regions.len(),
            HeadInput::Features(pooled) => pooled.len() / features.max(1),
        }
    }

    fn chunks(self, rows: usize, features: usize) -> Box<dyn Iterator<Item = HeadInput<'a>> + 'a> {
        match self {
            HeadInput::Maps(regions) => Box::new(regions.chunks(rows).map(HeadInput::Maps)),
            HeadInput::Features(all) => Box::new(all.chunks(rows * features.max(1)).map(HeadInput::Features)),
        }
    }
}

/// A plan of some head's graph, whose input is `features` of each RoI.
fn plan(
    name: &'static str,
    graph: &Graph,
    features: &[usize],
    outputs: &[u32],
    resources: &Resources,
) -> Result<Plan, Error> {
    let symbols = SymbolScope::default();
    let rois = symbols.sym("R").to_dim();
    let input: Vec<TDim> = [rois].into_iter().chain(features.iter().map(ToDim::to_dim)).collect();
    let fusion = Fusion::new(graph, outputs, &resources.weights.plans);
    // What it gives is read at once.
    Plan::new(name, graph, &fusion, &input, (outputs, Readers::Kernels), resources, symbols)
}

/// The order in which each fully connected layer sums its features; `channels` are those of the maps.
pub(crate) fn sum_order(contents: &Contents, channels: usize) -> impl Fn(&Gemm) -> KOrder + use<> {
    let judge = contents.cascade.iter().map(|cascade| &cascade.judge);
    let parts = judge.chain([&contents.head]).map(HeadParts::of);
    let pooled: Vec<SectionId> =
        parts.flat_map(|parts| parts.on_pooled_rois().map(|gemm| gemm.weight).collect::<Vec<_>>()).collect();
    let bins = Pooling::of(contents).bins();
    move |gemm| match bins {
        1.. if pooled.contains(&gemm.weight) => KOrder::ChannelSlabs { bins, channels },
        _ => KOrder::Natural,
    }
}
