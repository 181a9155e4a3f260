//! One optimised tract plan.

use std::sync::Arc;

use frcnn_bundle::Graph;
use tract_core::internal::*;

use crate::Error;
use crate::fusion::Fusion;
use crate::ops::Resources;
use crate::raise::raise;

/// A graph that is ready to run on inputs of one shape (of any batch size, where that is a symbol).
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stage: &'static str,
    runnable: Arc<TypedRunnableModel>,
}

impl Plan {
    /// Of a graph and what is fused in it, which gives `outputs` of an input of shape `input`.
    pub(crate) fn new(
        stage: &'static str,
        graph: &Graph,
        fusion: &Fusion,
        input: &[TDim],
        outputs: &[u32],
        resources: &Resources,
        symbols: SymbolScope,
    ) -> Result<Plan, Error> {
        let runnable = raise(graph, fusion, input, outputs, resources, symbols)
            .and_then(|model| model.into_optimized()?.into_runnable())
            .map_err(Error::graph(stage))?;
        Ok(Plan { stage, runnable })
    }

    pub(crate) fn run(&self, input: TValue) -> Result<TVec<TValue>, Error> {
        self.runnable.run(tvec!(input)).map_err(Error::graph(self.stage))
    }
}

/// The values of a whole f32 tensor.
pub(crate) fn values<'a>(stage: &'static str, tensor: &'a Tensor) -> Result<&'a [f32], Error> {
    tensor.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>()).map_err(Error::graph(stage))
}
