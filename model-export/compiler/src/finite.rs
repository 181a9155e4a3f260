//! Weights are numbers: a NaN or an infinity among them makes every detection worthless.

use frcnn_bundle::Layer;

use crate::error::Problem;

/// How many values are NaN or infinite.
pub(crate) fn count(values: &[f32]) -> usize {
    values.iter().filter(|value| !value.is_finite()).count()
}

/// Whether what `layer` has become by a step of compiling is finite; `when` names the step.
pub(crate) fn check(layer: &Layer, weights: &[f32], when: &'static str) -> Result<(), Problem> {
    match count(weights) {
        0 => Ok(()),
        count => Err(Problem::Overflow { layer: layer.name.clone(), count, total: weights.len(), when }),
    }
}
