//! Convolution as its definition reads.

use frcnn_core::ShapeError;

use super::{ConvArgs, ConvShape};

/// The obvious convolution with f64 sums, for tests; arguments as those of `conv2d_into`, on one thread.
///
/// # Errors
/// As `conv2d_into`.
pub fn conv2d_reference(
    shape: &ConvShape,
    weights: &[f32],
    args: ConvArgs<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (out_height, out_width) = shape.check(weights, args, out)?;
    let ConvArgs { input, bias, relu, .. } = args;
    let (ci, co) = (shape.in_channels, shape.out_channels);
    let mut i = 0;
    for n in 0..shape.batch {
        for y in 0..out_height {
            for x in 0..out_width {
                for o in 0..co {
                    let (group_in, group_out) = (ci / shape.group, co / shape.group);
                    let mut sum = bias.map_or(0.0, |bias| f64::from(bias[o]));
                    for tap_y in 0..shape.kernel[0] {
                        for tap_x in 0..shape.kernel[1] {
                            let in_y =
                                (y * shape.stride[0] + tap_y * shape.dilation[0]).wrapping_sub(shape.pads[0]);
                            let in_x =
                                (x * shape.stride[1] + tap_x * shape.dilation[1]).wrapping_sub(shape.pads[1]);
                            if in_y >= shape.height || in_x >= shape.width {
                                continue;
                            }
                            for c in 0..group_in {
                                let cell = (n * shape.height + in_y) * shape.width + in_x;
                                let value = input[cell * ci + o / group_out * group_in + c];
                                let tap = tap_y * shape.kernel[1] + tap_x;
                                sum += f64::from(value) * f64::from(weights[(tap * group_in + c) * co + o]);
                            }
                        }
                    }
                    out[i] = if relu && sum < 0.0 { 0.0 } else { sum as f32 };
                    i += 1;
                }
            }
        }
    }
    Ok(())
}
