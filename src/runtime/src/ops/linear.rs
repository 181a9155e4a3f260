//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;

use frcnn_bundle::{Gemm, Graph, Op as LayerOp, SectionId, Weights};
use frcnn_core::ShapeError;
use frcnn_kernels::{F32Products, KOrder, PreparedLinear};
use tract_core::internal::*;

use super::Resources;
use crate::pooled_linear::PooledLinear;

/// `[R, in]` to `[R, out]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinearOp {
    out_features: usize,
    weight: SectionId,
    bias: Option<SectionId>,
    relu: bool,
    resources: Resources,
}

impl LinearOp {
    pub(crate) fn new(gemm: &Gemm, relu: bool, resources: Resources) -> LinearOp {
        let Gemm { out_features, weight, bias, .. } = *gemm;
        LinearOp { out_features: out_features as usize, weight, bias, relu, resources }
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
        let threads = self.resources.threads;
        let bias = self.resources.bias(self.bias);
        let linears = &self.resources.weights.linears;
        self.resources.map_tensor(&input, &[rows, self.out_features], |input, output| {
            linears.run(self.weight, input, bias, self.relu, rows, threads, output)
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

/// The fully connected layers of a network, packed for this CPU.
#[derive(Debug, Default)]
pub(crate) struct PackedLinears {
    layers: HashMap<SectionId, PreparedLinear>,
    /// The layer that reads pooled RoIs and the regressors that do, where both do.
    joined: Option<Joined>,
}

/// Two layers of the same input, the columns of the second behind those of the first.
#[derive(Debug)]
pub(crate) struct Joined {
    sections: [SectionId; 2],
    widths: [usize; 2],
    layer: PreparedLinear,
}

/// A layer whose weights are not packed yet, or two that become one.
pub(crate) struct UnpackedLinear {
    sections: [SectionId; 2],
    in_features: usize,
    /// The second is 0 where the layer stands alone.
    widths: [usize; 2],
    order: KOrder,
    weights: [Weights; 2],
}

/// What has become of an [`UnpackedLinear`].
pub(crate) enum PackedLinear {
    Alone(SectionId, PreparedLinear),
    Joined(Joined),
}

impl UnpackedLinear {
    /// The layers of `head`, with the weights of each section. `pooled` is what reads pooled RoIs, if any, and the order
    /// of their features.
    pub(crate) fn all(
        head: &Graph,
        weights: &[Weights],
        pooled: Option<(PooledLinear, KOrder)>,
    ) -> Vec<UnpackedLinear> {
        let mut all: HashMap<SectionId, UnpackedLinear> = HashMap::new();
        for layer in &head.layers {
            let LayerOp::Gemm(gemm) = &layer.op else { continue };
            let Some(weights) = weights.get(gemm.weight as usize) else { continue };
            let order = match &pooled {
                Some((first, order)) if first.gemm.weight == gemm.weight => *order,
                _ => KOrder::Natural,
            };
            let alone = UnpackedLinear {
                sections: [gemm.weight; 2],
                in_features: gemm.in_features as usize,
                widths: [gemm.out_features as usize, 0],
                order,
                weights: [weights.clone(), weights.clone()],
            };
            all.insert(gemm.weight, alone);
        }
        // Both read the same features: they run as one layer.
        if let Some((first, _)) = pooled
            && let Some(boxes) = &first.boxes
            && let Some(weights) = all.get(&boxes.weight).map(|layer| layer.weights[0].clone())
        {
            if boxes.weight != first.gemm.weight {
                all.remove(&boxes.weight);
            }
            if let Some(layer) = all.get_mut(&first.gemm.weight) {
                (layer.sections[1], layer.weights[1]) = (boxes.weight, weights);
                layer.widths = first.out_features();
            }
        }
        all.into_values().collect()
    }

    /// How many weights it has, and what tells it from others of as many.
    pub(super) fn rank(&self) -> (usize, SectionId) {
        (self.in_features.saturating_mul(self.widths.iter().sum()), self.sections[0])
    }

    /// Packs the weights, on the calling thread alone.
    pub(super) fn pack(self, products: F32Products) -> Result<PackedLinear, ShapeError> {
        let UnpackedLinear { sections, in_features: rows, widths, order, weights } = self;
        let columns = widths.iter().sum();
        if widths[1] == 0 {
            let layer = match &weights[0] {
                Weights::F32(values) => PreparedLinear::new(values, rows, columns, order, products, 1)?,
                Weights::Bf16(bits) => PreparedLinear::from_bf16(bits, rows, columns, order, 1)?,
            };
            return Ok(PackedLinear::Alone(sections[0], layer));
        }
        let layer = match &weights {
            [Weights::Bf16(left), Weights::Bf16(right)] => {
                PreparedLinear::from_bf16(&side_by_side([left, right], widths), rows, columns, order, 1)?
            }
            [left, right] => {
                let [left, right] = [left.to_f32(), right.to_f32()];
                PreparedLinear::new(
                    &side_by_side([&left, &right], widths),
                    rows,
                    columns,
                    order,
                    products,
                    1,
                )?
            }
        };
        Ok(PackedLinear::Joined(Joined { sections, widths, layer }))
    }
}

impl FromIterator<PackedLinear> for PackedLinears {
    fn from_iter<I: IntoIterator<Item = PackedLinear>>(layers: I) -> PackedLinears {
        let mut all = PackedLinears::default();
        for layer in layers {
            match layer {
                PackedLinear::Alone(section, layer) => drop(all.layers.insert(section, layer)),
                PackedLinear::Joined(joined) => all.joined = Some(joined),
            }
        }
        all
    }
}

impl PackedLinears {
    /// The layer that reads pooled RoIs, the columns of its regressors behind its own.
    pub(crate) fn pooled(&self, first: &PooledLinear) -> TractResult<&PreparedLinear> {
        match &self.joined {
            Some(joined) => Ok(&joined.layer),
            None => self.layers.get(&first.gemm.weight).context(UNKNOWN),
        }
    }

    /// The layer with the weights of section `weight` on `[rows, in]`.
    #[expect(clippy::too_many_arguments, reason = "a layer is its operands and sizes")]
    fn run(
        &self,
        weight: SectionId,
        input: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        rows: usize,
        threads: usize,
        output: &mut [f32],
    ) -> TractResult<()> {
        if let Some(layer) = self.layers.get(&weight) {
            return Ok(layer.run(input, bias, relu, rows, threads, output)?);
        }
        // One of two that run as one: only who looks at every layer asks for it alone.
        let joined = self.joined.as_ref().context(UNKNOWN)?;
        let part = joined.sections.iter().position(|&section| section == weight).context(UNKNOWN)?;
        let [left, right] = joined.widths;
        let (first, width) = if part == 0 { (0, left) } else { (left, right) };
        let mut both = vec![0.0; rows.saturating_mul(left + right)];
        let mut biases = vec![0.0; left + right];
        if let Some(bias) = bias {
            biases[first..][..width].copy_from_slice(bias);
        }
        joined.layer.run(input, Some(&biases), relu, rows, threads, &mut both)?;
        for (output, both) in output.chunks_exact_mut(width).zip(both.chunks_exact(left + right)) {
            output.copy_from_slice(&both[first..][..width]);
        }
        Ok(())
    }
}

const UNKNOWN: &str = "a layer that is not of this network";

/// Two matrices of as many rows, of these widths, as one.
fn side_by_side<T: Copy>(matrices: [&[T]; 2], widths: [usize; 2]) -> Vec<T> {
    let [left, right] = [0, 1].map(|i| matrices[i].chunks_exact(widths[i].max(1)));
    left.zip(right).flat_map(|(left, right)| left.iter().chain(right)).copied().collect()
}
