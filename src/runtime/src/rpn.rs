//! The region proposal network: a feature map to a logit and four box deltas for each anchor of each cell.

use frcnn_bundle::{Rpn, Shape};
use frcnn_core::ShapeError;
use tract_core::internal::*;

use crate::fusion::Fusion;
use crate::ops::{Readers, Resources};
use crate::plan::Plan;
use crate::plan_cache::PlanCache;
use crate::planned::{PlannedLayer, planned};
use crate::{Error, FeatureMap};

/// Plans kept for maps of sizes seen before: five levels of eight blobs.
const PLANS_KEPT: usize = 40;

/// What the RPN gives of one map.
#[derive(Clone, Debug)]
pub struct RpnOutput {
    /// `[Hf, Wf, A]`: the logit of each of a cell's `A` anchors.
    pub logits: FeatureMap,
    /// `[Hf, Wf, 4 A]`: tx, ty, tw and th of the first anchor, then of the next.
    pub deltas: FeatureMap,
}

impl RpnOutput {
    /// Of what the RPN's graph gives.
    pub(crate) fn of(given: Vec<FeatureMap>) -> Result<RpnOutput, ShapeError> {
        let found = given.len();
        let [logits, deltas] = <[FeatureMap; 2]>::try_from(given).map_err(|_| ShapeError {
            what: "maps of the RPN",
            expected: 2,
            found,
        })?;
        Ok(RpnOutput { logits, deltas })
    }

    /// Whether it is that of `anchors` a cell.
    pub(crate) fn check(&self, anchors: usize) -> Result<(), ShapeError> {
        let RpnOutput { logits, deltas } = self;
        ShapeError::check("channels of RPN logits", anchors, logits.channels())?;
        ShapeError::check("channels of RPN deltas", 4 * anchors, deltas.channels())?;
        ShapeError::check("rows of RPN deltas", logits.height(), deltas.height())?;
        ShapeError::check("columns of RPN deltas", logits.width(), deltas.width())
    }
}

/// The RPN of one detector, whose plans for maps of several sizes share its weights.
#[derive(Debug)]
pub(crate) struct RpnHead {
    resources: Resources,
    rpn: Rpn,
    fusion: Fusion,
    plans: PlanCache,
}

impl RpnHead {
    /// None where the bundle has none.
    pub(crate) fn new(resources: &Resources) -> Option<RpnHead> {
        let rpn = resources.network.contents.rpn.clone()?;
        let fusion = Fusion::new(&rpn.graph, &rpn.graph.outputs, &resources.weights.plans);
        Some(RpnHead { resources: resources.clone(), rpn, fusion, plans: PlanCache::new(PLANS_KEPT) })
    }

    pub(crate) fn rpn(&self) -> &Rpn {
        &self.rpn
    }

    /// How its layers run.
    pub(crate) fn planned(&self) -> Vec<PlannedLayer> {
        planned("rpn", &self.rpn.graph, &self.fusion, &self.resources.weights, |_| false)
    }

    pub(crate) fn run(&self, map: &FeatureMap) -> Result<RpnOutput, Error> {
        let size = [map.height(), map.width()];
        let plan = self.plans.get(size, || self.make_plan(map))?;
        let given = plan.run_on_map(map.tensor())?.into_iter().map(FeatureMap::of);
        let output = RpnOutput::of(given.collect::<Result<_, Error>>()?)?;
        output.check(self.rpn.anchors_per_cell())?;
        Ok(output)
    }

    /// Checks that a map goes through: sizes that it cannot take are found here, with the layer's name, rather than in tract.
    pub(crate) fn check(&self, [height, width, channels]: [usize; 3]) -> Result<(), Error> {
        let graph = &self.rpn.graph;
        graph.infer(Shape::Map { height, width, channels }).map_err(|(position, problem)| {
            let layer = graph.layers.get(position).map_or("", |l| &l.name);
            Error::BlobSize { height, width, problem: format!("layer `{layer}` of the RPN: {problem}") }
        })?;
        Ok(())
    }

    fn make_plan(&self, map: &FeatureMap) -> Result<Plan, Error> {
        let shape = [map.height(), map.width(), map.channels()];
        self.check(shape)?;
        let graph = &self.rpn.graph;
        let input: Vec<TDim> = [1].into_iter().chain(shape).map(|side| side.to_dim()).collect();
        // What it gives is read at once.
        let outputs = (&graph.outputs[..], Readers::Kernels);
        Plan::new("rpn", graph, &self.fusion, &input, outputs, &self.resources, SymbolScope::default())
    }
}
