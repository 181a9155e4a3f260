//! Convolution by the definition, with as many sums in registers as there is room for.
//!
//! ```text
//!   zero-padded input rows that one output row sees        out[x, Co] = sum over segments of
//!   |------ Kw * Ci ------|         segment 0                           row[x, segment] panel[segment, Co]
//!   |------ Kw * Ci ------|         segment 1 ..
//!    x * stride * Ci ^
//! ```
//!
//! 1. The windows of neighbouring pixels are rows of a matrix, `stride * Ci` values apart, as they lie in the map:
//!    nothing is gathered. Along a row of the window they are contiguous, so they come in `Kh` segments; dilation and
//!    groups cut them into `Kh * Kw`.
//! 2. The input rows of a few output rows are copied once with their padding, which leaves no case of an edge. A
//!    convolution without padding reads the map itself.
//! 3. Weights are packed once; some segments of a panel at a time stay in L1 while the pixels go by.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Cells, ConvShape};
use crate::{
    Isa,
    aligned::{AlignedVec, aligned},
    init::Init,
    len_of,
    product::{Rows, Sums, multiply_panel, pack, packed_len},
    simd::{MAX_LANES, Width},
    tasks,
};

/// Values of `K` multiplied at a time: a panel of their weights stays in L1.
const K_BLOCK: usize = 128;
/// Pixels of a chunk of output rows, at least: they share the weights that come from L2 or farther.
const CHUNK_PIXELS: usize = 96;

/// A layer's packed weights.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    isa: Isa,
    width: Width,
    /// For each group, its `K x (Co / group)` matrix, packed for `product`.
    weights: AlignedVec,
}

impl Direct {
    /// Whether the algorithm computes such layers: not depthwise ones, of which a product has no use, and not ones
    /// with more padding than a window covers, which would be copied.
    pub(super) fn applies(shape: &ConvShape) -> bool {
        let extent = |axis: usize| (shape.kernel[axis] - 1) * shape.dilation[axis] + 1;
        let fits = |axis: usize| shape.pads[axis].max(shape.pads[axis + 2]) < extent(axis);
        !shape.is_depthwise() && shape.in_channels > 0 && fits(0) && fits(1)
    }

    /// Packs `weights`, `[Kh, Kw, Ci / group, Co]`, of the right length.
    pub(super) fn new(isa: Isa, shape: &ConvShape, weights: &[f32]) -> Self {
        let width = Width::of(isa);
        let (k, co) = (shape.patch_len(), shape.out_channels);
        let group_out = co.checked_div(shape.group).unwrap_or(0);
        let group_len = packed_len(k, group_out, width);
        let mut packed = AlignedVec::zeros(len_of(&[shape.group, group_len]));
        for (g, packed) in packed.as_mut_slice().chunks_exact_mut(group_len.max(1)).enumerate() {
            pack(k, group_out, width, packed, |row| &weights[row * co + g * group_out..][..group_out]);
        }
        Self { isa, width, weights: packed }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    /// Convolves maps of the prepared layer; the shapes were checked, and `out` is not empty.
    #[expect(clippy::too_many_arguments, reason = "a layer is its operands and their shape")]
    pub(super) fn run(
        &self,
        shape: &ConvShape,
        [out_height, out_width]: [usize; 2],
        input: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        threads: usize,
        scratch: &mut Vec<f32>,
        cells: Cells,
        out: &mut [f32],
    ) {
        let source = Source::new(shape, [out_height, out_width]);
        let rows_at_once = CHUNK_PIXELS.div_ceil(source.pixels);
        let chunk_pixels = rows_at_once * source.pixels;

        let rows_len = if source.copied { len_of(&[rows_at_once, source.row_stride]) } else { 0 };
        let rest_len = len_of(&[chunk_pixels, self.width.panel]);
        let tasks = tasks::task_count(threads);
        let mut scratch = aligned(scratch, len_of(&[tasks, rows_len + rest_len]));
        let mut parts: Vec<(&mut [f32], &mut [f32])> = (0..tasks)
            .filter_map(|_| Some((scratch.split_off_mut(..rows_len)?, scratch.split_off_mut(..rest_len)?)))
            .collect();
        tasks::for_each_chunk(
            &mut parts,
            out,
            len_of(&[chunk_pixels, cells.stride]),
            |(copied, rest), i, out| {
                let rows = out.len() / cells.stride / source.pixels;
                let first = i * rows_at_once;
                let data = if source.copied {
                    for (y, row) in (first..first + rows).zip(copied.chunks_exact_mut(source.row_stride)) {
                        copy_rows(shape, input, y / out_height, y % out_height, row);
                    }
                    &copied[..]
                } else {
                    &input[first * source.row_stride..]
                };
                Chunk { layer: self, shape, source: &source, data, rows, bias, relu, rest, cells, out }.run();
            },
        );
    }
}

/// Where the windows of a run of output pixels lie.
struct Source {
    /// In padded copies of input rows; otherwise in the map.
    copied: bool,
    /// Output pixels of a row. A pointwise layer has rows of one: it matters not where they are cut.
    pixels: usize,
    /// Values from one row's windows to the next row's, and from one pixel's to the next.
    row_stride: usize,
    pixel_stride: usize,
    segments: Vec<usize>,
    segment_len: usize,
}

impl Source {
    fn new(shape: &ConvShape, [_, out_width]: [usize; 2]) -> Self {
        let ci = shape.in_channels;
        if shape.is_pointwise() {
            return Self {
                copied: false,
                pixels: 1,
                row_stride: ci,
                pixel_stride: ci,
                segments: alloc::vec![0],
                segment_len: ci / shape.group,
            };
        }
        let row = padded_row_len(shape);
        let [kh, kw] = shape.kernel;
        let whole = shape.group == 1 && shape.dilation[1] == 1;
        let segments = if whole {
            (0..kh).map(|tap_y| tap_y * row).collect()
        } else {
            let taps = (0..kh).flat_map(|tap_y| (0..kw).map(move |tap_x| (tap_y, tap_x)));
            taps.map(|(tap_y, tap_x)| tap_y * row + tap_x * shape.dilation[1] * ci).collect()
        };
        Self {
            copied: true,
            pixels: out_width,
            row_stride: kh * row,
            pixel_stride: shape.stride[1] * ci,
            segments,
            segment_len: if whole { kw * ci } else { ci / shape.group },
        }
    }
}

fn padded_row_len(shape: &ConvShape) -> usize {
    (shape.width + shape.pads[1] + shape.pads[3]) * shape.in_channels
}

/// Copies the input rows that output row `y` sees, with zeros for the padding.
fn copy_rows(shape: &ConvShape, input: &[f32], image: usize, y: usize, rows: &mut [f32]) {
    let row_len = shape.width * shape.in_channels;
    let left = shape.pads[1] * shape.in_channels;
    for (tap_y, row) in rows.chunks_exact_mut(padded_row_len(shape)).enumerate() {
        let in_y = (y * shape.stride[0] + tap_y * shape.dilation[0]).wrapping_sub(shape.pads[0]);
        if in_y >= shape.height {
            row.fill(0.0);
            continue;
        }
        let (padding, row) = row.split_at_mut(left);
        padding.fill(0.0);
        let (row, padding) = row.split_at_mut(row_len);
        padding.fill(0.0);
        row.copy_from_slice(&input[(image * shape.height + in_y) * row_len..][..row_len]);
    }
}

/// A few rows of the output.
struct Chunk<'a> {
    layer: &'a Direct,
    shape: &'a ConvShape,
    source: &'a Source,
    data: &'a [f32],
    rows: usize,
    bias: Option<&'a [f32]>,
    relu: bool,
    /// Room for a panel that has more lanes than there are channels left.
    rest: &'a mut [f32],
    cells: Cells,
    out: &'a mut [f32],
}

impl Chunk<'_> {
    fn run(self) {
        let Self { layer, shape, source, data, rows, bias, relu, rest, cells, out } = self;
        let (k, co) = (shape.patch_len(), shape.out_channels);
        let (group_in, group_out) = (shape.in_channels / shape.group, co / shape.group);
        let Width { lanes, panel } = layer.width;
        let padded = group_out.next_multiple_of(lanes);
        // Rows of one pixel are one long row when nothing lies between them.
        let (lines, pixels) = if source.copied { (rows, source.pixels) } else { (1, rows) };
        let last_segment = source.segments.last().copied().unwrap_or(0);
        let last_value = (lines - 1) * source.row_stride
            + (pixels - 1) * source.pixel_stride
            + last_segment
            + (shape.group - 1) * group_in
            + source.segment_len;
        assert!(last_value <= data.len() && lines * pixels * cells.stride == out.len());
        assert!(cells.first + co <= cells.stride);
        assert!(source.segments.len() * source.segment_len == k && panel <= MAX_PANEL);
        assert!(lines * pixels * panel <= rest.len());

        let panels = (0..padded).step_by(panel);
        for (g, first) in (0..shape.group).flat_map(|g| panels.clone().map(move |first| (g, first))) {
            let width = panel.min(padded - first);
            let channels = width.min(group_out - first);
            let channel = g * group_out + first;
            let mut start = [0.0; MAX_PANEL];
            if let Some(bias) = bias {
                start[..channels].copy_from_slice(&bias[channel..channel + channels]);
            }
            let (to, to_stride) = if channels == width {
                (out[cells.first + channel..].as_mut_ptr(), cells.stride)
            } else {
                (rest.as_mut_ptr(), width)
            };
            let mut weights = &layer.weights.as_slice()[(g * padded + first) * k..][..k * width];
            let mut init = Init::Bias(start.as_ptr());
            for (segments, values) in k_blocks(source) {
                let (now, later) = weights.split_at(segments.len() * values.len() * width);
                weights = later;
                for line in 0..lines {
                    // SAFETY: the last value read of `data` was seen to exist above, and the panel has `width`
                    // values, whole vectors, for each value of the segments. `to` has `lines * pixels` rows,
                    // `to_stride` apart, with `width` values from here on: of `out` when that many channels are
                    // left, else of `rest`, both checked above.
                    unsafe {
                        let from = line * source.row_stride + g * group_in + values.start;
                        let a = Rows {
                            data: data.as_ptr().add(from),
                            stride: source.pixel_stride,
                            segments,
                            segment_len: values.len(),
                        };
                        let sums = Sums {
                            data: to.add(line * pixels * to_stride),
                            stride: to_stride,
                            init,
                            relu: relu && weights.is_empty(),
                        };
                        multiply_panel(layer.isa, a, pixels, now.as_ptr(), width, false, sums);
                    }
                }
                init = Init::Accumulate;
            }
            if channels < width {
                for (out, rest) in out.chunks_exact_mut(cells.stride).zip(rest.chunks_exact(width)) {
                    out[cells.first + channel..][..channels].copy_from_slice(&rest[..channels]);
                }
            }
        }
    }
}

/// Most values in a row of a panel.
const MAX_PANEL: usize = 4 * MAX_LANES;

/// Cuts `K` into pieces of about [`K_BLOCK`]: some whole segments, or a range of one.
fn k_blocks(source: &Source) -> impl Iterator<Item = (&[usize], Range<usize>)> {
    let len = source.segment_len;
    let pieces = len.div_ceil(K_BLOCK).max(1);
    let step = len.div_ceil(pieces).max(1);
    let segments = source.segments.chunks((K_BLOCK / len.max(1)).max(1));
    segments.flat_map(move |segments| {
        (0..len).step_by(step).map(move |first| (segments, first..len.min(first + step)))
    })
}
