//! `Gemm`, with a ReLU that follows it taken in.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Gemm, Op as LayerOp, SectionId, Weights};
use frcnn_core::ShapeError;
use frcnn_kernels::{F32Products, KOrder, PreparedLinear};
use tract_core::internal::*;

use super::Resources;
use super::int8::{Int8Parts, NO_SCALES};

/// `[R, in]` to `[R, out]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinearOp {
    gemm: Gemm,
    relu: bool,
    resources: Resources,
}

impl LinearOp {
    pub(crate) fn new(gemm: &Gemm, relu: bool, resources: Resources) -> LinearOp {
        LinearOp { gemm: gemm.clone(), relu, resources }
    }
}

impl Resources {
    /// Runs a fully connected layer from `rows` rows of `x` into as many of `out`.
    pub(crate) fn run_linear(
        &self,
        gemm: &Gemm,
        relu: bool,
        rows: usize,
        x: &[f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let linear = self.weights.linears.get(gemm)?;
        Ok(linear.run(x, self.bias(gemm.bias), relu, rows, self.threads, out)?)
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
        self.resources.map_tensor(&input, &[rows, self.gemm.out_features as usize], |input, output| {
            self.resources.run_linear(&self.gemm, self.relu, rows, input, output)
        })
    }
}

impl TypedOp for LinearOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [rows, _] = &*inputs[0].shape.to_tvec() else { bail!("expected a [R, features] tensor") };
        Ok(tvec!(f32::fact([rows.clone(), (self.gemm.out_features as usize).to_dim()])))
    }
}

/// The fully connected layers of a network, packed for this CPU.
#[derive(Debug, Default)]
pub(crate) struct PackedLinears(HashMap<SectionId, PreparedLinear>);

/// A layer whose weights are not packed yet.
pub(crate) struct UnpackedLinear {
    section: SectionId,
    in_features: usize,
    out_features: usize,
    order: KOrder,
    weights: Weights,
    int8: Option<Int8Parts>,
}

pub(crate) struct PackedLinear {
    section: SectionId,
    layer: PreparedLinear,
}

impl UnpackedLinear {
    /// The layers of head and judge, with the weights of each section. `order` is that in which a layer sums its features.
    pub(crate) fn all(
        contents: &Contents,
        weights: &[Weights],
        order: impl Fn(&Gemm) -> KOrder,
    ) -> Vec<UnpackedLinear> {
        // Layers may share weights.
        let mut all = HashMap::new();
        for layer in contents.layers() {
            let LayerOp::Gemm(gemm) = &layer.op else { continue };
            let int8 = Int8Parts::of(contents, weights, gemm.weight);
            let Some(weights) = weights.get(gemm.weight as usize) else { continue };
            let layer = UnpackedLinear {
                section: gemm.weight,
                in_features: gemm.in_features as usize,
                out_features: gemm.out_features as usize,
                order: order(gemm),
                weights: weights.clone(),
                int8,
            };
            all.insert(gemm.weight, layer);
        }
        all.into_values().collect()
    }

    /// How many weights it has, and what tells it from others of as many.
    pub(super) fn rank(&self) -> (usize, SectionId) {
        (self.in_features.saturating_mul(self.out_features), self.section)
    }

    /// Packs the weights, on the calling thread alone.
    pub(super) fn pack(self, products: F32Products) -> Result<PackedLinear, ShapeError> {
        let UnpackedLinear { section, in_features, out_features, order, weights, int8 } = self;
        let layer = match &weights {
            Weights::F32(values) => {
                PreparedLinear::new(values, in_features, out_features, order, products, 1)?
            }
            Weights::Bf16(bits) => PreparedLinear::from_bf16(bits, in_features, out_features, order, 1)?,
            Weights::F16(bits) => {
                PreparedLinear::from_f16(bits, in_features, out_features, order, products, 1)?
            }
            Weights::Int8(values) => {
                let int8 = int8.ok_or(NO_SCALES)?;
                PreparedLinear::from_int8(int8.with(values), in_features, out_features, order, 1)?
            }
        };
        Ok(PackedLinear { section, layer })
    }
}

impl FromIterator<PackedLinear> for PackedLinears {
    fn from_iter<I: IntoIterator<Item = PackedLinear>>(layers: I) -> PackedLinears {
        PackedLinears(layers.into_iter().map(|packed| (packed.section, packed.layer)).collect())
    }
}

impl PackedLinears {
    /// A layer of the network.
    pub(crate) fn get(&self, gemm: &Gemm) -> TractResult<&PreparedLinear> {
        self.0.get(&gemm.weight).context("a layer that is not of this network")
    }
}
