//! RoIs that are made in the graph.
//!
//! torchvision's `roi_pool` also takes a list of boxes, and exports the batch index that it puts before
//! them as nodes. What such nodes compute is not guessed from their kinds: they are run on a sample.

use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

use crate::constants::{floats, referee};
use crate::error::Problem;
use crate::referee::float_input;
use crate::split::{Split, name};

/// Boxes of no special kind: x1, y1, x2, y2.
const SAMPLE: [[f32; 4]; 3] = [[1.0, 2.0, 30.0, 40.0], [50.5, 6.25, 70.0, 80.0], [9.0, 10.0, 9.0, 12.0]];

/// Whether the nodes between the rois' input and the `MaxRoiPool` node do no more than put a batch index of
/// 0 before the boxes, or nothing at all.
pub(crate) fn check(model: &ModelProto, split: &Split) -> Result<(), Problem> {
    let Some(first) = split.rois_nodes.first() else { return Ok(()) };
    let rows = SAMPLE.map(|[x1, y1, x2, y2]| [0.0, x1, y1, x2, y2]);
    let given: Vec<f32> = match split.rois_columns {
        4 => SAMPLE.concat(),
        _ => rows.concat(),
    };
    let made = run(model, split, &given).map_err(|error| referee("rois", &error))?;
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

fn run(model: &ModelProto, split: &Split, given: &[f32]) -> TractResult<Vec<f32>> {
    let weights = model.graph.iter().flat_map(|g| &g.initializer);
    let is_read =
        |name: &str| split.rois_nodes.iter().any(|node| node.input.iter().any(|input| input == name));
    let output = split.roi_pools.first().and_then(|pool| pool.input.get(1)).cloned().unwrap_or_default();
    let graph = GraphProto {
        node: split.rois_nodes.iter().map(|&node| node.clone()).collect(),
        initializer: weights.filter(|w| is_read(&w.name)).cloned().collect(),
        input: vec![float_input(split.rois)],
        output: vec![ValueInfoProto { name: output, ..Default::default() }],
        ..Default::default()
    };
    let proto = ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        graph: Some(graph),
        ..Default::default()
    };
    let input = Tensor::from_shape(&[SAMPLE.len(), given.len() / SAMPLE.len()], given)?;
    let fact = f32::fact(input.shape());
    let model = tract_onnx::onnx().model_for_proto_model(&proto)?.with_input_fact(0, fact.into())?;
    let result = model.into_typed()?.into_runnable()?.run(tvec!(input.into_tvalue()))?;
    Ok(result.first().and_then(|tensor| floats(tensor)).unwrap_or_default())
}
