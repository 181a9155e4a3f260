//! A bundle's graph as a tract model over channels-last tensors.

use frcnn_bundle::{Affine, Conv, Gemm, Graph, Layer, Op, Pool};
use frcnn_kernels::Lrn;
use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_core::ops::math::{add, mul};
use tract_core::ops::nn::{leaky_relu, sigmoid};

use crate::fusion::{Fusion, Step};
use crate::ops::{
    AddUpsampledOp, BinaryOp, Combine, ConcatConvsOp, ConvOp, GlobalAverageOp, LinearOp, LrnOp, PointwiseOp,
    PoolKind, PoolOp, Readers, Resources, SoftmaxOp, StripLayer, StripsOp, UpsampleOp, pointwise_of,
};

/// Who reads what each operator of `graph` gives, by the operator's layer; and last, who reads the graph's input. The values
/// `outputs` are asked for, by `caller`.
pub(crate) fn readers(graph: &Graph, fusion: &Fusion, outputs: &[u32], caller: Readers) -> Vec<Readers> {
    let input = graph.layers.len();
    let mut readers = vec![Readers::Kernels; input + 1];
    // A value is that of the layer before it, and the first one is the input.
    let maker = |value: u32| (value as usize).checked_sub(1).map_or(input, |layer| fusion.operator(layer));
    for &value in outputs {
        if let Some(readers) = readers.get_mut(maker(value)) {
            *readers = caller;
        }
    }
    for (position, layer) in graph.layers.iter().enumerate() {
        if *fusion.step(position) == Step::Own && !runs_on_kernels(&layer.op) {
            for &value in &layer.inputs {
                if let Some(readers) = readers.get_mut(maker(value)) {
                    *readers = Readers::Tract;
                }
            }
        }
    }
    readers
}

/// Whether a layer that runs by itself is an operator of ours, which reads values wherever they are.
pub(crate) fn runs_on_kernels(op: &Op) -> bool {
    !matches!(op, Op::LeakyRelu { .. } | Op::Sigmoid | Op::Affine(_) | Op::Concat | Op::Flatten)
}

/// Raises `graph`, whose input is an f32 tensor of `input`'s shape, to a model that gives `outputs`.
///
/// Each value of the graph becomes an outlet of the model. Layers that a kernel does along with another become part of that
/// layer's operator, as `fusion` says. `readers` are those of [`readers`].
pub(crate) fn raise(
    graph: &Graph,
    fusion: &Fusion,
    input: &[TDim],
    outputs: &[u32],
    readers: Vec<Readers>,
    resources: &Resources,
    symbols: SymbolScope,
) -> TractResult<TypedModel> {
    let model = TypedModel { symbols, ..TypedModel::default() };
    let mut raiser = Raiser { model, resources, graph, fusion, readers };
    let source = raiser.model.add_source("input", f32::fact(input))?;
    let mut values = vec![source];
    for (position, layer) in graph.layers.iter().enumerate() {
        let outlet = raiser.wire(position, layer, &values);
        values.push(outlet.with_context(|| format!("layer `{}` ({})", layer.name, layer.op.name()))?);
    }
    let outlets: Option<Vec<OutletId>> =
        outputs.iter().map(|&value| values.get(value as usize).copied()).collect();
    raiser.model.select_output_outlets(&outlets.context("an output that no layer makes")?)?;
    Ok(raiser.model)
}

/// The outlets of what `layer` reads. `values` are those of the input and of the layers before it.
fn inputs_of(values: &[OutletId], layer: &Layer) -> TractResult<TVec<OutletId>> {
    let inputs: Option<TVec<OutletId>> =
        layer.inputs.iter().map(|&value| values.get(value as usize).copied()).collect();
    inputs.context("it reads a later one")
}

struct Raiser<'a> {
    model: TypedModel,
    resources: &'a Resources,
    graph: &'a Graph,
    fusion: &'a Fusion,
    /// As [`readers`] gives them.
    readers: Vec<Readers>,
}

impl<'a> Raiser<'a> {
    /// Adds the operator of `layer`, at `position` of the graph, and gives the outlet of what the layer makes.
    fn wire(&mut self, position: usize, layer: &Layer, values: &[OutletId]) -> TractResult<OutletId> {
        // Layers may have one name; to ask tract for one that is not taken yet takes longer the more there are.
        let name = format!("{} #{position}", layer.name);
        let inputs = inputs_of(values, layer)?;
        let input = *inputs.first().context("a layer without input")?;
        let fusion = self.fusion;
        match fusion.step(position) {
            Step::Own => self.layer(name, position, &layer.op, &inputs),
            // A layer before it has computed this one, too: its outlet is already what this one makes. Or it is a branch
            // of a concatenation, and nobody else asks for the outlet.
            Step::Within(_) => Ok(input),
            Step::Strips(layers) => self.strips(name, position, layers, input),
            Step::AddUpsampled(upsample) => {
                // The upsampling's outlet is that of the map that it reads.
                let is_second = layer.inputs.last() == Some(&(*upsample as u32 + 1));
                let op = AddUpsampledOp { is_second, resources: self.resources(position) };
                self.node(name, op, &inputs)
            }
            Step::Concat(branches) => self.concat_convs(name, branches, values),
        }
    }

    /// A layer that runs by itself, with its epilogue.
    fn layer(
        &mut self,
        name: String,
        position: usize,
        op: &Op,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let input = *inputs.first().context("a layer without input")?;
        match op {
            // Operators of ours, on kernels: see `ops`.
            Op::Conv(conv) => self.node(name, self.conv(position, conv), inputs),
            Op::Gemm(gemm) => self.node(name, self.linear(position, gemm), inputs),
            Op::MaxPool(pool) => self.node(name, self.pool(position, pool, PoolKind::Max), inputs),
            Op::AveragePool { pool, count_include_pad } => {
                let kind = PoolKind::Average { count_include_pad: *count_include_pad };
                self.node(name, self.pool(position, pool, kind), inputs)
            }
            Op::Lrn { size, alpha, beta, k } => {
                self.node(name, self.lrn(position, *size, [*alpha, *beta, *k]), inputs)
            }
            Op::Softmax => self.node(name, SoftmaxOp { resources: self.resources(position) }, inputs),
            Op::Relu | Op::Clip { .. } | Op::HardSigmoid { .. } | Op::HardSwish => {
                let function = pointwise_of(op).context("no function of one value")?;
                self.node(name, PointwiseOp { function, resources: self.resources(position) }, inputs)
            }
            Op::Add => {
                let relu = self.fusion.epilogue(position).relu;
                self.node(name, self.binary(position, Combine::Add { relu }), inputs)
            }
            Op::Mul => self.node(name, self.binary(position, Combine::Mul), inputs),
            Op::GlobalAveragePool => {
                self.node(name, GlobalAverageOp { resources: self.resources(position) }, inputs)
            }
            Op::Upsample => self.node(name, UpsampleOp { resources: self.resources(position) }, inputs),
            // tract's, which are one operator each.
            Op::LeakyRelu { alpha } => self.node(name, leaky_relu(*alpha), inputs),
            Op::Sigmoid => self.node(name, sigmoid(), inputs),
            // Compositions of tract's.
            Op::Affine(affine) => self.affine(&name, affine, input),
            Op::Concat => self.concat(name, inputs),
            Op::Flatten => self.flatten(name, input),
        }
    }

    /// Layers that run together, a strip of rows at a time.
    fn strips(
        &mut self,
        name: String,
        position: usize,
        layers: &[usize],
        input: OutletId,
    ) -> TractResult<OutletId> {
        let layers = layers.iter().map(|&position| self.strip_layer(position)).collect::<TractResult<_>>()?;
        self.node(name, StripsOp { layers, resources: self.resources(position) }, &[input])
    }

    fn strip_layer(&self, position: usize) -> TractResult<StripLayer> {
        Ok(match &self.at(position)?.op {
            Op::Conv(conv) => StripLayer::Conv(self.conv(position, conv)),
            Op::MaxPool(pool) => StripLayer::MaxPool(self.pool(position, pool, PoolKind::Max)),
            Op::Lrn { size, alpha, beta, k } => {
                StripLayer::Lrn(self.lrn(position, *size, [*alpha, *beta, *k]))
            }
            op => bail!("{} does not run in strips", op.name()),
        })
    }

    /// Convolutions that write into the one map of a concatenation: its operator reads what each of them reads.
    fn concat_convs(
        &mut self,
        name: String,
        branches: &[usize],
        values: &[OutletId],
    ) -> TractResult<OutletId> {
        let mut inputs: TVec<OutletId> = tvec!();
        let mut convs = vec![];
        for &position in branches {
            let layer = self.at(position)?;
            let Op::Conv(conv) = &layer.op else { bail!("a branch that is no convolution") };
            inputs.extend(inputs_of(values, layer)?);
            convs.push(self.conv(position, conv));
        }
        self.node(name, ConcatConvsOp(convs), &inputs)
    }

    fn at(&self, position: usize) -> TractResult<&'a Layer> {
        self.graph.layers.get(position).context("a layer of the graph")
    }

    /// For the operator that computes layer `position`.
    fn resources(&self, position: usize) -> Resources {
        let readers = self.readers.get(self.fusion.operator(position));
        self.resources.read_by(readers.copied().unwrap_or(Readers::Tract))
    }

    fn conv(&self, position: usize, conv: &Conv) -> ConvOp {
        ConvOp::new(conv, self.fusion.epilogue(position), self.resources(position))
    }

    fn linear(&self, position: usize, gemm: &Gemm) -> LinearOp {
        LinearOp::new(gemm, self.fusion.epilogue(position).relu, self.resources(position))
    }

    fn pool(&self, position: usize, pool: &Pool, kind: PoolKind) -> PoolOp {
        PoolOp::new(pool, kind, self.resources(position))
    }

    fn lrn(&self, position: usize, size: u32, [alpha, beta, k]: [f32; 3]) -> LrnOp {
        let lrn = Lrn { size: size as usize, alpha, beta, k };
        LrnOp { lrn, resources: self.resources(position) }
    }

    fn binary(&self, position: usize, combine: Combine) -> BinaryOp {
        BinaryOp { combine, resources: self.resources(position) }
    }

    /// `scale * x + shift`, each a value for a channel.
    fn affine(&mut self, name: &str, affine: &Affine, input: OutletId) -> TractResult<OutletId> {
        let network = &self.resources.network;
        let (scale, shift) = (network.values(affine.scale), network.values(affine.shift));
        let scaled = self.with_constants(&format!("{name}.scale"), mul(), input, scale)?;
        self.with_constants(name, add(), scaled, shift)
    }

    /// Channels are the last axis.
    fn concat(&mut self, name: String, inputs: &[OutletId]) -> TractResult<OutletId> {
        let input = *inputs.first().context("nothing to concatenate")?;
        let axis = self.model.outlet_fact(input)?.rank() - 1;
        self.node(name, TypedConcat { axis }, inputs)
    }

    /// All axes behind the first become one.
    fn flatten(&mut self, name: String, input: OutletId) -> TractResult<OutletId> {
        let from: TVec<TDim> = self.model.outlet_fact(input)?.shape.iter().skip(1).cloned().collect();
        let features: TDim = from.iter().product();
        self.node(name, AxisOp::Reshape(1, from, tvec!(features)), &[input])
    }

    /// Adds an operator of one output.
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
