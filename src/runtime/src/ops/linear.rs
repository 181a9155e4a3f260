//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use frcnn_bundle::{Bundle, Gemm, Graph, Op as LayerOp, SectionId};
use frcnn_core::ShapeError;
use frcnn_kernels::{KOrder, PreparedLinear};
use tract_core::internal::*;

use super::{Weights, Workshop};
use crate::pooled_linear::PooledLinear;

/// `[R, in]` to `[R, out]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinearOp {
    out_features: usize,
    weight: Weights,
    bias: Option<Weights>,
    relu: bool,
    workshop: Workshop,
}

impl LinearOp {
    pub(crate) fn new(
        gemm: &Gemm,
        weight: Weights,
        bias: Option<Weights>,
        relu: bool,
        workshop: Workshop,
    ) -> LinearOp {
        LinearOp { out_features: gemm.out_features as usize, weight, bias, relu, workshop }
    }
}

impl Op for LinearOp {
    fn name(&self) -> StaticName {
        "FrcnnLinear".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LinearOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let rows = input.shape().first().copied().unwrap_or(0);
        let threads = self.workshop.threads;
        let linear = self.workshop.linears.get(&self.weight, threads)?;
        self.workshop.map_tensor(&input, &[rows, self.out_features], |input, output| {
            linear.run(input, self.bias.as_ref().map(Weights::get), self.relu, rows, threads, output)
        })
    }
}

impl TypedOp for LinearOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [rows, _] = &*inputs[0].shape.to_tvec() else { bail!("expected a [R, features] tensor") };
        Ok(tvec!(f32::fact([rows.clone(), self.out_features.to_dim()])))
    }
}

/// The fully connected layers of a network, each laid out for this CPU when it first runs.
#[derive(Debug, Default)]
pub(crate) struct PreparedLinears {
    layers: HashMap<SectionId, LazyLinear>,
    /// The layer that reads pooled RoIs, with the regressors that do, if it is no layer of the above.
    joined: Option<LazyLinear>,
}

#[derive(Debug)]
struct LazyLinear {
    features: [usize; 2],
    order: KOrder,
    prepared: OnceLock<Result<PreparedLinear, ShapeError>>,
}

impl LazyLinear {
    fn new(gemm: &Gemm, order: KOrder) -> LazyLinear {
        let features = [gemm.in_features, gemm.out_features].map(|features| features as usize);
        LazyLinear { features, order, prepared: OnceLock::new() }
    }

    fn get(
        &self,
        prepare: impl FnOnce([usize; 2], KOrder) -> Result<PreparedLinear, ShapeError>,
    ) -> TractResult<&PreparedLinear> {
        let prepared = self.prepared.get_or_init(|| prepare(self.features, self.order));
        Ok(prepared.as_ref().map_err(|error| *error)?)
    }
}

impl PreparedLinears {
    /// The layers of `head`. `pooled` is what reads pooled RoIs, if any, and the order of their features.
    pub(crate) fn new(head: &Graph, pooled: Option<(PooledLinear, KOrder)>) -> PreparedLinears {
        let order = |gemm: &Gemm| match &pooled {
            Some((first, order)) if first.gemm.weight == gemm.weight && first.boxes.is_none() => *order,
            _ => KOrder::Natural,
        };
        let layers = head.layers.iter().filter_map(|layer| {
            let LayerOp::Gemm(gemm) = &layer.op else { return None };
            Some((gemm.weight, LazyLinear::new(gemm, order(gemm))))
        });
        let layers = layers.collect();
        let joined = pooled.filter(|(first, _)| first.boxes.is_some()).map(|(first, order)| {
            let features = [first.gemm.in_features as usize, first.out_features().iter().sum()];
            LazyLinear { features, order, prepared: OnceLock::new() }
        });
        PreparedLinears { layers, joined }
    }

    pub(crate) fn get(&self, weight: &Weights, threads: usize) -> TractResult<&PreparedLinear> {
        let layer = self.layers.get(&weight.section).context("a layer that is not of this network")?;
        layer.get(|[rows, columns], order| match weight.bf16() {
            [] => PreparedLinear::new(weight.get(), rows, columns, order, threads),
            bits => PreparedLinear::from_bf16(bits, rows, columns, order, threads),
        })
    }

    /// The layer that reads pooled RoIs, the columns of its regressors behind its own.
    pub(crate) fn pooled(
        &self,
        bundle: &Arc<Bundle>,
        first: &PooledLinear,
        threads: usize,
    ) -> TractResult<&PreparedLinear> {
        let (Some(boxes), Some(joined)) = (&first.boxes, &self.joined) else {
            return self.get(&Weights { bundle: bundle.clone(), section: first.gemm.weight }, threads);
        };
        let (sections, widths) = ([first.gemm.weight, boxes.weight], first.out_features());
        joined.get(|[rows, columns], order| match sections.map(|id| bundle.bf16_weights(id)) {
            [[], _] | [_, []] => {
                let [hidden, boxes] = sections.map(|id| bundle.weights_as_f32(id));
                let both = side_by_side([&hidden, &boxes], widths);
                PreparedLinear::new(&both, rows, columns, order, threads)
            }
            both => PreparedLinear::from_bf16(&side_by_side(both, widths), rows, columns, order, threads),
        })
    }
}

/// Two matrices of as many rows, of these widths, as one.
fn side_by_side<T: Copy>(matrices: [&[T]; 2], widths: [usize; 2]) -> Vec<T> {
    let [left, right] = [0, 1].map(|i| matrices[i].chunks_exact(widths[i].max(1)));
    left.zip(right).flat_map(|(left, right)| left.iter().chain(right)).copied().collect()
}
