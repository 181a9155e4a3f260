//! Layers whose windows move by several cells, as layers whose windows move by one.
//!
//! ```text
//!   a window of 7 cells that moves by 2            the same on cells of 2 x 2 cells, four times the channels
//!     a b a b a b a                                  ab ab ab a.
//!         a b a b a b a                                 ab ab ab a.
//! ```
//!
//! The map is rearranged so that a cell's channels are those of `stride x stride` cells (space to depth), with its
//! padding as zeros; the weights likewise, with zeros for the cells that windows do not reach. A window then has
//! `kernel / stride` cells a side, rounded up, and Winograd's algorithm applies. As an example, a layer of 7 x 7 windows that move by
//! 2 takes 64 / 25 * 4 = 10 multiplications for each channel and output instead of 49.

use super::Tile;
use crate::{
    aligned::{AlignedVec, Value},
    conv::{ConvShape, tasks},
    len_of,
};

/// The side of a layer's windows when they move by one cell; `None` where windows, or how they move, are not square.
pub(super) fn window_side(shape: &ConvShape) -> Option<usize> {
    let ConvShape { kernel: [side, other_side], stride: [stride, other_stride], dilation, group, .. } =
        *shape;
    let square = side == other_side && stride == other_stride && dilation == [1, 1];
    // The channels of a group would not lie side by side.
    let one_group = stride == 1 || group == 1;
    if square && one_group { side.checked_div(stride).map(|_| side.div_ceil(stride)) } else { None }
}

/// The layer with windows that move by one cell, for an output of `size`. Its map is as large as whole tiles need it.
/// A layer whose windows move by one cell is itself.
pub(super) fn unstrided(shape: &ConvShape, tile: Tile, size: [usize; 2]) -> ConvShape {
    let [stride, _] = shape.stride;
    if stride == 1 {
        return shape.clone();
    }
    let kernel = shape.kernel.map(|side| side.div_ceil(stride.max(1)));
    let cells = |axis: usize| {
        let outputs = size[axis].checked_next_multiple_of(tile.out_side()).unwrap_or(usize::MAX);
        outputs.saturating_add(kernel[axis] - 1)
    };
    ConvShape {
        height: cells(0),
        width: cells(1),
        in_channels: len_of(&[stride, stride, shape.in_channels]),
        kernel,
        stride: [1, 1],
        pads: [0; 4],
        ..shape.clone()
    }
}

/// Rearranges maps of `shape` to those of `to_shape`, its [`unstrided`], of which a cell has `cell_len` values: its channels, then
/// zeros.
pub(super) fn rearrange(
    shape: &ConvShape,
    to_shape: &ConvShape,
    cell_len: usize,
    input: &[f32],
    threads: usize,
    to: &mut [f32],
) {
    let ConvShape { height, width, in_channels, stride: [stride, _], pads: [top, left, ..], .. } = *shape;
    let (row_len, run) = (width * in_channels, stride * in_channels);
    // Cells of the rearranged map that lie wholly inside a row.
    let first = left.div_ceil(stride);
    let inside = first..(left.saturating_add(width) / stride).clamp(first, to_shape.width.max(first));
    let to_row_len = len_of(&[to_shape.width, cell_len]);
    tasks::for_each_chunk_stateless(threads, to, to_row_len, |i, cells| {
        let (image, y) = (i / to_shape.height, i % to_shape.height);
        for (tap_y, at) in (0..stride).map(|tap_y| (tap_y, tap_y * run)) {
            let in_y = (y * stride + tap_y).wrapping_sub(top);
            let row = match in_y < height {
                true => &input[(image * height + in_y) * row_len..][..row_len],
                false => &[],
            };
            let whole = if row.is_empty() { 0..0 } else { inside.clone() };
            for (x, cell) in cells.chunks_exact_mut(cell_len).enumerate() {
                if !whole.contains(&x) {
                    let first = (x * run).wrapping_sub(left * in_channels);
                    for (i, to) in cell[at..][..run].iter_mut().enumerate() {
                        *to = row.get(first.wrapping_add(i)).copied().unwrap_or(0.0);
                    }
                }
            }
            if !whole.is_empty() {
                let runs = &row[(whole.start * stride - left) * in_channels..][..whole.len() * run];
                let cells = &mut cells[whole.start * cell_len..][..whole.len() * cell_len];
                match run {
                    // Pairs of RGB pixels: most first layers. Their length is known here, which makes it two instructions.
                    6 => copy_runs(runs.as_chunks::<6>().0, |run| &run[..], cells, (cell_len, at)),
                    _ => copy_runs(runs.chunks_exact(run), |run| run, cells, (cell_len, at)),
                }
            }
        }
        cells.chunks_exact_mut(cell_len).for_each(|cell| cell[stride * run..].fill(0.0));
    });
}

/// Copies each of `runs` to its cell, `at` so many values from the cell's first.
#[inline]
fn copy_runs<'a, R: Copy>(
    runs: impl IntoIterator<Item = R>,
    slice: impl Fn(R) -> &'a [f32],
    cells: &mut [f32],
    (cell_len, at): (usize, usize),
) {
    for (cell, run) in cells.chunks_exact_mut(cell_len).zip(runs) {
        let run = slice(run);
        cell[at..][..run.len()].copy_from_slice(run);
    }
}

/// The weights of `shape`, `[Kh, Kw, Ci, Co]`, of the right length, rearranged as the map is.
pub(super) fn rearrange_weights<T: Value>(shape: &ConvShape, weights: &[T]) -> AlignedVec<T> {
    let ConvShape { kernel: [kernel, _], stride: [stride, _], in_channels, out_channels, .. } = *shape;
    let side = kernel.div_ceil(stride);
    let mut to = AlignedVec::zeros(len_of(&[side, stride, side, stride, in_channels, out_channels]));
    // Values of the channels of a cell of the map.
    let cell = in_channels * out_channels;
    for (y, x) in (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x))) {
        let tap = (y / stride) * side + x / stride;
        let phase = (y % stride) * stride + x % stride;
        let from = &weights[(y * kernel + x) * cell..][..cell];
        to.as_mut_slice()[(tap * stride * stride + phase) * cell..][..cell].copy_from_slice(from);
    }
    to
}
