//! The convolutional trunk: image blob to feature map.

use std::sync::{Mutex, PoisonError};

use frcnn_bundle::{Regions, Shape};
use frcnn_core::ShapeError;
use tract_core::internal::*;

use crate::cost::{Demand, Limits};
use crate::fusion::Fusion;
use crate::ops::Resources;
use crate::plan::{Plan, values};
use crate::planned::{PlannedLayer, planned};
use crate::{Error, ImageBlob};

/// Plans kept for blob sizes seen before. A plan holds no weights, so a handful costs little; a camera
/// has one size and a folder of photos a few.
const PLANS_KEPT: usize = 8;

/// What the trunk gives, channels last.
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

    /// `[Hf, Wf, C]`.
    ///
    /// # Errors
    /// Never for a map that this crate made.
    pub fn data(&self) -> Result<&[f32], Error> {
        values("trunk", &self.tensor)
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

/// The trunk of one detector, with its plans by blob size, the latest used last.
#[derive(Debug)]
pub(crate) struct Trunk {
    resources: Resources,
    fusion: Fusion,
    limits: Limits,
    plans: Mutex<Vec<([usize; 2], Plan)>>,
}

impl Trunk {
    pub(crate) fn new(resources: Resources, limits: Limits) -> Trunk {
        let graph = &resources.network.contents.trunk;
        let fusion = Fusion::new(graph, &graph.outputs, &resources.weights.convs);
        Trunk { resources, fusion, limits, plans: Mutex::default() }
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        let graph = &self.resources.network.contents.trunk;
        planned("trunk", graph, &self.fusion, &self.resources.weights, |_| false)
    }

    pub(crate) fn run(&self, blob: &ImageBlob) -> Result<FeatureMap, Error> {
        let expected = blob.height.saturating_mul(blob.width).saturating_mul(3);
        ShapeError::check("image blob", expected, blob.data.len())?;
        self.run_on([blob.height, blob.width], |values| {
            values.copy_from_slice(&blob.data);
            Ok(())
        })
    }

    /// The map of a blob of this height and width, which `fill` writes as `[H, W, 3]`.
    pub(crate) fn run_on(
        &self,
        size: [usize; 2],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<FeatureMap, Error> {
        let tensor = self.run_batch(1, size, fill)?;
        let &[_, height, width, channels] = tensor.shape() else {
            return Err(ShapeError { what: "feature map's rank", expected: 4, found: tensor.rank() }.into());
        };
        Ok(FeatureMap { tensor, height, width, channels })
    }

    /// The maps, `[N, Hf, Wf, C]`, of `batch` blobs of one size, which `fill` writes as `[N, H, W, 3]`.
    pub(crate) fn run_batch(
        &self,
        batch: usize,
        size: [usize; 2],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> Result<TValue, Error> {
        let _run = self.resources.tensors.run();
        let [height, width] = size;
        let input = self.resources.tensors.make(&[batch, height, width, 3], fill);
        let input = input.map_err(Error::making("trunk", "the trunk's input"))?;
        let output = self.plan(size)?.run(input.into_tvalue())?;
        Ok(output.into_iter().next().unwrap_or_else(|| Tensor::default().into_tvalue()))
    }

    fn plan(&self, size: [usize; 2]) -> Result<Plan, Error> {
        // Held while a plan is made, so that two threads do not make the same one.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.iter().position(|(known, _)| *known == size) {
            Some(position) => plans.remove(position).1,
            None => self.make_plan(size)?,
        };
        if plans.len() == PLANS_KEPT {
            plans.remove(0);
        }
        plans.push((size, plan.clone()));
        Ok(plan)
    }

    fn make_plan(&self, [height, width]: [usize; 2]) -> Result<Plan, Error> {
        let graph = &self.resources.network.contents.trunk;
        // Sizes that the network cannot take are found here, with the layer's name, rather than in tract.
        graph.infer(Shape::Map { height, width, channels: 3 }).map_err(|(position, problem)| {
            let layer = graph.layers.get(position).map_or("", |l| &l.name);
            Error::BlobSize { height, width, problem: format!("layer `{layer}`: {problem}") }
        })?;
        let contents = &self.resources.network.contents;
        self.limits.check(&Demand::new(contents, &[[height, width]], 0, self.resources.threads)?)?;
        let symbols = SymbolScope::default();
        let batch = match self.resources.network.contents.regions {
            Regions::RoiPooling(_) => 1.to_dim(),
            // The last crops of an image are fewer than those before.
            Regions::Warp(_) => symbols.sym("N").to_dim(),
        };
        let input = [batch, height.to_dim(), width.to_dim(), 3.to_dim()];
        Plan::new("trunk", graph, &self.fusion, &input, &graph.outputs, &self.resources, symbols)
    }
}
