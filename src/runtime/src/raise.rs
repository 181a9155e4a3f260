//! A bundle's graph as a tract model over channels-last tensors.

use frcnn_bundle::{Conv, Graph, Layer, Op, Pool};
use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_core::ops::math::{add, max, mul};
use tract_core::ops::nn::{Reduce, Reducer, Softmax, hard_swish, leaky_relu, sigmoid};

use crate::fusion::Fusion;
use crate::ops::{
    ConcatConvsOp, ConvOp, LinearOp, LrnOp, PoolKind, PoolOp, StripLayer, StripsOp, Workshop, pointwise,
};

/// Raises `graph`, whose input is an f32 tensor of `input`'s shape, to a model that gives `outputs`.
///
/// Layers that a kernel does along with another become part of it, see [`Fusion`].
pub(crate) fn raise(
    graph: &Graph,
    input: &[TDim],
    outputs: &[u32],
    workshop: &Workshop,
    symbols: SymbolScope,
) -> TractResult<TypedModel> {
    let fusion = Fusion::new(graph, outputs, &*workshop.convs);
    let model = TypedModel { symbols, ..TypedModel::default() };
    let mut raiser = Raiser { model, workshop, fusion };
    let source = raiser.model.add_source("input", f32::fact(input))?;
    let mut values = vec![source];
    for (position, layer) in graph.layers.iter().enumerate() {
        let input = *values_of(&values, layer)?.first().context("a layer without input")?;
        let outlet = if raiser.fusion.is_taken_in(position) {
            input
        } else {
            raiser
                .wire(position, layer, &values)
                .with_context(|| format!("layer `{}` ({})", layer.name, layer.op.name()))?
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
    workshop: &'a Workshop,
    fusion: Fusion<'a>,
}

impl Raiser<'_> {
    /// Adds `layer`, at `position` of the graph, with what it takes in. `values` are those of the layers before it.
    fn wire(&mut self, position: usize, layer: &Layer, values: &[OutletId]) -> TractResult<OutletId> {
        // Layers may have one name; to ask tract for one that is not taken yet takes longer the more there are.
        let name = format!("{} #{position}", layer.name);
        let inputs = &*values_of(values, layer)?;
        let relu = self.fusion.relu_after(position).is_some();
        let input = *inputs.first().context("a layer without input")?;
        match &layer.op {
            Op::Conv(_) if let Some(strips) = self.fusion.strips(position) => {
                let layers = strips.iter().map(|&position| self.strip_layer(position));
                let op =
                    StripsOp { layers: layers.collect::<TractResult<_>>()?, workshop: self.workshop.clone() };
                self.node(name, op, inputs)
            }
            Op::Conv(conv) => {
                let op = self.conv(position, conv, self.fusion.gives_bf16(position));
                self.node(name, op, inputs)
            }
            Op::Gemm(gemm) => {
                let op = LinearOp::new(gemm, relu, self.workshop.clone());
                self.node(name, op, inputs)
            }
            Op::MaxPool(pool) => self.node(name, self.max_pool(pool), inputs),
            Op::AveragePool { pool, count_include_pad } => {
                let kind = PoolKind::Average { count_include_pad: *count_include_pad };
                self.node(name, PoolOp::new(pool, kind, self.workshop.clone()), inputs)
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
            Op::Concat if let Some(branches) = self.fusion.branches(position) => {
                let mut inputs: TVec<OutletId> = tvec!();
                let (mut convs, bf16) = (vec![], self.fusion.gives_bf16(position));
                for (position, layer, conv) in branches {
                    inputs.extend(values_of(values, layer)?);
                    convs.push(self.conv(position, conv, bf16));
                }
                self.node(name, ConcatConvsOp(convs), &inputs)
            }
            Op::Concat => {
                let axis = self.model.outlet_fact(input)?.rank() - 1;
                self.node(name, TypedConcat { axis }, inputs)
            }
            Op::Add => self.node(name, add(), inputs),
            Op::Mul => self.node(name, mul(), inputs),
            Op::Affine(affine) => {
                let network = &self.workshop.network;
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

    /// A convolution with what it takes in; its output is bf16 or f32.
    fn conv(&self, position: usize, conv: &Conv, bf16: bool) -> ConvOp {
        let relu = self.fusion.relu_after(position).is_some();
        let pool = self.fusion.pool_after(position).map(|(_, ceil_mode)| ceil_mode);
        ConvOp::new(conv, relu, pool, bf16, self.workshop.clone())
    }

    fn max_pool(&self, pool: &Pool) -> PoolOp {
        PoolOp::new(pool, PoolKind::Max, self.workshop.clone())
    }

    fn lrn(&self, size: u32, [alpha, beta, k]: [f32; 3]) -> LrnOp {
        LrnOp { size: size as usize, alpha, beta, k, workshop: self.workshop.clone() }
    }

    fn strip_layer(&self, position: usize) -> TractResult<StripLayer> {
        let layer = self.fusion.graph().layers.get(position).context("a layer of the graph")?;
        Ok(match &layer.op {
            Op::Conv(conv) => StripLayer::Conv(self.conv(position, conv, false)),
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
