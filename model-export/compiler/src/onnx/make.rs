//! Messages that are made here, not read.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value as TypeValue};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto};

/// An output, or any value, of which nothing but the name is said.
pub(crate) fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.to_string(), ..Default::default() }
}

/// An input of real numbers.
pub(crate) fn float_input(name: &str) -> ValueInfoProto {
    let tensor = TensorType { elem_type: DataType::Float as i32, shape: None };
    let r#type = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { r#type: Some(r#type), ..value(name) }
}

/// A model of `graph` in the operator sets of `model`.
pub(crate) fn model_of(graph: GraphProto, model: &ModelProto) -> ModelProto {
    ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        graph: Some(graph),
        ..Default::default()
    }
}

pub(crate) fn f32_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor_of(name, DataType::Float, dims, bytes)
}

pub(crate) fn i64_tensor(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor_of(name, DataType::Int64, dims, bytes)
}

fn tensor_of(name: &str, data_type: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        data_type: data_type as i32,
        dims: dims.to_vec(),
        raw_data,
        ..Default::default()
    }
}

/// An attribute that is an integer.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

/// An attribute that is a real number.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: value, ..attribute(name, AttributeType::Float) }
}

/// An attribute that is a text.
pub(crate) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

/// An attribute that is a list of integers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// An attribute that is a tensor.
pub(crate) fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_string(), r#type: r#type as i32, ..Default::default() }
}
