//! A `Pad` with zeros before a convolution becomes the convolution's own pads, as TensorFlow's converters and `F.pad` write it.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::constant;
use crate::onnx::{Attributes, ints};

/// Joins each `Pad` of rows and columns with the convolutions that read it, if nothing else does.
pub(super) fn join(graph: &mut GraphProto) {
    let places = (0..graph.node.len()).filter(|&place| graph.node[place].op_type == "Pad");
    let places: Vec<usize> = places.collect();
    if places.is_empty() {
        return;
    }
    let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, node) in graph.node.iter().enumerate() {
        for input in &node.input {
            readers.entry(input.clone()).or_default().push(place);
        }
    }
    for place in places {
        let [output] = &graph.node[place].output[..] else { continue };
        let convs = readers.get(output).cloned().unwrap_or_default();
        let is_output = graph.output.iter().any(|info| info.name == *output);
        let Some(added) = amounts(graph, &graph.node[place]) else { continue };
        let joined: Option<Vec<Vec<i64>>> =
            convs.iter().map(|&conv| padded(&graph.node[conv], output, added)).collect();
        let (Some(joined), false, false) = (joined, convs.is_empty(), is_output) else { continue };
        for (conv, pads) in convs.into_iter().zip(joined) {
            let node = &mut graph.node[conv];
            node.attribute.retain(|attribute| !["pads", "auto_pad"].contains(&&*attribute.name));
            node.attribute.push(ints("pads", &pads));
        }
        let node = &mut graph.node[place];
        node.op_type = "Identity".to_string();
        node.attribute.clear();
        node.input.truncate(1);
    }
}

/// The pads of a convolution of `value` with `added` to them.
fn padded(conv: &NodeProto, value: &str, added: [i64; 4]) -> Option<Vec<i64>> {
    let at = Attributes(conv);
    let reads = conv.op_type == "Conv" && conv.input.first().is_some_and(|input| input == value);
    let is_once = conv.input.iter().filter(|input| *input == value).count() == 1;
    let own = match at.string("auto_pad").ok()?.unwrap_or("NOTSET") {
        "NOTSET" | "" => at.ints("pads").ok()?.unwrap_or(&[0; 4]),
        "VALID" => &[0; 4],
        _ => return None,
    };
    if !reads || !is_once || own.len() != added.len() {
        return None;
    }
    own.iter().zip(added).map(|(own, added)| own.checked_add(added)).collect()
}

/// Zeros above, to the left, below and to the right of a map, if nothing else is padded.
fn amounts(graph: &GraphProto, node: &NodeProto) -> Option<[i64; 4]> {
    let at = Attributes(node);
    let is_constant = at.string("mode").ok()?.is_none_or(|mode| mode == "constant");
    // Without axes, which are all four then.
    if !is_constant || node.input.get(3).is_some_and(|axes| !axes.is_empty()) {
        return None;
    }
    let (all, value) = match at.ints("pads").ok()? {
        Some(pads) => (pads.to_vec(), at.optional_float("value").ok()?.unwrap_or(0.0)),
        None => {
            let bytes = &constant(graph, node.input.get(1)?)?.raw_data;
            let all = bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
            let value = match node.input.get(2).filter(|input| !input.is_empty()) {
                Some(value) => {
                    f32::from_le_bytes(constant(graph, value)?.raw_data.as_slice().try_into().ok()?)
                }
                None => 0.0,
            };
            (all, value)
        }
    };
    match all[..] {
        [0, 0, top, left, 0, 0, bottom, right] if value == 0.0 => {
            let pads = [top, left, bottom, right];
            pads.iter().all(|&pad| pad >= 0).then_some(pads)
        }
        _ => None,
    }
}
