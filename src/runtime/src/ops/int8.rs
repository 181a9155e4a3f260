//! What an int8 layer has beside its weights.

use frcnn_bundle::{Contents, SectionId, Values, Weights};
use frcnn_core::ShapeError;
use frcnn_kernels::{Int8Weights, Quantization};

/// An int8 layer that has none of it, which validation has ruled out.
pub(super) const NO_SCALES: ShapeError = ShapeError { what: "scales of int8 weights", expected: 1, found: 0 };

/// What makes real numbers of a layer's weights, and whole ones of what it reads.
#[derive(Clone, Debug)]
pub(super) struct Int8Parts {
    scales: Values<f32>,
    input: Quantization,
}

impl Int8Parts {
    /// Of a layer of int8 weights; `weights` are those of each section.
    pub(super) fn of(contents: &Contents, weights: &[Weights], weight: SectionId) -> Option<Int8Parts> {
        let int8 = contents.sections.get(weight as usize)?.int8?;
        match weights.get(int8.scales as usize)? {
            Weights::F32(scales) => Some(Int8Parts {
                scales: scales.clone(),
                input: Quantization { scale: int8.input_scale, zero_point: int8.input_zero_point },
            }),
            _ => None,
        }
    }

    /// With the weights themselves.
    pub(super) fn with<'a>(&'a self, values: &'a [i8]) -> Int8Weights<'a> {
        Int8Weights { values, scales: &self.scales, input: self.input }
    }
}
