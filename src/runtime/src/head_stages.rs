//! The stages of a network that have a name: maps, pooled features, and layers of the head.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Factored, Graph, Op, Regions, SectionId};

/// The weights of the layers that the values of each stage have passed: the trunk's maps, what the RPN gives of each, pooled
/// features, and the head's layers that have a published name.
pub(crate) fn stage_weights(contents: &Contents) -> Vec<(String, Vec<SectionId>)> {
    let weights = |graph: &Graph, passed: &dyn Fn(usize) -> bool| -> Vec<SectionId> {
        let layers = graph.layers.iter().enumerate().filter(|&(position, _)| passed(position));
        layers.filter_map(|(_, layer)| layer.op.reducible_weight()).collect()
    };
    let trunk = weights(&contents.trunk, &|_| true);
    let mut stages: Vec<(String, Vec<SectionId>)> =
        contents.map_names().into_iter().map(|map| (map, trunk.clone())).collect();
    if let Some(rpn) = &contents.rpn {
        let own = [&trunk[..], &weights(&rpn.graph, &|_| true)].concat();
        let of_map = |map: usize| ["logits", "deltas"].map(|what| (format!("rpn_{what}.{map}"), own.clone()));
        stages.extend((0..contents.trunk.outputs.len()).flat_map(of_map));
    }
    let pooled = if matches!(contents.regions, Regions::RoiAlign(_)) { "roi_align" } else { "pool5" };
    stages.push((pooled.to_string(), trunk.clone()));
    for (stage, value) in named_values(&contents.head, &contents.factored) {
        let mut passed = vec![false; contents.head.layers.len()];
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            let Some(position) = (value as usize).checked_sub(1) else { continue };
            if let (Some(passed), Some(layer)) =
                (passed.get_mut(position), contents.head.layers.get(position))
                && !std::mem::replace(passed, true)
            {
                open.extend(&layer.inputs);
            }
        }
        let own = weights(&contents.head, &|position| passed[position]);
        stages.push((stage, [&trunk[..], &own].concat()));
    }
    stages
}

/// The values that have a published name, each after the ReLU that follows its layer, then the outputs.
pub(crate) fn named_values(graph: &Graph, factored: &[Factored]) -> Vec<(String, u32)> {
    let after_relu = |value: u32| {
        let relu = graph.layers.iter().position(|l| l.inputs == [value] && matches!(l.op, Op::Relu));
        relu.map_or(value, |position| position as u32 + 1)
    };
    let factors: HashMap<String, Option<&String>> = factored
        .iter()
        .flat_map(|factored| {
            let [left, right] = factored.factors();
            [(left, None), (right, Some(&factored.layer))]
        })
        .collect();
    let mut named: Vec<(String, u32)> = Vec::new();
    for (position, layer) in graph.layers.iter().enumerate() {
        if !matches!(layer.op, Op::Conv(_) | Op::Gemm(_)) {
            continue;
        }
        let name = match factors.get(&layer.name) {
            // What lies between the two has no published name.
            Some(None) => continue,
            Some(Some(whole)) => whole,
            None => &layer.name,
        };
        named.push((name.clone(), after_relu(position as u32 + 1)));
    }
    for (name, &value) in ["cls_prob", "bbox_pred"].into_iter().zip(&graph.outputs) {
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.to_string(), value));
        }
    }
    named
}
