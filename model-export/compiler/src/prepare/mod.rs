//! A model as people have it becomes the plain one that all other steps read.
//!
//! | in the file | afterwards |
//! |---|---|
//! | f16, bf16 and f64 tensors, inputs and casts | f32 |
//! | tensors as numbers, bytes, or in a file beside the model | bytes in the model, as many as the shape says |
//! | `CastLike` | `Cast` |
//! | `ReduceMean` over rows and then columns | `GlobalAveragePool` |
//! | the domain `ai.onnx` | the empty one, which is the same |
//! | a node name that several nodes have | none: the node goes by its output |
//!
//! What would be read wrongly is refused: operators of other domains and of the model's own functions, quantised networks,
//! values that are made twice.

mod external;
mod fields;
mod means;
mod refuse;
mod tensors;
mod types;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto};

use crate::error::Problem;
use crate::limits;

pub(crate) use external::Folders;
pub(crate) use fields::check_fields;

/// The domain of ONNX's own operators, by its other name.
pub(crate) const STANDARD: &str = "ai.onnx";

/// Makes `model` plain; `folders` is where it keeps tensors outside.
pub(crate) fn prepare(model: &mut ModelProto, folders: &Folders) -> Result<(), Problem> {
    for import in &mut model.opset_import {
        if import.domain == STANDARD {
            import.domain.clear();
        }
    }
    let graph = model.graph.as_mut().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    for node in &mut graph.node {
        if node.domain == STANDARD {
            node.domain.clear();
        }
    }
    check_size(graph)?;
    refuse::check(model)?;
    let graph = model.graph.as_mut().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    check_names(graph)?;
    tensors::make_plain(graph, folders)?;
    types::widen(graph)?;
    means::join(graph);
    clear_repeated_names(graph);
    Ok(())
}

pub(crate) fn check_size(graph: &GraphProto) -> Result<(), Problem> {
    let too_many = |what: &str, count: usize, limit: usize| {
        Err(Problem::Limit(format!("the graph has {count} {what}; the limit is {limit}")))
    };
    if graph.node.len() > limits::NODES {
        return too_many("nodes", graph.node.len(), limits::NODES);
    }
    let tensors = graph.initializer.len() + graph.input.len() + graph.output.len();
    if tensors > limits::TENSORS {
        return too_many("initializers, inputs and outputs", tensors, limits::TENSORS);
    }
    let values: usize = graph.node.iter().map(|node| node.input.len() + node.output.len()).sum();
    if values > limits::TENSORS {
        return too_many("values that nodes read and make", values, limits::TENSORS);
    }
    Ok(())
}

/// Every value is made once. An input may have a default, which is an initializer of its name.
fn check_names(graph: &GraphProto) -> Result<(), Problem> {
    let twice = |name: &str| Err(Problem::NotOnnx(format!("the value `{name}` is made twice")));
    let mut made = HashSet::new();
    for tensor in &graph.initializer {
        if !made.insert(tensor.name.as_str()) {
            return twice(&tensor.name);
        }
    }
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if !inputs.insert(input.name.as_str()) {
            return twice(&input.name);
        }
    }
    made.extend(inputs);
    for output in graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()) {
        if !made.insert(output) {
            return twice(output);
        }
    }
    Ok(())
}

fn clear_repeated_names(graph: &mut GraphProto) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for node in &graph.node {
        *counts.entry(node.name.clone()).or_default() += 1;
    }
    for node in &mut graph.node {
        if counts.get(&node.name).is_some_and(|&count| count > 1) {
            node.name.clear();
        }
    }
}
