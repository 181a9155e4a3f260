//! One optimised tract plan.

use std::sync::Arc;

use frcnn_bundle::Graph;
use tract_core::internal::*;

use crate::Error;
use crate::fusion::Fusion;
use crate::ops::{self, Readers, Resources};
use crate::raise::{raise, readers};

/// A graph that is ready to run on inputs of one shape (of any batch size, where that is a symbol).
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stage: &'static str,
    runnable: Arc<TypedRunnableModel>,
    /// For whoever makes its input.
    input: Resources,
}

impl Plan {
    /// Of a graph and what is fused in it, which gives `outputs` of an input of shape `input`, to be read by `caller`.
    pub(crate) fn new(
        stage: &'static str,
        graph: &Graph,
        fusion: &Fusion,
        input: &[TDim],
        (outputs, caller): (&[u32], Readers),
        resources: &Resources,
        symbols: SymbolScope,
    ) -> Result<Plan, Error> {
        let readers = readers(graph, fusion, outputs, caller);
        let of_input = readers.last().copied().unwrap_or(Readers::Tract);
        let runnable = raise(graph, fusion, input, outputs, readers, resources, symbols)
            .and_then(|model| model.into_optimized()?.into_runnable())
            .map_err(Error::graph(stage))?;
        Ok(Plan { stage, runnable, input: resources.read_by(of_input) })
    }

    /// An input of `shape`, which `fill` writes; it may hold anything before.
    pub(crate) fn make_input(
        &self,
        shape: &[usize],
        fill: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> TractResult<TValue> {
        self.input.make(shape, fill)
    }

    /// Runs on one map of f32 values that somebody else holds.
    pub(crate) fn run_on_map(&self, map: &TValue) -> Result<TVec<TValue>, Error> {
        // tract's operators know only tensors of its own.
        if self.input.readers() == Readers::Tract {
            let copied = self.make_input(map.shape(), |values| {
                values.copy_from_slice(ops::values(map)?);
                Ok(())
            });
            return self.run(copied.map_err(Error::making(self.stage, "a map"))?);
        }
        self.run(map.clone())
    }

    pub(crate) fn run(&self, input: TValue) -> Result<TVec<TValue>, Error> {
        self.runnable.run(tvec!(input)).map_err(Error::graph(self.stage))
    }
}

/// The values of a whole f32 tensor.
pub(crate) fn values<'a>(stage: &'static str, tensor: &'a Tensor) -> Result<&'a [f32], Error> {
    ops::values(tensor).map_err(Error::graph(stage))
}
