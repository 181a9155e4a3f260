//! A model's parts as models of their own, for tract-onnx.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::lower::Lowering;
use crate::onnx::{float_input, model_of, value};
use crate::split::Split;

/// The parts of a model, cut out of it with their weights.
pub(crate) struct SplitModel {
    pub(super) trunk: ModelProto,
    /// Reads the first map.
    pub(super) rpn: Option<ModelProto>,
    pub(super) head: ModelProto,
}

/// What is needed to take a model apart once nothing borrows it any more.
pub(crate) struct OwnedSplit {
    trunk_nodes: Vec<NodeProto>,
    rpn_nodes: Vec<NodeProto>,
    head_nodes: Vec<NodeProto>,
    data: String,
    maps: Vec<String>,
    pooled: Vec<String>,
    rpn_outputs: Vec<String>,
    outputs: [String; 2],
}

impl OwnedSplit {
    pub(crate) fn new(split: &Split, lowering: &Lowering) -> OwnedSplit {
        OwnedSplit {
            trunk_nodes: lowering.for_referee(&split.trunk),
            rpn_nodes: split.rpn.as_ref().map_or(Vec::new(), |rpn| lowering.for_referee(&rpn.nodes)),
            head_nodes: lowering.for_referee(&split.head),
            data: split.data.to_string(),
            maps: split.maps.iter().map(|map| map.to_string()).collect(),
            pooled: split.pooling.pooled().into_iter().map(str::to_string).collect(),
            rpn_outputs: split.rpn.iter().flat_map(|rpn| rpn.outputs.map(str::to_string)).collect(),
            outputs: split.outputs.map(str::to_string),
        }
    }

    /// Weights are moved, not copied: VGG16's are half a gigabyte. Only what several parts read is copied.
    pub(crate) fn apply(self, mut model: ModelProto) -> SplitModel {
        let mut weights = model.graph.take().map(|graph| graph.initializer).unwrap_or_default();
        let read_by = |nodes: &[NodeProto]| -> HashSet<String> {
            nodes.iter().flat_map(|node| &node.input).cloned().collect()
        };
        let by_head = read_by(&self.head_nodes);
        let mut by_rpn_or_head = read_by(&self.rpn_nodes);
        by_rpn_or_head.extend(by_head.iter().cloned());
        let mut part =
            |nodes: Vec<NodeProto>, inputs: &[String], outputs: &[String], later: &HashSet<String>| {
                let reads = read_by(&nodes);
                let (initializer, mut rest): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut weights).into_iter().partition(|weight| reads.contains(&weight.name));
                rest.extend(initializer.iter().filter(|weight| later.contains(&weight.name)).cloned());
                weights = rest;
                let graph = GraphProto {
                    initializer,
                    input: inputs.iter().map(|name| float_input(name)).collect(),
                    output: outputs.iter().map(|name| value(name)).collect(),
                    node: nodes,
                    ..Default::default()
                };
                model_of(graph, &model)
            };
        let trunk = part(self.trunk_nodes, &[self.data], &self.maps, &by_rpn_or_head);
        let first_map = self.maps.get(..1).unwrap_or_default();
        let rpn = (!self.rpn_outputs.is_empty())
            .then(|| part(self.rpn_nodes, first_map, &self.rpn_outputs, &by_head));
        let head = part(self.head_nodes, &self.pooled, &self.outputs, &HashSet::new());
        SplitModel { trunk, rpn, head }
    }
}
