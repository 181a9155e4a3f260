//! Groups of one input channel: each output channel slides over the input channel it belongs to.

use super::{ConvArgs, ConvShape};
use crate::{
    gemm::bias_relu,
    simd::{Loop, vectorized},
    tasks::for_each_chunk_stateless,
    window::{start, taps_inside},
};

/// The shapes were checked, and `out` is not empty.
pub(super) fn conv(shape: &ConvShape, weights: &[f32], args: ConvArgs<'_>, out: &mut [f32]) {
    let ConvArgs { input, bias, relu, threads } = args;
    let Some((out_height, out_width)) = shape.output_size() else { return };
    let image_len = shape.height * shape.width * shape.in_channels;
    for_each_chunk_stateless(threads, out, out_width * shape.out_channels, |i, out| {
        let image = &input[i / out_height * image_len..][..image_len];
        vectorized(OutputRow { shape, image, weights, y: i % out_height, out: &mut *out });
        bias_relu(out, bias, relu);
    });
}

/// One row of the output.
struct OutputRow<'a> {
    shape: &'a ConvShape,
    image: &'a [f32],
    weights: &'a [f32],
    y: usize,
    out: &'a mut [f32],
}

impl Loop for OutputRow<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { shape, image, weights, y, out } = self;
        let (ci, co) = (shape.in_channels, shape.out_channels);
        let y_start = start(y, shape.stride[0], shape.pads[0]);
        for (x, out) in out.chunks_exact_mut(co).enumerate() {
            let x_start = start(x, shape.stride[1], shape.pads[1]);
            out.fill(0.0);
            for tap_y in taps_inside(y_start, shape.kernel[0], shape.dilation[0], shape.height) {
                let y = y_start.wrapping_add_unsigned(tap_y * shape.dilation[0]) as usize;
                for tap_x in taps_inside(x_start, shape.kernel[1], shape.dilation[1], shape.width) {
                    let x = x_start.wrapping_add_unsigned(tap_x * shape.dilation[1]) as usize;
                    let cell = &image[(y * shape.width + x) * ci..][..ci];
                    let weights = &weights[(tap_y * shape.kernel[1] + tap_x) * co..][..co];
                    add_products(cell, weights, out);
                }
            }
        }
    }
}

/// `out[c * m + j] += cell[c] * weights[c * m + j]` for each of the `m` outputs of input channel `c`.
#[inline(always)]
fn add_products(cell: &[f32], weights: &[f32], out: &mut [f32]) {
    if cell.len() == out.len() {
        for ((sum, v), w) in out.iter_mut().zip(cell).zip(weights) {
            *sum += v * w;
        }
    } else {
        let multiplier = out.len() / cell.len();
        let groups = out.chunks_exact_mut(multiplier).zip(weights.chunks_exact(multiplier));
        for ((out, weights), v) in groups.zip(cell) {
            out.iter_mut().zip(weights).for_each(|(sum, w)| *sum += v * w);
        }
    }
}
