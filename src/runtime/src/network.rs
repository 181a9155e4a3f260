//! A network as its plans see it.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Op, SectionId, Shape, Values, Weights, nominal_size};

/// The graphs, and those weights that layers read where they lie. All others are packed: see
/// [`PackedWeights`](crate::ops::PackedWeights).
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) contents: Contents,
    values: HashMap<SectionId, Values<f32>>,
}

impl Network {
    /// `weights` are those of each section.
    pub(crate) fn new(contents: Contents, weights: &[Weights]) -> Network {
        let layers = contents.layers();
        let sections = layers.flat_map(|layer| match &layer.op {
            Op::Conv(conv) => [conv.bias, None],
            Op::Gemm(gemm) => [gemm.bias, None],
            Op::Affine(affine) => [Some(affine.scale), Some(affine.shift)],
            _ => [None, None],
        });
        // None of these is ever anything else than f32.
        let values = sections.flatten().filter_map(|id| match weights.get(id as usize)? {
            Weights::F32(values) => Some((id, values.clone())),
            Weights::Bf16(_) | Weights::F16(_) | Weights::Int8(_) => None,
        });
        Network { values: values.collect(), contents }
    }

    /// A bias, or the factors of an affine layer.
    pub(crate) fn values(&self, section: SectionId) -> &[f32] {
        self.values.get(&section).map_or(&[], |values| values)
    }
}

/// What the trunk reads and gives, for a blob of the nominal size.
pub(crate) fn trunk_shapes(contents: &Contents) -> [Shape; 2] {
    let (height, width) = nominal_size(contents);
    let image = Shape::Map { height, width, channels: 3 };
    let shapes = contents.trunk.infer(image).unwrap_or_default();
    // Validation has seen that the trunk gives a map.
    let map = contents.trunk.outputs.first().and_then(|&value| shapes.get(value as usize));
    [image, map.copied().unwrap_or(image)]
}
