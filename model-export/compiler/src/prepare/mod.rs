//! A model as people have it becomes the plain one that all other steps read.
//!
//! | in the file | afterwards |
//! |---|---|
//! | f16, bf16 and f64 tensors, inputs and casts | f32 |
//! | tensors as numbers, bytes, or in a file beside the model | bytes in the model, as many as the shape says |
//! | `CastLike` | `Cast` |
//! | `ReduceMean` over rows and then columns | `GlobalAveragePool` |
//! | the domain `ai.onnx` | the empty one, which is the same |
//! | a node name that several nodes have, or that is another's output | none: the node goes by its output |
//! | inputs that are weights, which `keep_initializers_as_inputs` writes | none: the weights are there |
//! | `FusedConv` and `FusedGemm` of ONNX Runtime | the layer and its activation |
//! | an image of bytes, or channels last | one of real numbers, channels first |
//! | `Pad` with zeros before a convolution | the convolution's pads |
//! | the number of RoIs, asked of them behind their pooling | that of what was pooled |
//! | nodes in any order | each behind those that make what it reads |
//!
//! What would be read wrongly is refused: operators of other domains and of the model's own functions, quantised networks,
//! values that are made twice.

mod external;
mod fields;
mod fused;
mod image;
mod means;
mod order;
mod pads;
mod refuse;
mod rows;
mod tensors;
mod types;

use std::collections::{HashMap, HashSet};

use frcnn_bundle::Manifest;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use crate::error::Problem;
use crate::limits;

pub(crate) use external::Folders;
pub(crate) use fields::check_fields;

/// The domain of ONNX's own operators, by its other name.
pub(crate) const STANDARD: &str = "ai.onnx";

/// What concerns every graph, a detector's that was exported whole among them, which is then taken apart.
pub(crate) fn arrange(model: &mut ModelProto) -> Result<(), Problem> {
    for import in &mut model.opset_import {
        if import.domain == STANDARD {
            import.domain.clear();
        }
    }
    let graph = model.graph.as_mut().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    check_size(graph)?;
    for node in &mut graph.node {
        if node.domain == STANDARD {
            node.domain.clear();
        }
    }
    refuse::check_quantised(graph)?;
    let weights: HashSet<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
    graph.input.retain(|input| !weights.contains(input.name.as_str()));
    fused::split(model)
}

/// What a model says of its image beside its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plain {
    /// It reads bytes, so pixels of 0 to 255.
    pub(crate) reads_bytes: bool,
}

impl Plain {
    /// Refuses a manifest that says something else.
    pub(crate) fn check(self, manifest: &Manifest) -> Result<(), Problem> {
        let as_they_are = manifest.pixel_scale == 255.0
            && manifest.pixel_means == [0.0; 3]
            && manifest.pixel_stds == [1.0; 3];
        if self.reads_bytes && !as_they_are { Err(Problem::Bytes) } else { Ok(()) }
    }
}

/// Makes `model` plain, which was [arranged](arrange); `folders` is where it keeps tensors outside.
pub(crate) fn prepare(model: &mut ModelProto, folders: &Folders) -> Result<Plain, Problem> {
    refuse::check(model)?;
    let graph = model.graph.as_mut().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    check_size(graph)?;
    check_names(graph)?;
    order::sort(graph)?;
    tensors::make_plain(graph, folders)?;
    types::widen(graph)?;
    let reads_bytes = image::make_plain(graph);
    pads::join(graph);
    rows::of_pooled(graph);
    // What is pooled may stand behind those that now read it.
    order::sort(graph)?;
    means::join(graph);
    clear_repeated_names(graph);
    Ok(Plain { reads_bytes })
}

/// A tensor that lies in the file, as an initializer or as a `Constant`.
fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a TensorProto> {
    let node = || {
        let made =
            |node: &&NodeProto| node.op_type == "Constant" && node.output.iter().any(|output| output == name);
        graph.node.iter().find(made)?.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()
    };
    graph.initializer.iter().find(|tensor| tensor.name == name).or_else(node)
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

/// tract-onnx knows each node by its name, or its first output where it has none: those must differ.
fn clear_repeated_names(graph: &mut GraphProto) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for node in &graph.node {
        let own = node.output.first().is_some_and(|output| *output == node.name);
        let names = [&node.name].into_iter().filter(|_| !own).chain(node.output.first());
        for name in names {
            *counts.entry(name.clone()).or_default() += 1;
        }
    }
    for node in &mut graph.node {
        if counts.get(&node.name).is_some_and(|&count| count > 1) {
            node.name.clear();
        }
    }
}
