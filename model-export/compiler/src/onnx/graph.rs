//! What a graph's names and types say.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use crate::error::Problem;

/// A node's name, or its first output's where it has none.
pub(crate) fn name(node: &NodeProto) -> &str {
    if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name }
}

/// Which node makes which value.
pub(crate) struct Producers<'a> {
    graph: &'a GraphProto,
    by_output: HashMap<&'a str, usize>,
    initializers: HashSet<&'a str>,
}

impl<'a> Producers<'a> {
    pub(crate) fn new(graph: &'a GraphProto) -> Producers<'a> {
        let outputs = graph.node.iter().enumerate();
        let by_output = outputs.flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
        let initializers = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        Producers { graph, by_output, initializers }
    }

    /// The nodes that `values` need, in the graph's order, and what those read that no node makes and
    /// that is no weight. The search stops at the values of `boundary`.
    pub(crate) fn needed_by(
        &self,
        values: &[&'a str],
        boundary: &[&str],
    ) -> (Vec<&'a NodeProto>, HashSet<&'a str>) {
        let (mut nodes, mut reads, mut seen) =
            (vec![false; self.graph.node.len()], HashSet::new(), HashSet::new());
        let mut open: Vec<&str> = values.to_vec();
        while let Some(value) = open.pop() {
            if value.is_empty() || self.initializers.contains(value) || !seen.insert(value) {
                continue;
            }
            match self.by_output.get(value) {
                Some(&position) if !boundary.contains(&value) => {
                    nodes[position] = true;
                    open.extend(self.graph.node[position].input.iter().map(String::as_str));
                }
                _ => {
                    reads.insert(value);
                }
            }
        }
        let needed = self.graph.node.iter().zip(nodes).filter_map(|(node, needed)| needed.then_some(node));
        (needed.collect(), reads)
    }
}

/// Inputs that a caller gives; older files list weights among the inputs, too.
pub(crate) fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
    graph.input.iter().filter(move |input| !weights.contains(input.name.as_str()))
}

/// `None` for a dimension that is free.
pub(crate) fn dims(input: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let TypeValue::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter();
    Some(
        dims.map(|dim| match dim.value {
            Some(DimValue::DimValue(size)) if size > 0 => Some(size),
            _ => None,
        })
        .collect(),
    )
}

/// Whether an input holds real numbers; [`prepare`](crate::prepare) has made f32 of all of them.
pub(crate) fn check_real(input: &ValueInfoProto) -> Result<(), Problem> {
    let Some(TypeValue::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Ok(());
    };
    match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float | DataType::Undefined) => Ok(()),
        other => Err(Problem::Inputs(format!(
            "`{}` is of type {}, not of real numbers; export the model with a float input",
            input.name,
            other.map_or("unknown", |other| other.as_str_name())
        ))),
    }
}

pub(crate) fn show(shape: &[Option<i64>]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or("?".to_string(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}
