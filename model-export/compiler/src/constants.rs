//! Constant expressions of a graph, evaluated by tract-onnx itself.
//!
//! Exporters write weights as initialisers, as `Constant` nodes, and behind `Identity`, `Transpose` or
//! `Reshape`; and they compute shapes with `Shape`, `Gather`, `Concat`. A node that reads only constants
//! is run on its own by tract-onnx, so no operator needs an interpreter here.

use std::sync::Arc;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;

use crate::error::Problem;

/// Reads an initialiser.
pub(crate) fn load(tensor: &TensorProto, folder: &str) -> Result<Arc<Tensor>, Problem> {
    tract_onnx::tensor::load_tensor(&MmapDataResolver, tensor, Some(folder))
        .map(Arc::new)
        .map_err(|error| referee(&format!("initialiser `{}`", tensor.name), &error))
}

/// Runs one node whose inputs are all constants; gives its outputs in order.
pub(crate) fn evaluate(
    model: &ModelProto,
    node: &NodeProto,
    inputs: &[(&str, Arc<Tensor>)],
) -> Result<Vec<Arc<Tensor>>, Problem> {
    let run = || -> TractResult<Vec<Arc<Tensor>>> {
        let initializer = inputs.iter().map(|(name, t)| to_proto(name, t)).collect::<TractResult<_>>()?;
        let output = node.output.iter().filter(|name| !name.is_empty());
        let output = output.map(|name| ValueInfoProto { name: name.clone(), ..Default::default() }).collect();
        let graph = GraphProto { node: vec![node.clone()], initializer, output, ..Default::default() };
        let proto = ModelProto {
            ir_version: model.ir_version,
            opset_import: model.opset_import.clone(),
            graph: Some(graph),
            ..Default::default()
        };
        let plan = tract_onnx::onnx().model_for_proto_model(&proto)?.into_typed()?.into_runnable()?;
        plan.run(tvec!())?.into_iter().map(|value| without_symbols(value.into_tensor())).collect()
    };
    run().map_err(|error| referee(&format!("constant node `{}`", node.name), &error))
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
        DatumType::F64 => DataType::Double,
        DatumType::F16 => DataType::Float16,
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

pub(crate) fn referee(part: &str, error: &TractError) -> Problem {
    Problem::Referee { part: part.to_string(), message: format!("{error:#}") }
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
