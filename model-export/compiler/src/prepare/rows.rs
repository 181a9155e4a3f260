//! `x.view(rois.size(0), -1)`: a head that asks the RoIs how many they are. What was pooled of them has as many rows, and is what
//! the head has at hand.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::constant;
use crate::onnx::Attributes;

/// Has each `Shape` of the RoIs of which only the first number is read, read what is pooled first.
pub(super) fn of_pooled(graph: &mut GraphProto) {
    let pool = graph.node.iter().find(|node| ["MaxRoiPool", "RoiAlign"].contains(&&*node.op_type));
    let Some((rois, pooled)) = pool.and_then(|node| Some((node.input.get(1)?, node.output.first()?.clone())))
    else {
        return;
    };
    let rois = behind(graph, rois);
    let shapes: Vec<usize> = (0..graph.node.len())
        .filter(|&place| {
            let node = &graph.node[place];
            let of_rois = node.input.first().is_some_and(|input| rois.contains(input.as_str()));
            node.op_type == "Shape" && of_rois && counts_only(graph, node)
        })
        .collect();
    for place in shapes {
        graph.node[place].input[0].clone_from(&pooled);
    }
}

/// `value` and the values that it is made of which have as many rows.
fn behind<'a>(graph: &'a GraphProto, value: &'a str) -> HashSet<&'a str> {
    let makers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)))
        .collect();
    let (mut found, mut next) = (HashSet::new(), Some(value));
    while let Some(value) = next.filter(|value| found.insert(*value)) {
        let keeps_rows = |node: &&&NodeProto| ["Identity", "Cast"].contains(&&*node.op_type);
        next = makers.get(value).filter(keeps_rows).and_then(|node| node.input.first()).map(String::as_str);
    }
    found
}

/// Whether nothing is read of the shape but its first number.
fn counts_only(graph: &GraphProto, shape: &NodeProto) -> bool {
    let at = Attributes(shape);
    if at.int("start", 0).ok() != Some(0) {
        return false;
    }
    if at.int("end", 0).ok() == Some(1) {
        return true;
    }
    let Some(output) = shape.output.first() else { return false };
    let is_output = graph.output.iter().any(|info| info.name == *output);
    let number = |node: &NodeProto, place: usize| {
        let bytes = &constant(graph, node.input.get(place)?)?.raw_data;
        bytes.as_slice().try_into().ok().map(i64::from_le_bytes)
    };
    let takes_first = |node: &NodeProto| match &*node.op_type {
        "Gather" => number(node, 1) == Some(0),
        "Slice" => {
            let is_one = |place| node.input.get(place).is_none() || number(node, place) == Some(1);
            number(node, 1) == Some(0) && number(node, 2) == Some(1) && is_one(4)
        }
        _ => false,
    };
    let mut readers = graph.node.iter().filter(|node| node.input.contains(output));
    !is_output && !at_end(shape) && readers.all(takes_first)
}

/// Whether it says where it ends, and not behind the first number.
fn at_end(shape: &NodeProto) -> bool {
    shape.attribute.iter().any(|attribute| attribute.name == "end")
}
