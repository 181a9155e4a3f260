//! A mean over rows and then columns, or columns and then rows: `x.mean(3).mean(2)` of PyTorch.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::onnx::ints;

/// Rows and columns of a map.
const BOTH: [i64; 2] = [2, 3];

/// The two become `GlobalAveragePool` and what is left of the second: `Squeeze`, or `Identity`.
pub(super) fn join(graph: &mut GraphProto) {
    let found: Vec<(usize, usize, Vec<i64>)> = pairs(graph);
    for (first, second, squeezed) in found {
        if let Some(node) = graph.node.get_mut(first) {
            node.op_type = "GlobalAveragePool".to_string();
            node.attribute.clear();
            node.input.truncate(1);
        }
        if let Some(node) = graph.node.get_mut(second) {
            node.input.truncate(1);
            node.attribute.clear();
            node.op_type = if squeezed.is_empty() { "Identity" } else { "Squeeze" }.to_string();
            if !squeezed.is_empty() {
                node.attribute.push(ints("axes", &squeezed));
            }
        }
    }
}

/// Positions of both nodes, and which of the axes go.
fn pairs(graph: &GraphProto) -> Vec<(usize, usize, Vec<i64>)> {
    let means = graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "ReduceMean");
    let means: Vec<(usize, &NodeProto)> = means.collect();
    if means.len() < 2 {
        return Vec::new();
    }
    let mut readers: HashMap<&str, usize> = HashMap::new();
    let read =
        graph.node.iter().flat_map(|node| &node.input).chain(graph.output.iter().map(|output| &output.name));
    for name in read {
        *readers.entry(name).or_default() += 1;
    }
    let by_output: HashMap<&str, (usize, &NodeProto)> = means
        .iter()
        .filter_map(|&(place, node)| Some((node.output.first()?.as_str(), (place, node))))
        .collect();
    let mut joined = Vec::new();
    for &(second, node) in &means {
        let before =
            node.input.first().and_then(|name| by_output.get(name.as_str()).map(|found| (name, found)));
        let Some((name, &(first, mean))) = before else { continue };
        let is_read_once = readers.get(name.as_str()) == Some(&1);
        // A chain of three is none of means over a map.
        let is_first = !mean.input.first().is_some_and(|name| by_output.contains_key(name.as_str()));
        if first < second
            && is_read_once
            && is_first
            && let Some(squeezed) = squeezed(graph, mean, node)
        {
            joined.push((first, second, squeezed));
        }
    }
    joined
}

/// Which of a map's axes go, if these are means over one each of its last two.
fn squeezed(graph: &GraphProto, first: &NodeProto, second: &NodeProto) -> Option<Vec<i64>> {
    let [first_kept, second_kept] = [keeps(first), keeps(second)];
    let from_front = |axis: i64, rank: i64| if axis < 0 { axis + rank } else { axis };
    let axis = from_front(one_axis(graph, first)?, 4);
    let rank = if first_kept { 4 } else { 3 };
    let mut other = from_front(one_axis(graph, second)?, rank);
    if !first_kept && other >= axis {
        // The axes behind the one that went are one further.
        other += 1;
    }
    let mut axes = [axis, other];
    axes.sort_unstable();
    let gone = [(axis, first_kept), (other, second_kept)].into_iter().filter(|&(_, kept)| !kept);
    let mut gone: Vec<i64> = gone.map(|(axis, _)| axis).collect();
    gone.sort_unstable();
    (axes == BOTH).then_some(gone)
}

fn keeps(node: &NodeProto) -> bool {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == "keepdims")
        .is_none_or(|attribute| attribute.i != 0)
}

/// The only axis of a mean: an attribute, or since operator set 18 a constant.
fn one_axis(graph: &GraphProto, node: &NodeProto) -> Option<i64> {
    if let Some(axes) = node.attribute.iter().find(|attribute| attribute.name == "axes") {
        return if let [axis] = axes.ints[..] { Some(axis) } else { None };
    }
    let name = node.input.get(1)?;
    let made = graph.node.iter().find(|node| node.op_type == "Constant" && node.output.first() == Some(name));
    let of_node = |node: &NodeProto| match &node.attribute[..] {
        [value] if value.name == "value" => only(value.t.as_ref()?),
        [value] if value.name == "value_ints" && value.ints.len() == 1 => value.ints.first().copied(),
        [value] if value.name == "value_int" => Some(value.i),
        _ => None,
    };
    match made {
        Some(node) => of_node(node),
        None => only(graph.initializer.iter().find(|tensor| tensor.name == *name)?),
    }
}

fn only(tensor: &TensorProto) -> Option<i64> {
    tensor.raw_data.as_slice().try_into().ok().map(i64::from_le_bytes)
}
