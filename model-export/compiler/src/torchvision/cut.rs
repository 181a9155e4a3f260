//! A detector's file without what lies between its parts.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, ModelProto};

use super::Detector;
use crate::onnx::{Producers, float_input, value};

/// The nodes of trunk, RPN and head alone, which read `blob` and `pooled`, and give the maps and the parts' outputs.
pub(crate) fn cut(model: &mut ModelProto, detector: &Detector) {
    let Some(graph) = &mut model.graph else { return };
    let boundary = [detector.blob.as_str(), detector.pooled.as_str()];
    let mut ends: Vec<&str> = detector.maps.iter().map(String::as_str).collect();
    ends.extend([&*detector.logits, &*detector.deltas, &*detector.cls_prob, &*detector.bbox_pred]);
    let (nodes, _) = Producers::new(graph).needed_by(&ends, &boundary);
    let nodes: Vec<_> = nodes.into_iter().cloned().collect();
    let read: HashSet<&str> = nodes.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let initializer = std::mem::take(&mut graph.initializer);
    let initializer = initializer.into_iter().filter(|tensor| read.contains(tensor.name.as_str())).collect();
    let graph = GraphProto {
        initializer,
        input: boundary.iter().map(|name| float_input(name)).collect(),
        output: ends.iter().map(|name| value(name)).collect(),
        node: nodes,
        ..Default::default()
    };
    model.graph = Some(graph);
}
