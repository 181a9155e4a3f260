//! NaN and infinity on their way through a convolution.

use super::quantization::all_finite;
use crate::{ChannelRange, ConvShape};

/// Makes NaN of all `channels` of the output pixels, `size` of them in rows and columns, whose windows have a value that is not
/// finite.
pub(super) fn spread_not_finite(
    shape: &ConvShape,
    size: [usize; 2],
    input: &[f32],
    channels: ChannelRange,
    out: &mut [f32],
) {
    // Which output reads cell `at` of an axis by a tap.
    let output = |axis: usize, at: usize, tap: usize| {
        let from_start = (at + shape.pads[axis]).checked_sub(tap * shape.dilation[axis])?;
        let stride = shape.stride[axis];
        (from_start.is_multiple_of(stride) && from_start / stride < size[axis]).then(|| from_start / stride)
    };
    for (pixel, values) in input.chunks_exact(shape.in_channels.max(1)).enumerate() {
        if all_finite(values) {
            continue;
        }
        let (x, y) = (pixel % shape.width, pixel / shape.width % shape.height);
        let image = pixel / shape.width / shape.height;
        for y in (0..shape.kernel[0]).filter_map(|tap| output(0, y, tap)) {
            for x in (0..shape.kernel[1]).filter_map(|tap| output(1, x, tap)) {
                let at = ((image * size[0] + y) * size[1] + x) * channels.stride + channels.first;
                out[at..][..shape.out_channels].fill(f32::NAN);
            }
        }
    }
}
