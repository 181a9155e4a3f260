//! RoIs that are made in the graph.
//!
//! torchvision's `roi_pool` also takes a list of boxes, and exports the batch index that it puts before
//! them as nodes. What such nodes compute is not guessed from their kinds: they are run on a sample.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::pb::{ModelProto, TensorProto};
use tract_onnx::prelude::Tensor;

use crate::constants::{Evaluator, floats, load};
use crate::error::Problem;
use crate::guard::refused;
use crate::onnx::{Attributes, name};
use crate::split::Rois;

/// Boxes of no special kind: x1, y1, x2, y2.
const SAMPLE: [[f32; 4]; 3] = [[1.0, 2.0, 30.0, 40.0], [50.5, 6.25, 70.0, 80.0], [9.0, 10.0, 9.0, 12.0]];

/// Whether the nodes between the rois' input and RoI pooling do no more than put a batch index of 0 before the boxes, or
/// nothing at all.
pub(crate) fn check(model: &ModelProto, rois: &Rois) -> Result<(), Problem> {
    let Some(first) = rois.nodes.first() else { return Ok(()) };
    let rows = SAMPLE.map(|[x1, y1, x2, y2]| [0.0, x1, y1, x2, y2]);
    let given: Vec<f32> = match rois.columns {
        4 => SAMPLE.concat(),
        _ => rows.concat(),
    };
    let made = run(model, rois, &given)?;
    if made == rows.concat() {
        return Ok(());
    }
    Err(Problem::Inputs(format!(
        "the rois are computed in the graph (from node `{}`, {}), and are not the boxes that are given with a batch index \
         of 0 before them",
        name(first),
        first.op_type
    )))
}

/// What the nodes make of the sample: all that they read is known, as in any constant expression.
fn run(model: &ModelProto, rois: &Rois, given: &[f32]) -> Result<Vec<f32>, Problem> {
    let mut evaluator = Evaluator::new(model);
    let columns = given.len() / SAMPLE.len();
    let sample =
        Tensor::from_shape(&[SAMPLE.len(), columns], given).map_err(|error| refused("rois", &error))?;
    let mut values = HashMap::from([(rois.input, Arc::new(sample))]);
    let weights: HashMap<&str, &TensorProto> = model
        .graph
        .iter()
        .flat_map(|graph| &graph.initializer)
        .map(|weight| (&*weight.name, weight))
        .collect();
    for &node in &rois.nodes {
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            match (values.contains_key(input.as_str()), weights.get(input.as_str())) {
                (true, _) => {}
                (false, Some(weight)) => {
                    values.insert(input, load(weight)?);
                }
                (false, None) => {
                    let problem = format!("no node gives its input `{input}`");
                    return Err(Attributes(node).problem(problem));
                }
            }
        }
        let inputs =
            node.input.iter().filter_map(|name| Some((name.as_str(), values.get(name.as_str())?.clone())));
        let made = evaluator.run(node, &inputs.collect::<Vec<_>>())?;
        let outputs = node.output.iter().filter(|name| !name.is_empty()).map(String::as_str);
        values.extend(outputs.zip(made));
    }
    Ok(values.get(rois.value).and_then(|tensor| floats(tensor)).unwrap_or_default())
}
