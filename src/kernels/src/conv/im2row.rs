//! Gathering patches: for each output pixel the input values that its window sees, as one row of a matrix.

use core::ops::Range;

use super::ConvShape;
use crate::window::{start, taps_inside};

/// A run of output pixels, counted through `[N, Ho, Wo]`.
#[derive(Clone, Copy)]
pub(super) struct Pixels {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

/// Writes the patches of group `g`, `[pixel, Kh, Kw, Ci / group]`, with zeros for the padding.
pub(super) fn gather(shape: &ConvShape, input: &[f32], g: usize, pixels: Pixels, patches: &mut [f32]) {
    let patch_len = shape.patch_len();
    if patch_len == 0 {
        return;
    }
    let (mut pixel, end) = (pixels.first, pixels.first + pixels.count);
    let mut patches = patches.chunks_exact_mut(patch_len);
    while pixel < end {
        let x = pixel % pixels.out_width;
        let y = pixel / pixels.out_width % pixels.out_height;
        let image = pixel / pixels.out_width / pixels.out_height;
        let row_end = end.min(pixel - x + pixels.out_width);
        let row = PatchRow::new(shape, input, g, image, y);
        for (x, patch) in (x..).zip(patches.by_ref().take(row_end - pixel)) {
            row.gather(x, patch);
        }
        pixel = row_end;
    }
}

/// One row of output pixels, and the input rows that its windows see.
struct PatchRow<'a> {
    shape: &'a ConvShape,
    input: &'a [f32],
    /// Channels of the group, and the first of them.
    channels: usize,
    first_channel: usize,
    /// Input rows before this image.
    rows_before: usize,
    start: isize,
    taps: Range<usize>,
}

impl<'a> PatchRow<'a> {
    fn new(shape: &'a ConvShape, input: &'a [f32], g: usize, image: usize, y: usize) -> Self {
        let channels = shape.in_channels / shape.group;
        let start = start(y, shape.stride[0], shape.pads[0]);
        let taps = taps_inside(start, shape.kernel[0], shape.dilation[0], shape.height);
        let (first_channel, rows_before) = (g * channels, image * shape.height);
        Self { shape, input, channels, first_channel, rows_before, start, taps }
    }

    fn gather(&self, x: usize, patch: &mut [f32]) {
        let Self { shape, channels, .. } = *self;
        let [kh, kw] = shape.kernel;
        let start = start(x, shape.stride[1], shape.pads[1]);
        let taps = taps_inside(start, kw, shape.dilation[1], shape.width);
        if self.taps.len() < kh || taps.len() < kw {
            patch.fill(0.0);
        }
        if taps.is_empty() {
            return;
        }
        // Whole rows of a window lie together when neither groups nor dilation pull them apart.
        let contiguous = shape.group == 1 && shape.dilation[1] == 1;
        let (pieces, piece_len) =
            if contiguous { (1, taps.len() * channels) } else { (taps.len(), channels) };
        let first = start.wrapping_add_unsigned(taps.start * shape.dilation[1]) as usize;
        for tap_y in self.taps.clone() {
            let y = self.rows_before + self.start.wrapping_add_unsigned(tap_y * shape.dilation[0]) as usize;
            for piece in 0..pieces {
                let x = first + piece * shape.dilation[1];
                let from = (y * shape.width + x) * shape.in_channels + self.first_channel;
                let to = (tap_y * kw + taps.start + piece) * channels;
                patch[to..][..piece_len].copy_from_slice(&self.input[from..][..piece_len]);
            }
        }
    }
}
