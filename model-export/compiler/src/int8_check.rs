//! Each int8 layer, as it runs on this machine, against its definition.
//!
//! A layer is held against what it read itself, so the two differ by the rounding of a sum to f32, its product with the scales and
//! the bias, and by nothing else, however many int8 layers come before it.

use std::sync::Arc;

use frcnn::{BBox, Detector, Frame, Options};
use frcnn_bundle::{Bundle, Conv, Gemm, Int8, Op, Precision, SectionId, Shape, Weights};
use frcnn_core::{largest_difference, largest_magnitude};
use frcnn_kernels::Quantization;

use crate::error::Problem;
use crate::graph_inputs::{self, evenly};

/// The least that is a mistake: three roundings in f32 are a hundredth of it.
const ALLOWED: f64 = 1e-5;
/// Regions of the photo.
const REGIONS: usize = 8;
/// Outputs, with all channels, of each layer and input.
const PLACES: usize = 8;

/// Runs a network on a photo and some of `boxes`, and holds some outputs of each int8 layer against its definition.
///
/// # Errors
/// The network does not run, or one differs.
pub(crate) fn check(bundle: &Arc<Bundle>, frame: &Frame, boxes: &[BBox]) -> Result<(), Problem> {
    let contents = bundle.contents();
    let is_int8 = |weight: SectionId| {
        contents.sections.get(weight as usize).is_some_and(|section| section.precision == Precision::Int8)
    };
    let mut session = Detector::new(bundle.clone(), &Options::default())?.session();
    graph_inputs::for_each(&mut session, contents, frame, (boxes, REGIONS), |session, input| {
        let (graph, batch, shapes) = graph_inputs::graph_of(contents, input)?;
        for (position, layer) in graph.layers.iter().enumerate() {
            if !layer.op.reducible_weight().is_some_and(is_int8) {
                continue;
            }
            let Some(&read) = layer.inputs.first() else { continue };
            let values = session.values(input, &[read, position as u32 + 1])?;
            let ([x, found], Some(&shape)) = (&values[..], shapes.get(read as usize)) else { continue };
            let Some(definition) = Definition::new(bundle, &layer.op, shape) else { continue };
            let channels = definition.channels();
            let largest = largest_magnitude(found);
            let places = definition.places() * batch;
            for place in evenly(places, PLACES) {
                let expected = definition.output(x, place);
                let found = found.get(place * channels..).unwrap_or_default();
                let error = disagreement(&found[..channels.min(found.len())], &expected, largest);
                if error > ALLOWED {
                    return Err(Problem::Int8Disagreement {
                        layer: layer.name.clone(),
                        error,
                        allowed: ALLOWED,
                    });
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// The largest difference as a share of the layer's `largest` output; infinite where a value is not finite in one of them alone, or
/// where values are missing.
fn disagreement(found: &[f32], expected: &[f64], largest: f64) -> f64 {
    largest_difference(found, expected) / largest.max(f64::MIN_POSITIVE)
}

/// An int8 layer by its definition: whole numbers are multiplied and added up exactly.
struct Definition<'a> {
    window: Window,
    weights: &'a [i8],
    scales: &'a [f32],
    bias: Option<&'a [f32]>,
    input: Quantization,
}

/// Which values a layer reads for an output.
enum Window {
    /// Rows of so many features.
    Row(usize),
    /// Maps of a height and a width, and of the output.
    Map { conv: Conv, from: [usize; 2], to: [usize; 2] },
}

impl<'a> Definition<'a> {
    /// Of a layer that reads values of `shape`; none of one that is not int8.
    fn new(bundle: &'a Bundle, op: &Op, shape: Shape) -> Option<Definition<'a>> {
        let (window, weight, bias) = match (op, shape) {
            (Op::Gemm(Gemm { in_features, weight, bias, .. }), _) => {
                (Window::Row(*in_features as usize), *weight, *bias)
            }
            (Op::Conv(conv), Shape::Map { height, width, .. }) => {
                let (to_height, to_width) = conv.output_size(height, width)?;
                let (from, to) = ([height, width], [to_height, to_width]);
                (Window::Map { conv: conv.clone(), from, to }, conv.weight, conv.bias)
            }
            _ => return None,
        };
        let section = bundle.contents().sections.get(weight as usize)?;
        let Int8 { input_scale: scale, input_zero_point: zero_point, .. } = section.int8?;
        let Weights::Int8(weights) = bundle.weights(weight)? else { return None };
        let bias = match bias.and_then(|bias| bundle.weights(bias)) {
            Some(Weights::F32(bias)) => Some(&bias[..]),
            _ => None,
        };
        let (scales, input) = (bundle.scales(weight)?, Quantization { scale, zero_point });
        Some(Definition { window, weights, scales, bias, input })
    }

    fn channels(&self) -> usize {
        self.scales.len()
    }

    /// Outputs of one image or region, each of all channels.
    fn places(&self) -> usize {
        match &self.window {
            Window::Row(_) => 1,
            Window::Map { to: [height, width], .. } => height * width,
        }
    }

    /// All channels of one output; `x` is what the layer reads of all images or regions.
    fn output(&self, x: &[f32], place: usize) -> Vec<f64> {
        let mut sums = vec![0i32; self.channels()];
        match &self.window {
            Window::Row(features) => self.add(&mut sums, &x[place * features..][..*features], 0),
            Window::Map { conv, from: [height, width], to: [to_height, to_width] } => {
                let channels = conv.in_channels as usize;
                let (image, pixel) = (place / (to_height * to_width), place % (to_height * to_width));
                let [kernel_height, kernel_width] = conv.kernel.map(|side| side as usize);
                let at = |axis: usize, step: usize, tap: usize, size: usize| {
                    let [stride, dilation] = [conv.stride[axis], conv.dilation[axis]].map(|v| v as usize);
                    let place = (step * stride + tap * dilation).checked_sub(conv.pads[axis] as usize);
                    place.filter(|place| *place < size)
                };
                for tap in 0..kernel_height * kernel_width {
                    let y = at(0, pixel / to_width, tap / kernel_width, *height);
                    let x_ = at(1, pixel % to_width, tap % kernel_width, *width);
                    // Beyond the map is 0, whatever its u8.
                    if let (Some(y), Some(x_)) = (y, x_) {
                        let cell = ((image * height + y) * width + x_) * channels;
                        self.add(&mut sums, &x[cell..][..channels], tap * channels);
                    }
                }
            }
        }
        let bias = |channel: usize| f64::from(self.bias.map_or(0.0, |bias| bias[channel]));
        let input_scale = f64::from(self.input.scale);
        let real = |(channel, (&sum, &scale)): (usize, (&i32, &f32))| {
            f64::from(sum) * input_scale * f64::from(scale) + bias(channel)
        };
        sums.iter().zip(self.scales).enumerate().map(real).collect()
    }

    /// Adds products of `values` and the rows of weights from `first` on.
    fn add(&self, sums: &mut [i32], values: &[f32], first: usize) {
        let rows = self.weights[first * sums.len()..].chunks_exact(sums.len());
        for (&value, row) in values.iter().zip(rows) {
            let steps = i32::from(self.input.quantize(value)) - i32::from(self.input.zero_point);
            sums.iter_mut().zip(row).for_each(|(sum, &weight)| *sum += steps * i32::from(weight));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_disagrees() {
        assert_eq!(disagreement(&[1.0, -4.0], &[1.0, -4.0], 4.0), 0.0);
        assert_eq!(disagreement(&[1.0, -4.0], &[3.0, -4.0], 4.0), 0.5);
        for found in [&[1.0, f32::NAN][..], &[1.0, f32::INFINITY], &[1.0]] {
            for largest in [0.0, 4.0] {
                assert!(disagreement(found, &[1.0, -4.0], largest) > ALLOWED, "{found:?}");
            }
        }
        // Where all are 0 nothing may be anything else.
        assert_eq!(disagreement(&[0.0], &[0.0], 0.0), 0.0);
        assert!(disagreement(&[0.0], &[1e-30], 0.0) > ALLOWED);
    }
}
