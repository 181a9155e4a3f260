//! An image as cameras and photos have it, of bytes or channels last, becomes the `[1, 3, H, W]` of real numbers that it is in all other
//! models: the device hands the network real numbers, channels last, in any case.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use crate::onnx::{Attributes, inputs};

/// From channels last to channels first.
const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// Changes the input `data` and what reads it; tells whether it was one of bytes.
pub(super) fn make_plain(graph: &mut GraphProto) -> bool {
    let names: Vec<String> = inputs(graph).map(|input| input.name.clone()).collect();
    let mut was_bytes = false;
    for name in names {
        transposed(graph, &name);
        let value = handed_on(graph, &name);
        let is_bytes = element_type(graph, &name) == Some(DataType::Uint8 as i32);
        if is_bytes && let Some(casts) = readers_of(graph, &value, is_cast) {
            was_bytes = true;
            set_element_type(graph, &name, DataType::Float as i32);
            casts.into_iter().for_each(|place| hand_on(graph, place));
        }
    }
    was_bytes
}

/// Takes out the `Transpose` of an image whose channels are last: of the input itself, or behind a cast of it.
fn transposed(graph: &mut GraphProto, input: &str) {
    let mut value = input.to_string();
    // Behind at most as many nodes as handed it on before.
    while let Some(&[only]) = readers_of(graph, &value, |_| true).as_deref() {
        let node = &graph.node[only];
        if node.op_type == "Transpose" {
            if Attributes(node).ints("perm").ok().flatten() == Some(&TO_FIRST[..]) {
                hand_on(graph, only);
                permute(graph, input);
            }
            return;
        }
        let ([output], true) = (&node.output[..], node.op_type == "Identity" || is_cast(node)) else {
            return;
        };
        if *output == value {
            return;
        }
        value = output.clone();
    }
}

/// The last value that is `value` still, behind nodes that alone read it and hand it on.
fn handed_on(graph: &GraphProto, value: &str) -> String {
    let mut value = value.to_string();
    // Nodes are in order: it does not go in a circle.
    while let Some(&[only]) = readers_of(graph, &value, |node| node.op_type == "Identity").as_deref() {
        let Some(output) = graph.node[only].output.first() else { break };
        value.clone_from(output);
    }
    value
}

/// The places of all nodes that read `value`, if it is no output and each of them fulfils `fits`.
fn readers_of(graph: &GraphProto, value: &str, fits: impl Fn(&NodeProto) -> bool) -> Option<Vec<usize>> {
    let reads = |node: &NodeProto| node.input.iter().any(|input| input == value);
    let places: Vec<usize> =
        graph.node.iter().enumerate().filter(|(_, node)| reads(node)).map(|(place, _)| place).collect();
    let is_output = graph.output.iter().any(|output| output.name == value);
    let is_value = !value.is_empty() && !places.is_empty();
    (is_value && !is_output && places.iter().all(|&place| fits(&graph.node[place]))).then_some(places)
}

fn is_cast(node: &NodeProto) -> bool {
    node.op_type == "Cast" && Attributes(node).int("to", 0).ok() == Some(DataType::Float as i64)
}

/// The node becomes an `Identity`.
fn hand_on(graph: &mut GraphProto, place: usize) {
    if let Some(node) = graph.node.get_mut(place) {
        node.op_type = "Identity".to_string();
        node.attribute.clear();
    }
}

fn tensor<'a>(graph: &'a mut GraphProto, input: &str) -> Option<&'a mut tract_onnx::pb::type_proto::Tensor> {
    let info: &mut ValueInfoProto = graph.input.iter_mut().find(|info| info.name == input)?;
    let Value::TensorType(tensor) = info.r#type.as_mut()?.value.as_mut()?;
    Some(tensor)
}

fn element_type(graph: &mut GraphProto, input: &str) -> Option<i32> {
    tensor(graph, input).map(|tensor| tensor.elem_type)
}

fn set_element_type(graph: &mut GraphProto, input: &str, data_type: i32) {
    if let Some(tensor) = tensor(graph, input) {
        tensor.elem_type = data_type;
    }
}

/// The declared `[N, H, W, C]` becomes `[N, C, H, W]`.
fn permute(graph: &mut GraphProto, input: &str) {
    let dims = tensor(graph, input).and_then(|tensor| tensor.shape.as_mut()).map(|shape| &mut shape.dim);
    if let Some([_, rest @ ..]) = dims.map(Vec::as_mut_slice)
        && rest.len() == 3
    {
        rest.rotate_right(1);
    }
}
