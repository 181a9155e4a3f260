//! Nodes in an order in which each stands behind those that make what it reads.
//!
//! ONNX asks for such an order, and tools that change files (conversion to f16 among them) leave another one, which ONNX Runtime
//! takes all the same.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use tract_onnx::pb::GraphProto;

use crate::error::Problem;
use crate::onnx::Attributes;

/// Sorts the nodes of `graph`. Those that are in order already stay where they are.
pub(super) fn sort(graph: &mut GraphProto) -> Result<(), Problem> {
    let count = graph.node.len();
    let made: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(place, node)| node.output.iter().map(move |output| (output.as_str(), place)))
        .filter(|(output, _)| !output.is_empty())
        .collect();
    // How many values of other nodes each one still waits for, and who waits for its own.
    let mut waits = vec![0usize; count];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (place, node) in graph.node.iter().enumerate() {
        for maker in node.input.iter().filter_map(|input| made.get(input.as_str())) {
            waits[place] += 1;
            readers[*maker].push(place);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..count).filter(|&place| waits[place] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(place)) = ready.pop() {
        order.push(place);
        for &reader in &readers[place] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    let in_circle = graph.node.iter().zip(&waits).find(|(_, waits)| **waits > 0);
    if let Some((node, _)) = in_circle {
        return Err(Attributes(node).problem("it reads what is made of its own output"));
    }
    let mut nodes: Vec<_> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|place| nodes.get_mut(place)?.take()).collect();
    Ok(())
}
