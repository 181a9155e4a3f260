//! Constant expressions of a graph, evaluated by tract-onnx itself.
//!
//! Exporters write weights as initialisers, as `Constant` nodes, and behind `Identity`, `Transpose` or
//! `Reshape`; and they compute shapes with `Shape`, `Gather`, `Concat`. A node that reads only constants
//! is run on its own by tract-onnx, so no operator needs an interpreter here. What a node will make is computed from what it
//! reads before it is run.

mod bounds;

use std::sync::Arc;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;

use crate::error::Problem;
use crate::guard;
use crate::limits;
use crate::onnx::{Attributes, model_of, name, value};

/// Reads an initialiser, whose bytes lie in the model.
pub(crate) fn load(tensor: &TensorProto) -> Result<Arc<Tensor>, Problem> {
    guard::tract(&format!("initialiser `{}`", tensor.name), || {
        tract_onnx::tensor::load_tensor(&MmapDataResolver, tensor, None).map(Arc::new)
    })
}

/// Bytes of all tensors in a model.
pub(crate) fn tensor_bytes(model: &ModelProto) -> u64 {
    let graph = model.graph.iter();
    let constants = graph.clone().flat_map(|graph| &graph.node).flat_map(|node| &node.attribute);
    let tensors = graph.flat_map(|graph| &graph.initializer).chain(constants.filter_map(|a| a.t.as_ref()));
    tensors.map(|tensor| tensor.raw_data.len() as u64).sum()
}

/// Evaluates a model's constant expressions, within a limit that grows with its weights.
pub(crate) struct Evaluator<'a> {
    model: &'a ModelProto,
    /// Bytes that may still be read and made.
    left: u64,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(model: &'a ModelProto) -> Evaluator<'a> {
        Evaluator { model, left: limits::CONSTANT_BYTES + limits::CONSTANT_WORK * tensor_bytes(model) }
    }

    /// Runs one node whose inputs are all constants; gives its outputs in order.
    pub(crate) fn run(
        &mut self,
        node: &NodeProto,
        inputs: &[(&str, Arc<Tensor>)],
    ) -> Result<Vec<Arc<Tensor>>, Problem> {
        let read = inputs.iter().map(|(_, tensor)| (tensor.len() as u64).saturating_mul(8));
        let bytes = read.fold(bounds::made(node, inputs)?, u64::saturating_add);
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            Attributes(node).problem(format!(
                "it makes constants out of constants, {bytes} bytes in all, and the limit for this model is reached"
            ))
        })?;
        guard::tract(&format!("constant node `{}`", name(node)), || evaluate(self.model, node, inputs))
    }
}

fn evaluate(
    model: &ModelProto,
    node: &NodeProto,
    inputs: &[(&str, Arc<Tensor>)],
) -> TractResult<Vec<Arc<Tensor>>> {
    let mut given: Vec<&str> = Vec::new();
    let mut initializer = Vec::new();
    for (name, tensor) in inputs {
        if !given.contains(name) {
            given.push(name);
            initializer.push(to_proto(name, tensor)?);
        }
    }
    let output = node.output.iter().filter(|name| !name.is_empty());
    let output = output.map(|name| value(name)).collect();
    let graph = GraphProto { node: vec![node.clone()], initializer, output, ..Default::default() };
    let proto = model_of(graph, model);
    let plan = tract_onnx::onnx().model_for_proto_model(&proto)?.into_typed()?.into_runnable()?;
    plan.run(tvec!())?.into_iter().map(|value| without_symbols(value.into_tensor())).collect()
}

/// tract computes shapes in its own symbolic integers; here they are all known.
fn without_symbols(tensor: Tensor) -> TractResult<Arc<Tensor>> {
    let tensor = if tensor.datum_type() == TDim::datum_type() {
        tensor.cast_to::<i64>()?.into_owned()
    } else {
        tensor
    };
    Ok(Arc::new(tensor))
}

fn to_proto(name: &str, tensor: &Tensor) -> TractResult<TensorProto> {
    let data_type = match tensor.datum_type() {
        DatumType::F32 => DataType::Float,
        DatumType::I64 => DataType::Int64,
        DatumType::I32 => DataType::Int32,
        DatumType::U8 => DataType::Uint8,
        DatumType::Bool => DataType::Bool,
        other => bail!("a constant of type {other:?}"),
    };
    Ok(TensorProto {
        name: name.to_string(),
        data_type: data_type as i32,
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        raw_data: tensor.try_as_plain_ram()?.as_bytes().to_vec(),
        ..Default::default()
    })
}

/// All of a constant's values as f32.
pub(crate) fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let tensor = tensor.cast_to::<f32>().ok()?;
    Some(tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec())
}

/// All of a constant's values as i64.
pub(crate) fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    let tensor = tensor.cast_to::<i64>().ok()?;
    Some(tensor.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec())
}

/// How many values of a constant are NaN or infinite; none of integers are.
pub(crate) fn not_finite(tensor: &Tensor) -> usize {
    if tensor.datum_type() != DatumType::F32 {
        return 0;
    }
    let values = tensor.try_as_plain_ram().ok();
    values.as_ref().and_then(|ram| ram.as_slice::<f32>().ok()).map_or(0, crate::finite::count)
}
