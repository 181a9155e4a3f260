//! Rounds the weights of layers with many products to bf16.

use std::collections::HashSet;

use frcnn_bundle::{Bundle, BundleWriter, Contents, Graph, Op, Precision, Section, SectionId};
use frcnn_core::bf16_from_f32;

use crate::error::Problem;

/// Channels of an image.
const IMAGE_CHANNELS: u32 = 3;

/// The same network, computed in bf16 where that pays; see [`Precision::Bf16`].
///
/// The convolution that reads the image and the layers that give scores and deltas stay f32. They have few of the
/// products; the first one's rounding goes through all others, and that of the last ones decides between equally good
/// boxes.
pub(crate) fn to_bf16(bundle: &Bundle) -> Result<Bundle, Problem> {
    let contents = bundle.contents();
    let layers = contents.trunk.layers.iter().chain(&contents.head.layers);
    let reads_image = |op: &Op| matches!(op, Op::Conv(conv) if conv.in_channels <= IMAGE_CHANNELS);
    let last = last_weights(&contents.head);
    let rounded: HashSet<SectionId> = layers
        .map(|layer| &layer.op)
        .filter(|op| !reads_image(op))
        .filter_map(Op::bf16_weight)
        .filter(|section| !last.contains(section))
        .collect();
    let mut writer = BundleWriter::new();
    for (id, Section { name, shape, .. }) in (0..).zip(&contents.sections) {
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let weights = bundle.weights(id);
        if rounded.contains(&id) {
            writer.add_bf16(name, &shape, weights.iter().map(|&weight| bf16_from_f32(weight)).collect());
        } else {
            writer.add(name, &shape, weights.to_vec());
        }
    }
    Ok(writer.finish(Contents { precision: Precision::Bf16, ..contents.clone() })?)
}

/// The weights of those layers whose results no other layer with weights sees.
fn last_weights(graph: &Graph) -> HashSet<SectionId> {
    // Of each value, whether such a layer sees it.
    let mut seen = vec![false; graph.layers.len() + 1];
    let mut last = HashSet::new();
    for (position, layer) in graph.layers.iter().enumerate().rev() {
        let weight = layer.op.bf16_weight();
        let is_seen = seen.get(position + 1).copied().unwrap_or(false);
        last.extend(weight.filter(|_| !is_seen));
        for &input in &layer.inputs {
            if let Some(seen) = seen.get_mut(input as usize) {
                *seen |= is_seen || weight.is_some();
            }
        }
    }
    last
}
