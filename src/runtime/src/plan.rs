//! One optimised tract plan.

use std::sync::Arc;

use frcnn_bundle::Graph;
use tract_core::internal::*;

use crate::Error;
use crate::ops::Workshop;
use crate::raise::raise;

/// A graph that is ready to run on inputs of one shape (of any batch size, where that is a symbol).
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stage: &'static str,
    runnable: Arc<TypedRunnableModel>,
}

impl Plan {
    pub(crate) fn new(
        stage: &'static str,
        graph: &Graph,
        input: &[TDim],
        outputs: &[u32],
        workshop: &Workshop,
        symbols: SymbolScope,
    ) -> Result<Plan, Error> {
        let runnable = raise(graph, input, outputs, workshop, symbols)
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
