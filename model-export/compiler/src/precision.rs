//! Stores the weights of each layer in a precision of its own.

use std::collections::HashMap;

use frcnn_bundle::{
    Bundle, BundleWriter, Contents, Int8, Layer, MAX_INT8_PRODUCTS, Op, Precision, Section, SectionId,
    Weights,
};

use crate::calibrate::Calibration;
use crate::error::Problem;
use crate::int8;
use crate::network::output_layers;

/// Channels of an image.
const IMAGE_CHANNELS: u32 = 3;

/// What weights are to be stored as, by their section. All others stay as they are.
pub type Precisions = HashMap<SectionId, Precision>;

/// What `precision` means for the layers of a network.
///
/// Of 16 bits are the weights of all ungrouped convolutions and fully connected layers but the one that reads the image. It
/// has few of the products, and most of what rounding costs: of the 0.25 points of mAP that the blood-cell detector loses
/// when all weights are rounded to bf16, 0.06 remain without it.
///
/// Of int8 are those of fully connected layers and 1x1 convolutions, but for the layers that read the image or give the
/// detector's scores and box deltas, which stay f32. Other convolutions are f16: they are computed by Winograd's algorithm
/// in f32, which is as fast.
pub fn uniform(contents: &Contents, precision: Precision) -> Precisions {
    let outputs: Vec<Option<SectionId>> = output_layers(&contents.head)
        .into_iter()
        .map(|position| contents.head.layers.get(position?)?.op.reducible_weight())
        .collect();
    let of_layer = |layer: &Layer| {
        let weight = layer.op.reducible_weight()?;
        let stored = match precision {
            Precision::F32 => return None,
            _ if reads_image(&layer.op) => return None,
            Precision::Int8 if outputs.contains(&Some(weight)) => return None,
            Precision::Int8 if !is_matrix_product(&layer.op) || !fits_int8(contents, weight) => {
                Precision::F16
            }
            precision => precision,
        };
        Some((weight, stored))
    };
    contents.trunk.layers.iter().chain(&contents.head.layers).filter_map(of_layer).collect()
}

fn reads_image(op: &Op) -> bool {
    matches!(op, Op::Conv(conv) if conv.in_channels <= IMAGE_CHANNELS)
}

/// Whether a layer multiplies the cells of a map, or rows of features, as they lie.
fn is_matrix_product(op: &Op) -> bool {
    match op {
        Op::Conv(conv) => conv.kernel == [1, 1],
        Op::Gemm(_) => true,
        _ => false,
    }
}

/// Whether a sum of a layer's products may be one of int8.
pub fn fits_int8(contents: &Contents, weight: SectionId) -> bool {
    let section = contents.sections.get(weight as usize);
    section.is_some_and(|section| {
        let channels = section.shape.last().copied().unwrap_or(0);
        section.values().is_some_and(|values| values / u64::from(channels.max(1)) <= MAX_INT8_PRODUCTS)
    })
}

/// The same network, its weights stored as `precisions` says. Those of int8 must have been calibrated.
pub(crate) fn assign(
    bundle: &Bundle,
    precisions: &Precisions,
    calibration: &Calibration,
) -> Result<Bundle, Problem> {
    let contents = bundle.contents();
    let mut writer = BundleWriter::new();
    // Behind all that were there, so that these keep their numbers.
    let mut scales: Vec<(String, Vec<f32>)> = Vec::new();
    for (id, Section { name, shape, precision, .. }) in (0..).zip(&contents.sections) {
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let values = bundle.weights_as_f32(id);
        let precision = precisions.get(&id).copied().unwrap_or(*precision);
        if precision == Precision::Int8 {
            let channels = shape.last().copied().unwrap_or(0);
            let input = calibration.input(id).ok_or_else(|| not_calibrated(contents, id))?;
            let weights = int8::quantise(&values, channels);
            let int8 = Int8 {
                scales: (contents.sections.len() + scales.len()) as SectionId,
                input_scale: input.scale,
                input_zero_point: input.zero_point,
            };
            scales.push((format!("{name}.scales"), weights.scales));
            writer.add_int8(name, &shape, weights.values.into(), int8);
            continue;
        }
        let (total, weights) = (values.len(), Weights::rounded(&values, precision));
        match weights.not_finite() {
            0 => writer.add_weights(name, &shape, weights),
            count => {
                let (layer, when) = (layer_of(contents, id).to_string(), overflow(precision));
                return Err(Problem::Overflow { layer, count, total, when });
            }
        };
    }
    for (name, values) in scales {
        writer.add(name, &[values.len()], values);
    }
    Ok(writer.finish(contents.clone())?)
}

fn not_calibrated(contents: &Contents, id: SectionId) -> Problem {
    Problem::NotCalibrated { layer: layer_of(contents, id).to_string() }
}

/// The name of the first layer that has these weights.
pub(crate) fn layer_of(contents: &Contents, weight: SectionId) -> &str {
    let mut layers = contents.trunk.layers.iter().chain(&contents.head.layers);
    layers.find(|layer| layer.op.sections().any(|id| id == weight)).map_or("", |layer| &layer.name)
}

/// When weights become infinite, and what to do.
fn overflow(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 | Precision::Int8 => "in f32",
        Precision::Bf16 => "when they are rounded to bf16: compile with --precision f32",
        Precision::F16 => {
            "when they are rounded to f16, as convolutions are beside int8 layers, too, whose largest value is 65504: compile with \
             --precision bf16 or f32"
        }
    }
}
