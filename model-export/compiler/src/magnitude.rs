//! Which layer makes values that are too large for f32.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::{Datum, Tensor};

use crate::constants::floats;
use crate::error::Problem;
use crate::onnx::{name, value};

/// From here on neighbouring f32 values are 1/16 and more apart: what a softmax makes of sums of such values is chance. The
/// published networks stay far below, on random pixels too.
pub(crate) const LARGE: f32 = 1e6;

/// A layer, and the largest magnitude that it gives; infinity for what is no number.
#[derive(Clone)]
pub(crate) struct Culprit {
    layer: String,
    op: String,
    largest: f32,
}

/// The largest magnitude; infinity where a value is NaN.
pub(crate) fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0, |largest, value| if value.is_nan() { f32::INFINITY } else { value.abs().max(largest) })
}

/// The first node of `model` that gives values of at least [`LARGE`]. `run` runs a model and gives its outputs.
pub(crate) fn find<T: std::ops::Deref<Target = Tensor>>(
    model: &ModelProto,
    run: impl Fn(&ModelProto) -> Option<Vec<T>>,
) -> Option<Culprit> {
    let graph = model.graph.as_ref()?;
    // What does not depend on the input is a constant, which may be as large as it likes: a bound, for one.
    let mut computed: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    let mut made: Vec<&NodeProto> = Vec::new();
    for node in &graph.node {
        if node.input.iter().any(|name| computed.contains(name.as_str())) {
            computed.extend(node.output.first().map(String::as_str));
            made.push(node);
        }
    }
    let output = made.iter().filter_map(|node| node.output.first());
    let output = output.map(|name| value(name)).collect();
    let all = ModelProto { graph: Some(GraphProto { output, ..graph.clone() }), ..model.clone() };
    let values = run(&all)?;
    made.into_iter().zip(values).find_map(|(node, values)| {
        let is_real = values.datum_type() == f32::datum_type();
        let largest = if is_real { largest(&floats(&values)?) } else { 0.0 };
        let (layer, op) = (name(node).to_string(), node.op_type.clone());
        (largest >= LARGE).then_some(Culprit { layer, op, largest })
    })
}

impl Culprit {
    /// The problem as it is, where two runs disagree because of this layer; any other as it was.
    pub(crate) fn explain(this: Option<Culprit>, problem: Problem) -> Problem {
        let (Problem::Disagreement { stage, .. } | Problem::NotFiniteOutput { stage, .. }) = problem else {
            return problem;
        };
        match this {
            Some(Culprit { layer, op, largest }) => Problem::TooLarge { layer, op, largest, stage },
            None => problem,
        }
    }
}
