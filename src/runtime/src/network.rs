//! A network as its plans see it.

use std::collections::HashMap;

use frcnn_bundle::{Contents, Op, SectionId, Weights};

/// The graphs, and those weights that layers read where they lie. All others are packed: see
/// [`PackedWeights`](crate::ops::PackedWeights).
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) contents: Contents,
    values: HashMap<SectionId, Weights>,
}

impl Network {
    /// `weights` are those of each section.
    pub(crate) fn new(contents: Contents, weights: &[Weights]) -> Network {
        let layers = contents.trunk.layers.iter().chain(&contents.head.layers);
        let sections = layers.flat_map(|layer| match &layer.op {
            Op::Conv(conv) => [conv.bias, None],
            Op::Gemm(gemm) => [gemm.bias, None],
            Op::Affine(affine) => [Some(affine.scale), Some(affine.shift)],
            _ => [None, None],
        });
        let values = sections.flatten().filter_map(|id| Some((id, weights.get(id as usize)?.clone())));
        Network { values: values.collect(), contents }
    }

    /// A bias, or the factors of an affine layer.
    pub(crate) fn values(&self, section: SectionId) -> &[f32] {
        self.values.get(&section).map_or(&[], Weights::f32)
    }
}
