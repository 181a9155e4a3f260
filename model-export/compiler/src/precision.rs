//! Rounds the weights of layers with many products to bf16.

use frcnn_bundle::{Bundle, BundleWriter, Contents, Op, Precision, Section};
use frcnn_core::bf16_from_f32;

use crate::error::Problem;

/// The same network, computed in bf16 where that pays; see [`Precision::Bf16`].
pub(crate) fn to_bf16(bundle: &Bundle) -> Result<Bundle, Problem> {
    let contents = bundle.contents();
    let layers = || contents.trunk.layers.iter().chain(&contents.head.layers);
    let mut writer = BundleWriter::new();
    for (id, Section { name, shape, .. }) in (0..).zip(&contents.sections) {
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let weights = bundle.weights(id);
        let reads = |op: &Op| op.bf16_weight() == Some(id);
        if layers().any(|layer| reads(&layer.op)) {
            writer.add_bf16(name, &shape, weights.iter().map(|&weight| bf16_from_f32(weight)).collect());
        } else {
            writer.add(name, &shape, weights.to_vec());
        }
    }
    Ok(writer.finish(Contents { precision: Precision::Bf16, ..contents.clone() })?)
}
