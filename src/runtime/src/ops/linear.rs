//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;

use frcnn_bundle::{Gemm, Graph, Op as LayerOp, SectionId, Weights};
use frcnn_kernels::{KOrder, PreparedLinear};
use tract_core::internal::*;

use super::{Lazy, Workshop};

/// `[R, in]` to `[R, out]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinearOp {
    out_features: usize,
    weight: SectionId,
    bias: Option<SectionId>,
    relu: bool,
    workshop: Workshop,
}

impl LinearOp {
    pub(crate) fn new(gemm: &Gemm, relu: bool, workshop: Workshop) -> LinearOp {
        let Gemm { out_features, weight, bias, .. } = *gemm;
        LinearOp { out_features: out_features as usize, weight, bias, relu, workshop }
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
        let linear = self.workshop.linears.get(self.weight)?;
        let bias = self.workshop.bias(self.bias);
        self.workshop.map_tensor(&input, &[rows, self.out_features], |input, output| {
            linear.run(input, bias, self.relu, rows, threads, output)
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
    layer: Lazy<PreparedLinear>,
}

impl PreparedLinears {
    /// The layers of `head`, with the weights of each section. `pooled` is the layer that reads pooled RoIs, if any, and
    /// the order of their features.
    pub(crate) fn new(
        head: &Graph,
        weights: &[Weights],
        pooled: Option<(SectionId, KOrder)>,
    ) -> PreparedLinears {
        let layers = head.layers.iter().filter_map(|layer| {
            let LayerOp::Gemm(gemm) = &layer.op else { return None };
            let features = [gemm.in_features, gemm.out_features].map(|features| features as usize);
            let order =
                pooled.filter(|(section, _)| *section == gemm.weight).map_or(KOrder::Natural, |p| p.1);
            let layer = Lazy::new(weights.get(gemm.weight as usize)?.clone());
            Some((gemm.weight, LazyLinear { features, order, layer }))
        });
        PreparedLinears(layers.collect())
    }

    pub(crate) fn get(&self, weight: SectionId) -> TractResult<&PreparedLinear> {
        let LazyLinear { features: [in_features, out_features], order, layer } =
            self.0.get(&weight).context("a layer that is not of this network")?;
        layer.get(|weights| match weights.bf16() {
            [] => PreparedLinear::new(weights.f32(), *in_features, *out_features, *order, 1),
            bits => PreparedLinear::from_bf16(bits, *in_features, *out_features, *order, 1),
        })
    }

    /// Each layer's section and number of weights.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (SectionId, usize)> {
        self.0.iter().map(|(&section, layer)| (section, layer.features.iter().product()))
    }
}
