//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;
use std::sync::OnceLock;

use frcnn_bundle::{Gemm, Graph, Op as LayerOp, SectionId};
use frcnn_core::ShapeError;
use frcnn_kernels::{KOrder, PreparedLinear};
use tract_core::internal::*;

use super::{Weights, Workshop};

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
pub(crate) struct PreparedLinears(HashMap<SectionId, LazyLinear>);

#[derive(Debug)]
struct LazyLinear {
    features: [usize; 2],
    order: KOrder,
    prepared: OnceLock<Result<PreparedLinear, ShapeError>>,
}

impl PreparedLinears {
    /// The layers of `head`. `pooled` is the one that reads pooled RoIs, if any, and the order of their features.
    pub(crate) fn new(head: &Graph, pooled: Option<(SectionId, KOrder)>) -> PreparedLinears {
        let layers = head.layers.iter().filter_map(|layer| {
            let LayerOp::Gemm(gemm) = &layer.op else { return None };
            let features = [gemm.in_features, gemm.out_features].map(|features| features as usize);
            let order =
                pooled.filter(|(section, _)| *section == gemm.weight).map_or(KOrder::Natural, |p| p.1);
            Some((gemm.weight, LazyLinear { features, order, prepared: OnceLock::new() }))
        });
        PreparedLinears(layers.collect())
    }

    pub(crate) fn get(&self, weight: &Weights, threads: usize) -> TractResult<&PreparedLinear> {
        let layer = self.0.get(&weight.section).context("a layer that is not of this network")?;
        let [in_features, out_features] = layer.features;
        let prepare = || match weight.bf16() {
            [] => PreparedLinear::new(weight.get(), in_features, out_features, layer.order, threads),
            bits => PreparedLinear::from_bf16(bits, in_features, out_features, layer.order, threads),
        };
        Ok(layer.prepared.get_or_init(prepare).as_ref().map_err(|error| *error)?)
    }
}
