//! The input rows that some output rows see, in bf16, with their padding, pre-packed for `engine`.
//!
//! ```text
//!   channels a multiple of 32: planes of 32 channels       otherwise: the map's own order
//!     [Ci / 32, rows, padded width, 32]                      [rows, padded width, Ci]
//!     a step is 32 channels of one tap                       a step is 32 values of a run of taps that are contiguous
//! ```
//!
//! 1. In a plane the pixels of a tile follow one another: pixels `Ci` values apart would fall, for the usual `Ci`, into
//!    a few sets of the first-level cache and evict each other.
//! 2. All taps of 32 channels come one after the other. They see nearly the same pixels, which so come from the
//!    second-level cache once.
//! 3. In the map's own order the last step of a run reads on beyond it, against weights of 0. So an infinite value or a
//!    NaN may reach outputs up to 31 values away.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Map,
    engine::Engine,
    layout::{BLOCK, STEP},
};
use crate::ConvShape;

/// 32 values of `K`: from value `offset` of the row of padded pixels `row` below the window's first, in plane `plane`.
#[derive(Clone, Debug)]
struct Step {
    plane: usize,
    row: usize,
    offset: usize,
    /// The rows of weights that they meet; weights for the rest are 0.
    weights: Range<usize>,
}

/// How the windows of a layer are cut into steps.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// Channels of a pixel in a plane.
    channels: usize,
    steps: Vec<Step>,
}

impl Steps {
    /// For an ungrouped layer.
    pub(super) fn new(shape: &ConvShape) -> Self {
        let (ci, [kh, kw], [down, right]) = (shape.in_channels, shape.kernel, shape.dilation);
        let mut steps = Vec::new();
        if ci.is_multiple_of(STEP) {
            for plane in 0..ci / STEP {
                for (y, x) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                    let first = (y * kw + x) * ci + plane * STEP;
                    let (row, offset) = (y * down, x * right * STEP);
                    steps.push(Step { plane, row, offset, weights: first..first + STEP });
                }
            }
            return Self { channels: STEP, steps };
        }
        // Runs of contiguous values: whole rows of a window, or taps where dilation pulls them apart.
        let (runs, taps) = if right == 1 { (1, kw) } else { (kw, 1) };
        for (y, run) in (0..kh).flat_map(|y| (0..runs).map(move |run| (y, run))) {
            let first = (y * kw + run) * ci;
            let len = taps * ci;
            for at in (0..len).step_by(STEP) {
                let (row, offset) = (y * down, run * right * ci + at);
                steps.push(Step { plane: 0, row, offset, weights: first + at..first + len.min(at + STEP) });
            }
        }
        Self { channels: ci, steps }
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The row of weights that value `value` of step `step` meets.
    pub(super) fn weight(&self, step: usize, value: usize) -> Option<usize> {
        let range = &self.steps[step].weights;
        Some(range.start + value).filter(|weight| range.contains(weight))
    }
}

/// Where the windows of some output rows lie in the padded input rows that they see.
pub(super) struct PaddedRows {
    channels: usize,
    planes: usize,
    /// Input rows, and cells of each, padding included.
    rows: usize,
    width: usize,
    /// Where each step begins, from the beginning of a window.
    pub(super) steps: Vec<usize>,
    /// Values from one pixel's window to the next one's.
    pub(super) pixel_stride: usize,
    /// With strides of 1 the windows of all rows are one long line, [`PaddedRows::pixel_stride`] apart. This is how many
    /// there are from the first of a row to the first of the next. Those behind a row's last pixel straddle two rows:
    /// they are multiplied like the others, and their sums are not used.
    pub(super) pitch: Option<usize>,
    /// Values from one output row's first window to the next one's.
    pub(super) row_stride: usize,
    /// Values of all of it.
    pub(super) len: usize,
}

impl PaddedRows {
    pub(super) fn new(steps: &Steps, shape: &ConvShape, out_rows: usize, out_width: usize) -> Self {
        let channels = steps.channels;
        let planes = if channels == STEP { shape.in_channels / STEP } else { 1 };
        let width = shape.width + shape.pads[1] + shape.pads[3];
        let rows = input_rows(shape, out_rows);
        let offsets: Vec<usize> = (steps.steps.iter())
            .map(|step| (step.plane * rows + step.row) * width * channels + step.offset)
            .collect();
        let pixel_stride = shape.stride[1] * channels;
        let pitch = (shape.stride == [1, 1]).then_some(width);
        let row_stride = shape.stride[0] * width * channels;
        // A block always reads `BLOCK` windows, also past the last pixel.
        let last_pixel = match pitch {
            Some(pitch) => ((out_rows - 1) * pitch + out_width).next_multiple_of(BLOCK) * pixel_stride,
            None => (out_rows - 1) * row_stride + out_width.next_multiple_of(BLOCK) * pixel_stride,
        };
        let len = last_pixel + offsets.iter().max().map_or(0, |offset| offset + STEP);
        let len = len.max(planes * rows * width * channels + STEP);
        Self { channels, planes, rows, width, steps: offsets, pixel_stride, pitch, row_stride, len }
    }

    /// Copies what `out_rows` output rows from `first` of image `image` see.
    #[expect(clippy::too_many_arguments, reason = "a layer, its map, and which rows of it")]
    pub(super) fn fill(
        &self,
        engine: &Engine,
        shape: &ConvShape,
        input: Map<'_>,
        image: usize,
        first: usize,
        out_rows: usize,
        values: &mut [u16],
    ) {
        let (ci, row_len) = (shape.in_channels, self.width * self.channels);
        let plane_len = self.rows * row_len;
        let rows = input_rows(shape, out_rows);
        for row in 0..rows {
            let in_y = (first * shape.stride[0] + row).wrapping_sub(shape.pads[0]);
            let inside = in_y < shape.height;
            for plane in 0..self.planes {
                let to = &mut values[plane * plane_len + row * row_len..][..row_len];
                if inside {
                    to[..shape.pads[1] * self.channels].fill(0);
                    to[row_len - shape.pads[3] * self.channels..].fill(0);
                } else {
                    to.fill(0);
                }
            }
            if inside {
                let from = (image * shape.height + in_y) * shape.width * ci;
                let to = &mut values[row * row_len + shape.pads[1] * self.channels..];
                let len = shape.width * ci;
                match input {
                    Map::F32(map) => engine.round_planes(&map[from..][..len], self.planes, plane_len, to),
                    Map::Bf16(map) => copy_planes(&map[from..][..len], self.planes, plane_len, to),
                }
            }
        }
        // What the last step of the last window meets with weights of 0 must not be NaN.
        let end = ((self.planes - 1) * self.rows + rows) * row_len;
        values[end..][..STEP].fill(0);
    }
}

/// Input rows that `out_rows` output rows see.
fn input_rows(shape: &ConvShape, out_rows: usize) -> usize {
    (out_rows - 1) * shape.stride[0] + (shape.kernel[0] - 1) * shape.dilation[0] + 1
}

/// Values of a layer's padded rows: `fixed + out_rows * each`, about.
pub(super) fn row_cost(shape: &ConvShape) -> (usize, usize) {
    let row = (shape.width + shape.pads[1] + shape.pads[3]).saturating_mul(shape.in_channels);
    (
        input_rows(shape, 1).saturating_sub(shape.stride[0]).saturating_mul(row),
        shape.stride[0].saturating_mul(row),
    )
}

/// Copies a row of pixels of `planes` planes each, 32 channels a time, to rows of planes that are `plane_len` apart. A
/// single plane is copied as it lies, whatever its channels.
fn copy_planes(from: &[u16], planes: usize, plane_len: usize, to: &mut [u16]) {
    if planes == 1 {
        to[..from.len()].copy_from_slice(from);
        return;
    }
    for (x, cell) in from.chunks_exact(planes * STEP).enumerate() {
        for (plane, values) in cell.as_chunks::<STEP>().0.iter().enumerate() {
            to[plane * plane_len + x * STEP..][..STEP].copy_from_slice(values);
        }
    }
}
