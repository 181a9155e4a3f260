//! Tensors as bytes in the model, as many as their shapes say, real numbers in f32.

use std::collections::HashMap;
use std::mem::take;

use half::{bf16, f16};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::external::Folders;
use crate::error::Problem;
use crate::limits;
use crate::onnx::Attributes;

/// The tensors that nodes read, in initializers and attributes.
pub(super) fn make_plain(graph: &mut GraphProto, folders: &Folders) -> Result<(), Problem> {
    let reads = graph.node.iter().flat_map(|node| node.input.iter().map(move |input| (input.as_str(), node)));
    let read_by: HashMap<&str, &NodeProto> = reads.collect();
    let mut left = limits::WEIGHT_BYTES;
    for tensor in &mut graph.initializer {
        let Some(node) = read_by.get(tensor.name.as_str()) else { continue };
        plain(tensor, folders, &mut left).map_err(|problem| {
            Attributes(node).problem(format!("the tensor `{}` that it reads: {problem}", tensor.name))
        })?;
    }
    for node in &mut graph.node {
        let mut attributes = std::mem::take(&mut node.attribute);
        for attribute in &mut attributes {
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                plain(tensor, folders, &mut left).map_err(|problem| {
                    Attributes(node).problem(format!("its tensor `{}`: {problem}", attribute.name))
                })?;
            }
        }
        node.attribute = attributes;
    }
    Ok(())
}

fn plain(tensor: &mut TensorProto, folders: &Folders, left: &mut u64) -> Result<(), String> {
    let data_type = DataType::try_from(tensor.data_type)
        .map_err(|_| format!("data type {} is not one of ONNX's", tensor.data_type))?;
    let stored = match data_type {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        other => return Err(format!("its type, {}, is not supported", other.as_str_name())),
    };
    if tensor.segment.is_some() {
        return Err("it is split into segments".to_string());
    }
    let dims: Option<Vec<u64>> = tensor.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect();
    let count = dims.and_then(|dims| dims.iter().try_fold(1u64, |count, &dim| count.checked_mul(dim)));
    let bytes = count.and_then(|count| count.checked_mul(stored));
    let (count, bytes) =
        count.zip(bytes).ok_or_else(|| format!("its shape {:?} makes no sense", tensor.dims))?;
    *left = left.checked_sub(bytes.max(count.saturating_mul(4))).ok_or_else(|| {
        format!(
            "it has {bytes} bytes, and with those before it the weights take more than {} GiB",
            limits::WEIGHT_BYTES >> 30
        )
    })?;

    let given = if tensor.data_location == Some(DataLocation::External as i32) {
        folders.read(tensor, bytes)?
    } else if tensor.raw_data.is_empty() {
        numbers(tensor, data_type)
    } else {
        take(&mut tensor.raw_data)
    };
    if given.len() as u64 != bytes {
        return Err(format!(
            "its shape {:?} makes {count} values of {}, {bytes} bytes, and it has {}; is the file complete?",
            tensor.dims,
            data_type.as_str_name(),
            given.len()
        ));
    }
    tensor.raw_data = match data_type {
        DataType::Double => as_f32(&given, |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32),
        DataType::Float16 => as_f32(&given, |bytes| f16::from_le_bytes(bytes).to_f32()),
        DataType::Bfloat16 => as_f32(&given, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => given,
    };
    tensor.data_type = super::types::widened(tensor.data_type);
    tensor.data_location = None;
    tensor.external_data.clear();
    Ok(())
}

fn as_f32<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<u8> {
    bytes.as_chunks().0.iter().flat_map(|&bytes| read(bytes).to_le_bytes()).collect()
}

/// The little-endian bytes of a tensor that is given as numbers.
fn numbers(tensor: &mut TensorProto, data_type: DataType) -> Vec<u8> {
    let integers = take(&mut tensor.int32_data);
    match data_type {
        DataType::Float => take(&mut tensor.float_data).into_iter().flat_map(f32::to_le_bytes).collect(),
        DataType::Double => take(&mut tensor.double_data).into_iter().flat_map(f64::to_le_bytes).collect(),
        DataType::Int64 => take(&mut tensor.int64_data).into_iter().flat_map(i64::to_le_bytes).collect(),
        DataType::Uint64 => take(&mut tensor.uint64_data).into_iter().flat_map(u64::to_le_bytes).collect(),
        DataType::Uint32 => {
            take(&mut tensor.uint64_data).into_iter().flat_map(|v| (v as u32).to_le_bytes()).collect()
        }
        DataType::Int32 => integers.into_iter().flat_map(i32::to_le_bytes).collect(),
        DataType::Bool => integers.into_iter().map(|v| u8::from(v != 0)).collect(),
        DataType::Int8 | DataType::Uint8 => integers.into_iter().map(|v| v as u8).collect(),
        // Half floats by their bits.
        _ => integers.into_iter().flat_map(|v| (v as u16).to_le_bytes()).collect(),
    }
}
