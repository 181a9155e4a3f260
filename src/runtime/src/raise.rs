//! A bundle's graph as a tract model over channels-last tensors.

use frcnn_bundle::{Conv, Graph, Layer, Op, Pool};
use frcnn_kernels::Lrn;
use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_core::ops::math::{add, max, mul};
use tract_core::ops::nn::{Reduce, Reducer, Softmax, hard_swish, leaky_relu, sigmoid};

use crate::fusion::{Fusion, Step};
use crate::ops::{
    ConcatConvsOp, ConvOp, LinearOp, LrnOp, PoolKind, PoolOp, Resources, StripLayer, StripsOp, pointwise,
};

/// Raises `graph`, whose input is an f32 tensor of `input`'s shape, to a model that gives `outputs`.
///
/// Layers that a kernel does along with another become part of it, as `fusion` says.
pub(crate) fn raise(
    graph: &Graph,
    fusion: &Fusion,
    input: &[TDim],
    outputs: &[u32],
    resources: &Resources,
    symbols: SymbolScope,
) -> TractResult<TypedModel> {
    let model = TypedModel { symbols, ..TypedModel::default() };
    let mut raiser = Raiser { model, resources, graph, fusion };
    let source = raiser.model.add_source("input", f32::fact(input))?;
    let mut values = vec![source];
    for (position, layer) in graph.layers.iter().enumerate() {
        let input = *values_of(&values, layer)?.first().context("a layer without input")?;
        let outlet = match raiser.fusion.step(position) {
            Step::Within(_) => input,
            _ => raiser
                .wire(position, layer, &values)
                .with_context(|| format!("layer `{}` ({})", layer.name, layer.op.name()))?,
        };
        values.push(outlet);
    }
    let outlets: Option<Vec<OutletId>> =
        outputs.iter().map(|&value| values.get(value as usize).copied()).collect();
    raiser.model.select_output_outlets(&outlets.context("an output that no layer makes")?)?;
    Ok(raiser.model)
}

fn values_of(values: &[OutletId], layer: &Layer) -> TractResult<TVec<OutletId>> {
    let inputs: Option<TVec<OutletId>> =
        layer.inputs.iter().map(|&value| values.get(value as usize).copied()).collect();
    inputs.with_context(|| format!("layer `{}` reads a later one", layer.name))
}

struct Raiser<'a> {
    model: TypedModel,
    resources: &'a Resources,
    graph: &'a Graph,
    fusion: &'a Fusion,
}

impl Raiser<'_> {
    /// Adds `layer`, at `position` of the graph, with what it takes in. `values` are those of the layers before it.
    fn wire(&mut self, position: usize, layer: &Layer, values: &[OutletId]) -> TractResult<OutletId> {
        // Layers may have one name; to ask tract for one that is not taken yet takes longer the more there are.
        let name = format!("{} #{position}", layer.name);
        let inputs = &*values_of(values, layer)?;
        let input = *inputs.first().context("a layer without input")?;
        match self.fusion.step(position).clone() {
            Step::Strips(layers) => {
                let layers = layers.into_iter().map(|position| self.strip_layer(position));
                let op = StripsOp {
                    layers: layers.collect::<TractResult<_>>()?,
                    resources: self.resources.clone(),
                };
                return self.node(name, op, inputs);
            }
            Step::Concat(branches) => {
                let mut inputs: TVec<OutletId> = tvec!();
                let mut convs = vec![];
                for position in branches {
                    let layer = self.graph.layers.get(position).context("a layer of the graph")?;
                    let Op::Conv(conv) = &layer.op else { bail!("a branch that is no convolution") };
                    inputs.extend(values_of(values, layer)?);
                    convs.push(self.conv(position, conv));
                }
                return self.node(name, ConcatConvsOp(convs), &inputs);
            }
            Step::Own | Step::Within(_) => {}
        }
        match &layer.op {
            Op::Conv(conv) => self.node(name, self.conv(position, conv), inputs),
            Op::Gemm(gemm) => {
                let op = LinearOp::new(gemm, self.fusion.epilogue(position).relu, self.resources.clone());
                self.node(name, op, inputs)
            }
            Op::MaxPool(pool) => self.node(name, self.max_pool(pool), inputs),
            Op::AveragePool { pool, count_include_pad } => {
                let kind = PoolKind::Average { count_include_pad: *count_include_pad };
                self.node(name, PoolOp::new(pool, kind, self.resources.clone()), inputs)
            }
            Op::GlobalAveragePool => {
                let [_, height, width, _] = &*self.model.outlet_fact(input)?.shape.to_tvec() else {
                    bail!("expected a [N, H, W, C] tensor")
                };
                let cells = (height.to_usize()? * width.to_usize()?) as f32;
                let op = Reduce { axes: tvec!(1, 2), reducer: Reducer::Sum };
                let sum = self.node(format!("{name}.sum"), op, &[input])?;
                self.with_constants(&name, mul(), sum, &[cells.recip()])
            }
            Op::Lrn { size, alpha, beta, k } => self.node(name, self.lrn(*size, [*alpha, *beta, *k]), inputs),
            Op::Relu => self.with_constants(&name, max(), input, &[0.0]),
            Op::LeakyRelu { alpha } => self.node(name, leaky_relu(*alpha), inputs),
            Op::Clip { low, high } => self.node(name, pointwise(1.0, 0.0, [*low, *high]), inputs),
            Op::Sigmoid => self.node(name, sigmoid(), inputs),
            Op::HardSigmoid { alpha, beta } => self.node(name, pointwise(*alpha, *beta, [0.0, 1.0]), inputs),
            Op::HardSwish => self.node(name, hard_swish(), inputs),
            Op::Concat => {
                let axis = self.model.outlet_fact(input)?.rank() - 1;
                self.node(name, TypedConcat { axis }, inputs)
            }
            Op::Add => self.node(name, add(), inputs),
            Op::Mul => self.node(name, mul(), inputs),
            Op::Affine(affine) => {
                let network = &self.resources.network;
                let (scale, shift) = (network.values(affine.scale), network.values(affine.shift));
                let scaled = self.with_constants(&format!("{name}.scale"), mul(), input, scale)?;
                self.with_constants(&name, add(), scaled, shift)
            }
            Op::Flatten => {
                let from: TVec<TDim> = self.model.outlet_fact(input)?.shape.iter().skip(1).cloned().collect();
                let features: TDim = from.iter().product();
                self.node(name, AxisOp::Reshape(1, from, tvec!(features)), inputs)
            }
            Op::Softmax => self.node(name, Softmax { axes: tvec!(1), ..Softmax::default() }, inputs),
        }
    }

    /// A convolution with what it takes in.
    fn conv(&self, position: usize, conv: &Conv) -> ConvOp {
        ConvOp::new(conv, self.fusion.epilogue(position), self.resources.clone())
    }

    fn max_pool(&self, pool: &Pool) -> PoolOp {
        PoolOp::new(pool, PoolKind::Max, self.resources.clone())
    }

    fn lrn(&self, size: u32, [alpha, beta, k]: [f32; 3]) -> LrnOp {
        let lrn = Lrn { size: size as usize, alpha, beta, k };
        LrnOp { lrn, resources: self.resources.clone() }
    }

    fn strip_layer(&self, position: usize) -> TractResult<StripLayer> {
        let layer = self.graph.layers.get(position).context("a layer of the graph")?;
        Ok(match &layer.op {
            Op::Conv(conv) => StripLayer::Conv(self.conv(position, conv)),
            Op::MaxPool(pool) => StripLayer::MaxPool(self.max_pool(pool)),
            Op::Lrn { size, alpha, beta, k } => StripLayer::Lrn(self.lrn(*size, [*alpha, *beta, *k])),
            op => bail!("{} does not run in strips", op.name()),
        })
    }

    fn node(
        &mut self,
        name: String,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.model.wire_node(name, op, inputs)?.first().copied().context("an operator without output")
    }

    /// A binary operator whose right side is one value for all channels or one for each.
    fn with_constants(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        input: OutletId,
        values: &[f32],
    ) -> TractResult<OutletId> {
        let mut shape: TVec<usize> = tvec!(1; self.model.outlet_fact(input)?.rank());
        if let Some(last) = shape.last_mut() {
            *last = values.len();
        }
        let constant = Tensor::from_shape(&shape, values)?;
        let constant = self.model.add_const(format!("{name}.constant"), constant)?;
        wire_with_rank_broadcast(name, &mut self.model, op, &[input, constant])?
            .first()
            .copied()
            .context("an operator without output")
    }
}
