//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;

use frcnn_bundle::{Gemm, Graph, Op as LayerOp, SectionId, Weights};
use frcnn_kernels::{KOrder, PreparedLinear};
use tract_core::internal::*;

use super::{Lazy, Workshop};
use crate::pooled_linear::PooledLinear;

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
pub(crate) struct PreparedLinears {
    layers: HashMap<SectionId, LazyLinear>,
    /// The layer that reads pooled RoIs and the regressors that do, if there are any. Each is in `layers`, too, for who
    /// asks for its output alone.
    joined: Option<Joined>,
}

#[derive(Debug)]
struct LazyLinear {
    features: [usize; 2],
    order: KOrder,
    layer: Lazy<PreparedLinear>,
}

/// Two layers of the same input, the columns of the second behind those of the first.
#[derive(Debug)]
struct Joined {
    sections: [SectionId; 2],
    in_features: usize,
    widths: [usize; 2],
    order: KOrder,
    layer: Lazy<PreparedLinear, [Weights; 2]>,
}

impl Joined {
    fn get(&self) -> TractResult<&PreparedLinear> {
        let (rows, columns, order) = (self.in_features, self.widths.iter().sum(), self.order);
        self.layer.get(|weights| match weights.each_ref().map(Weights::bf16) {
            [[], _] | [_, []] => {
                let [left, right] = weights.each_ref().map(Weights::to_f32);
                let both = side_by_side([&left, &right], self.widths);
                PreparedLinear::new(&both, rows, columns, order, 1)
            }
            both => {
                let both = side_by_side(both, self.widths);
                PreparedLinear::from_bf16(&both, rows, columns, order, 1)
            }
        })
    }
}

impl PreparedLinears {
    /// The layers of `head`, with the weights of each section. `pooled` is what reads pooled RoIs, if any, and the order
    /// of their features.
    pub(crate) fn new(
        head: &Graph,
        weights: &[Weights],
        pooled: Option<(PooledLinear, KOrder)>,
    ) -> PreparedLinears {
        let order = |gemm: &Gemm| match &pooled {
            Some((first, order)) if first.gemm.weight == gemm.weight && first.boxes.is_none() => *order,
            _ => KOrder::Natural,
        };
        let layers = head.layers.iter().filter_map(|layer| {
            let LayerOp::Gemm(gemm) = &layer.op else { return None };
            let features = [gemm.in_features, gemm.out_features].map(|features| features as usize);
            let layer = Lazy::new(weights.get(gemm.weight as usize)?.clone());
            Some((gemm.weight, LazyLinear { features, order: order(gemm), layer }))
        });
        let layers = layers.collect();
        let joined = pooled.and_then(|(first, order)| {
            let sections = [first.gemm.weight, first.boxes.as_ref()?.weight];
            let [left, right] = sections.map(|section| weights.get(section as usize).cloned());
            Some(Joined {
                sections,
                in_features: first.gemm.in_features as usize,
                widths: first.out_features(),
                order,
                layer: Lazy::new([left?, right?]),
            })
        });
        PreparedLinears { layers, joined }
    }

    pub(crate) fn get(&self, weight: SectionId) -> TractResult<&PreparedLinear> {
        let LazyLinear { features: [rows, columns], order, layer } =
            self.layers.get(&weight).context("a layer that is not of this network")?;
        layer.get(|weights| match weights.bf16() {
            [] => PreparedLinear::new(weights.f32(), *rows, *columns, *order, 1),
            bits => PreparedLinear::from_bf16(bits, *rows, *columns, *order, 1),
        })
    }

    /// The layer that reads pooled RoIs, the columns of its regressors behind its own.
    pub(crate) fn pooled(&self, first: &PooledLinear) -> TractResult<&PreparedLinear> {
        self.joined.as_ref().map_or_else(|| self.get(first.gemm.weight), Joined::get)
    }

    /// The section and number of weights of each layer that runs; of two that run as one, the first's section.
    pub(super) fn sizes(&self) -> Vec<(SectionId, usize)> {
        let parts = self.joined.as_ref().map_or(&[][..], |joined| &joined.sections);
        let alone = self.layers.iter().filter(|(section, _)| !parts.contains(section));
        let alone = alone.map(|(&section, layer)| (section, layer.features.iter().product()));
        let joined = self.joined.iter().map(|joined| {
            let [first, _] = joined.sections;
            (first, joined.in_features * joined.widths.iter().sum::<usize>())
        });
        alone.chain(joined).collect()
    }

    /// Lays out one of [`sizes`](PreparedLinears::sizes).
    pub(super) fn lay_out(&self, section: SectionId) -> TractResult<()> {
        match &self.joined {
            Some(joined) if joined.sections.contains(&section) => joined.get().map(drop),
            _ => self.get(section).map(drop),
        }
    }
}

/// Two matrices of as many rows, of these widths, as one.
fn side_by_side<T: Copy>(matrices: [&[T]; 2], widths: [usize; 2]) -> Vec<T> {
    let [left, right] = [0, 1].map(|i| matrices[i].chunks_exact(widths[i].max(1)));
    left.zip(right).flat_map(|(left, right)| left.iter().chain(right)).copied().collect()
}
