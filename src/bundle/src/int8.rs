//! What int8 weights, and the u8 values that they are multiplied by, stand for.

use serde::{Deserialize, Serialize};

use crate::graph::{Precision, Section, SectionId};
use crate::{Error, Weights};

/// What makes real numbers of a section of int8 weights, and how the layer that has them rounds what it reads.
///
/// A weight is its int8 value times the scale of its output channel. The layer makes u8 of each value `x` that it reads,
/// `round(x / input_scale) + input_zero_point`, ties to even and from 0 to 255, adds up products of whole numbers, and
/// multiplies the sum by both scales. ONNX has the same in `QuantizeLinear` and `DequantizeLinear`. An output that is made of
/// an `x` that is NaN or infinite is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Int8 {
    /// `[Co]`, f32: the scale of each output channel, above 0.
    pub scales: SectionId,
    /// What a step of the input's u8 values is worth.
    pub input_scale: f32,
    /// The u8 value that stands for 0.
    pub input_zero_point: u8,
}

/// Products that a layer may add up for one output: their sum fits into 32 bits, whatever they are.
pub const MAX_INT8_PRODUCTS: u64 = i32::MAX as u64 / (255 * 127);

/// Whether a section has what int8 values want if it is one, and nothing of it if not.
pub(crate) fn check_section(section: &Section, sections: &[Section]) -> Result<(), String> {
    let int8 = match (section.precision, section.int8) {
        (Precision::Int8, Some(int8)) => int8,
        (Precision::Int8, None) => return Err("of int8 values has no scales".to_string()),
        (_, None) => return Ok(()),
        (precision, Some(_)) => {
            return Err(format!("of {} values has the scales of int8 ones", precision.name()));
        }
    };
    let channels = section.shape.last().copied().unwrap_or(0);
    let fits = |scales: &&Section| scales.precision == Precision::F32 && scales.shape == [channels];
    if sections.get(int8.scales as usize).filter(fits).is_none() {
        return Err(format!("has no scales for its {channels} channels in section {}", int8.scales));
    }
    if !int8.input_scale.is_normal() || int8.input_scale < 0.0 {
        return Err(format!("is multiplied by values of the scale {}", int8.input_scale));
    }
    match section.values().map(|values| values / u64::from(channels.max(1))) {
        Some(products) if products <= MAX_INT8_PRODUCTS => Ok(()),
        _ => Err(format!("has more than {MAX_INT8_PRODUCTS} int8 weights for one output")),
    }
}

/// Whether the values of int8 sections, and their scales, are such as they must be. `weights` are those of each section.
pub(crate) fn check_values(sections: &[Section], weights: &[Weights]) -> Result<(), Error> {
    for (section, values) in sections.iter().zip(weights) {
        let problem =
            |problem: &str| Error::Section { name: section.name.clone(), problem: problem.to_string() };
        if let Weights::Int8(values) = values
            && values.contains(&i8::MIN)
        {
            return Err(problem("has the int8 value -128"));
        }
        if let Some(int8) = section.int8
            && let Some(Weights::F32(scales)) = weights.get(int8.scales as usize)
            && !scales.iter().all(|&scale| scale > 0.0 && (scale * int8.input_scale).is_finite())
        {
            return Err(problem("has a scale that is not above 0, or too large"));
        }
    }
    Ok(())
}
