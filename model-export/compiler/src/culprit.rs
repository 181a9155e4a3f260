//! Which node it is that tract-onnx cannot run.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::error::Problem;
use crate::onnx::{model_of, name, value};

/// The error of a whole graph, with the node that makes it fail: the last of the fewest first nodes for which `run` fails.
pub(crate) fn named(problem: Problem, model: &ModelProto, run: impl Fn(&ModelProto) -> bool) -> Problem {
    let Problem::Referee { part, message } = problem else { return problem };
    let Some(graph) = &model.graph else { return Problem::Referee { part, message } };
    // `good` first nodes run, `bad` do not.
    let (mut good, mut bad) = (0, graph.node.len());
    while bad > good + 1 {
        let middle = good + (bad - good) / 2;
        if run(&first(model, graph, middle)) { good = middle } else { bad = middle }
    }
    let part = match graph.node.get(good) {
        Some(node) => format!("{part}, from node `{}` ({}) on,", name(node), node.op_type),
        None => part,
    };
    Problem::Referee { part, message }
}

/// The model of the first `count` nodes, which gives all that they leave unread.
fn first(model: &ModelProto, graph: &GraphProto, count: usize) -> ModelProto {
    let node: Vec<NodeProto> = graph.node.iter().take(count).cloned().collect();
    let read: HashSet<&str> = node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let made = node.iter().flat_map(|node| node.output.first()).filter(|name| !read.contains(name.as_str()));
    let output = made.map(|name| value(name)).collect();
    let weights = graph.initializer.iter().filter(|weight| read.contains(weight.name.as_str())).cloned();
    let graph = GraphProto {
        initializer: weights.collect(),
        input: graph.input.clone(),
        output,
        node,
        ..Default::default()
    };
    model_of(graph, model)
}
