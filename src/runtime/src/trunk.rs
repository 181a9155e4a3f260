//! The convolutional trunk: image blob to feature maps.

use frcnn_bundle::{Regions, Shape};
use frcnn_core::ShapeError;
use tract_core::internal::*;

use crate::cost::{Demand, Limits};
use crate::fusion::Fusion;
use crate::ops::{Readers, Resources};
use crate::plan::{Plan, values};
use crate::plan_cache::PlanCache;
use crate::planned::{PlannedLayer, planned};
use crate::{Error, ImageBlob};

/// Plans kept for blob sizes seen before.
const PLANS_KEPT: usize = 8;

/// One of the maps that the trunk gives, or what the RPN gives of one, channels last.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    tensor: TValue,
    height: usize,
    width: usize,
    channels: usize,
}

impl FeatureMap {
    /// A feature map made elsewhere: `data` is `[Hf, Wf, C]`.
    ///
    /// # Errors
    /// `data` does not have `height * width * channels` values.
    pub fn new(data: &[f32], height: usize, width: usize, channels: usize) -> Result<FeatureMap, Error> {
        let expected = height.saturating_mul(width).saturating_mul(channels);
        ShapeError::check("feature map", expected, data.len())?;
        let tensor =
            Tensor::from_shape(&[1, height, width, channels], data).map_err(Error::graph("trunk"))?;
        Ok(FeatureMap { tensor: tensor.into_tvalue(), height, width, channels })
    }

    /// `[1, Hf, Wf, C]`.
    pub(crate) fn of(tensor: TValue) -> Result<FeatureMap, Error> {
        let &[_, height, width, channels] = tensor.shape() else {
            return Err(ShapeError { what: "feature map's rank", expected: 4, found: tensor.rank() }.into());
        };
        Ok(FeatureMap { tensor, height, width, channels })
    }

    /// `[Hf, Wf, C]`.
    ///
    /// # Errors
    /// Never for a map that this crate made.
    pub fn data(&self) -> Result<&[f32], Error> {
        values("trunk", &self.tensor)
    }

    /// `[1, Hf, Wf, C]`.
    pub(crate) fn tensor(&self) -> &TValue {
        &self.tensor
    }

    pub(crate) fn view(&self) -> Result<frcnn_kernels::FeatureMap<'_>, Error> {
        Ok(frcnn_kernels::FeatureMap::new(self.data()?, self.height, self.width, self.channels)?)
    }

    /// `Hf`.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `Wf`.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `C`.
    pub fn channels(&self) -> usize {
        self.channels
    }
}

/// The trunk of one detector, with its plans by blob size.
#[derive(Debug)]
pub(crate) struct Trunk {
    resources: Resources,
    fusion: Fusion,
    limits: Limits,
    plans: PlanCache,
}

impl Trunk {
    pub(crate) fn new(resources: Resources, limits: Limits) -> Trunk {
        let graph = &resources.network.contents.trunk;
        let fusion = Fusion::new(graph, &graph.outputs, &resources.weights.plans);
        Trunk { resources, fusion, limits, plans: PlanCache::new(PLANS_KEPT) }
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        let graph = &self.resources.network.contents.trunk;
        planned("trunk", graph, &self.fusion, &self.resources.weights, |_| false)
    }

    /// The maps of a blob, in the order of the bundle's.
    pub(crate) fn run(&self, blob: &ImageBlob) -> Result<Vec<FeatureMap>, Error> {
        let expected = blob.height.saturating_mul(blob.width).saturating_mul(3);
        ShapeError::check("image blob", expected, blob.data.len())?;
        self.run_on([blob.height, blob.width], |values| {
            values.copy_from_slice(&blob.data);
            Ok(())
        })
    }

    /// The maps of a blob of this height and width, which `fill` writes as `[H, W, 3]`.
    pub(crate) fn run_on(
        &self,
        size: [usize; 2],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<Vec<FeatureMap>, Error> {
        self.run_all(1, size, fill)?.into_iter().map(FeatureMap::of).collect()
    }

    /// The first map, `[N, Hf, Wf, C]`, of `batch` blobs of one size, which `fill` writes as `[N, H, W, 3]`.
    pub(crate) fn run_batch(
        &self,
        batch: usize,
        size: [usize; 2],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<TValue, Error> {
        let output = self.run_all(batch, size, fill)?;
        Ok(output.into_iter().next().unwrap_or_else(|| Tensor::default().into_tvalue()))
    }

    fn run_all(
        &self,
        batch: usize,
        size: [usize; 2],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<TVec<TValue>, Error> {
        let [height, width] = size;
        let plan = self.plans.get(size, || self.make_plan(size))?;
        let input = plan.make_input(&[batch, height, width, 3], fill);
        plan.run(input.map_err(Error::making("trunk", "the trunk's input"))?)
    }

    /// The given values of the graph, on blobs `[N, H, W, 3]` of one size.
    pub(crate) fn values(
        &self,
        [height, width]: [usize; 2],
        blobs: &[f32],
        wanted: &[u32],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let each = height.saturating_mul(width).saturating_mul(3);
        let batch = blobs.len() / each.max(1);
        ShapeError::check("image blobs", batch * each, blobs.len())?;
        let graph = &self.resources.network.contents.trunk;
        let fusion = Fusion::new(graph, wanted, &self.resources.weights.plans);
        let input = [batch, height, width, 3].map(|size| size.to_dim());
        let symbols = SymbolScope::default();
        let wanted = (wanted, Readers::Frame);
        let plan = Plan::new("trunk", graph, &fusion, &input, wanted, &self.resources, symbols)?;
        let blobs = Tensor::from_shape(&[batch, height, width, 3], blobs).map_err(Error::graph("trunk"))?;
        let made = plan.run(blobs.into_tvalue())?;
        made.iter().map(|tensor| Ok(values("trunk", tensor)?.to_vec())).collect()
    }

    /// Checks that a blob goes through, and is within the limits.
    pub(crate) fn check(&self, [height, width]: [usize; 2]) -> Result<(), Error> {
        let graph = &self.resources.network.contents.trunk;
        // Sizes that the network cannot take are found here, with the layer's name, rather than in tract.
        graph.infer(Shape::Map { height, width, channels: 3 }).map_err(|(position, problem)| {
            let layer = graph.layers.get(position).map_or("", |l| &l.name);
            Error::BlobSize { height, width, problem: format!("layer `{layer}`: {problem}") }
        })?;
        let contents = &self.resources.network.contents;
        let (plans, threads) = (&self.resources.weights.plans, self.resources.threads);
        Ok(self.limits.check(&Demand::planned(contents, plans, &[[height, width]], 0, threads)?)?)
    }

    fn make_plan(&self, size: [usize; 2]) -> Result<Plan, Error> {
        self.check(size)?;
        let [height, width] = size;
        let graph = &self.resources.network.contents.trunk;
        let symbols = SymbolScope::default();
        let batch = match self.resources.network.contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => 1.to_dim(),
            // The last crops of an image are fewer than those before.
            Regions::Warp(_) => symbols.sym("N").to_dim(),
        };
        let input = [batch, height.to_dim(), width.to_dim(), 3.to_dim()];
        let outputs = (&graph.outputs[..], Readers::Frame);
        Plan::new("trunk", graph, &self.fusion, &input, outputs, &self.resources, symbols)
    }
}
