//! Real numbers of all widths are f32, which is what the device computes in.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use crate::error::Problem;
use crate::onnx::{Attributes, f32_tensor, int, tensor};

/// The same type, or f32 for a real number of another width.
pub(super) fn widened(data_type: i32) -> i32 {
    use DataType::{Bfloat16, Double, Float, Float16};
    match DataType::try_from(data_type) {
        Ok(Float16 | Bfloat16 | Double) => Float as i32,
        _ => data_type,
    }
}

/// Widens inputs, outputs and casts; `CastLike` becomes a cast to the type that its second input has.
pub(super) fn widen(graph: &mut GraphProto) -> Result<(), Problem> {
    graph.value_info.clear();
    let mut types: HashMap<String, i32> = HashMap::new();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(tensor) = tensor_type(info) {
            *tensor = widened(*tensor);
            let data_type = *tensor;
            types.insert(info.name.clone(), data_type);
        }
    }
    for tensor in &graph.initializer {
        types.insert(tensor.name.clone(), tensor.data_type);
    }
    for node in &mut graph.node {
        let made = widen_node(node, &types)?;
        for output in &node.output {
            types.insert(output.clone(), made);
        }
    }
    Ok(())
}

fn tensor_type(info: &mut ValueInfoProto) -> Option<&mut i32> {
    let Value::TensorType(tensor) = info.r#type.as_mut()?.value.as_mut()?;
    Some(&mut tensor.elem_type)
}

/// Widens one node; gives the type of what it makes.
fn widen_node(node: &mut NodeProto, types: &HashMap<String, i32>) -> Result<i32, Problem> {
    let of = |input: Option<&String>| input.and_then(|input| types.get(input)).copied();
    let float = DataType::Float as i32;
    match &*node.op_type {
        "Cast" => {
            let Some(to) = node.attribute.iter_mut().find(|attribute| attribute.name == "to") else {
                return Err(Attributes(node).problem("it does not say to which type"));
            };
            to.i = i32::try_from(to.i).map_or(to.i, |to| widened(to).into());
            Ok(to.i as i32)
        }
        "CastLike" => {
            let to = of(node.input.get(1)).unwrap_or(float);
            node.op_type = "Cast".to_string();
            node.input.truncate(1);
            node.attribute = vec![int("to", to.into())];
            Ok(to)
        }
        "Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" => Ok(DataType::Int64 as i32),
        "ConstantOfShape" if node.attribute.is_empty() => {
            // ONNX's default, which tract takes for f64.
            node.attribute.push(tensor("value", f32_tensor("", &[1], &[0.0])));
            Ok(float)
        }
        "Constant" | "ConstantOfShape" => {
            let value = node.attribute.iter().find(|attribute| attribute.name.starts_with("value"));
            Ok(value.map_or(float, |value| match (&value.t, &*value.name) {
                (Some(tensor), _) => tensor.data_type,
                (None, "value_int" | "value_ints") => DataType::Int64 as i32,
                _ => float,
            }))
        }
        "Where" => Ok(of(node.input.get(1)).unwrap_or(float)),
        _ => Ok(of(node.input.first()).unwrap_or(float)),
    }
}
