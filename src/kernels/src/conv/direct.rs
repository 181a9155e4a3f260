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
//! 4. Where that makes products cheaper and there are panels enough, the windows of some output rows are packed for all of
//!    them.

use alloc::vec::Vec;
use core::ops::Range;

use super::{ChannelRange, ConvArgs, ConvShape};
use crate::{
    Cpu, Isa, Pointwise,
    aligned::{AlignedVec, Value, aligned},
    blocking::{DIRECT_PIXELS, PACKED_WINDOW, conv_k},
    init::Init,
    len_of,
    maps::pointwise_in_channels,
    packed::{BlockRoom, Packed, Packing, Weights},
    product::{Left, MAX_PANEL, ROWS, Rows, Sums, multiply_panel, pack, pack_rows, packed_len},
    simd::Width,
    tasks,
};

/// A layer's packed weights.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    cpu: Cpu,
    width: Width,
    /// For each group, its `K x (Co / group)` matrix, packed for `product`.
    weights: Packed,
}

impl Direct {
    /// Whether the algorithm computes such layers: not depthwise ones, of which a product has no use, and not ones
    /// with more padding than a window covers, which would be copied.
    pub(super) fn applies(shape: &ConvShape) -> bool {
        let extent = |axis: usize| shape.kernel[axis].saturating_sub(1) * shape.dilation[axis] + 1;
        let fits = |axis: usize| shape.pads[axis].max(shape.pads[axis + 2]) < extent(axis);
        !shape.is_depthwise() && shape.in_channels > 0 && fits(0) && fits(1)
    }

    /// Packs `weights`, `[Kh, Kw, Ci / group, Co]`, of the right length.
    pub(super) fn new(cpu: Cpu, shape: &ConvShape, weights: Weights<'_>) -> Self {
        let width = Width::of(cpu.isa);
        Self { cpu, width, weights: Packed::new(weights, &DirectPacking { shape, width }) }
    }

    /// Values of packed weights; saturates.
    pub(super) fn weight_len(shape: &ConvShape, width: Width) -> usize {
        let [_, group_out] = shape.group_channels();
        len_of(&[shape.group, packed_len(shape.patch_len(), group_out, width)])
    }

    /// Whether the windows of a chunk are packed before they are multiplied.
    fn packs_windows(shape: &ConvShape, width: Width) -> bool {
        let panels = shape.out_channels.div_ceil(width.panel);
        let larger_tiles = width.strided_rows < ROWS;
        larger_tiles && panels >= PANELS_TO_PACK_FOR && shape.group == 1 && shape.patch_len() <= PACKED_WINDOW
    }

    /// Values that a task needs: copied input rows, the sums of a panel, and packed windows; saturates. As many tasks as
    /// there are threads run at once.
    pub(super) fn scratch_lens(shape: &ConvShape, out_width: usize, width: Width) -> [usize; 3] {
        let (pixels, rows) = chunk_size(shape, out_width);
        let copied =
            if shape.is_pointwise() { 0 } else { len_of(&[rows, shape.kernel[0], padded_row_len(shape)]) };
        let packed =
            if Self::packs_windows(shape, width) { len_of(&[rows, pixels, shape.patch_len()]) } else { 0 };
        [copied, len_of(&[rows, pixels, width.panel]), packed]
    }

    pub(super) fn isa(&self) -> Isa {
        self.cpu.isa
    }

    pub(super) fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Convolves maps of the prepared layer; the shapes were checked, and `out` is not empty.
    pub(super) fn run(
        &self,
        shape: &ConvShape,
        [out_height, out_width]: [usize; 2],
        (args, then): (ConvArgs<'_>, Option<Pointwise>),
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let windows = Windows::new(shape, out_width);
        let (pixels, most_rows) = chunk_size(shape, out_width);
        let chunk_rows = even_rows(shape, out.len() / channels.stride / pixels, most_rows);
        let chunk_pixels = chunk_rows * pixels;
        let lens = Self::scratch_lens(shape, out_width, self.width);
        let [copied_len, tail_len, _] = lens;
        let task_len = lens.into_iter().sum();
        let tasks = tasks::task_count(args.threads);
        let mut buffers: Vec<_> =
            aligned(scratch, len_of(&[tasks, task_len])).chunks_exact_mut(task_len).collect();
        let chunk_len = len_of(&[chunk_pixels, channels.stride]);
        tasks::for_each_chunk(&mut buffers, out, chunk_len, |buffer, i, out| {
            let (copied, rest) = buffer.split_at_mut(copied_len);
            let (tail, packed) = rest.split_at_mut(tail_len);
            let rows = out.len() / channels.stride / windows.pixels;
            let first = i * chunk_rows;
            let data = if windows.copied {
                for (y, row) in (first..first + rows).zip(copied.chunks_exact_mut(windows.row_stride)) {
                    copy_rows(shape, args.input, y / out_height, y % out_height, row);
                }
                &copied[..]
            } else {
                &args.input[first * windows.row_stride..]
            };
            let windows = &windows;
            Chunk { layer: self, shape, windows, data, rows, args, then, channels, tail, packed, out }.run();
        });
    }
}

/// For each group its `K x (Co / group)` matrix.
struct DirectPacking<'a> {
    shape: &'a ConvShape,
    width: Width,
}

impl Packing for DirectPacking<'_> {
    fn pack<T: Value>(&self, weights: &[T]) -> AlignedVec<T> {
        let Self { shape, width } = *self;
        let (k, co) = (shape.patch_len(), shape.out_channels);
        let [_, group_out] = shape.group_channels();
        let group_len = packed_len(k, group_out, width);
        let mut packed = AlignedVec::zeros(Direct::weight_len(shape, width));
        for (g, packed) in packed.as_mut_slice().chunks_exact_mut(group_len.max(1)).enumerate() {
            pack(k, group_out, width, packed, |row| &weights[row * co + g * group_out..][..group_out]);
        }
        packed
    }
}

/// From so many panels on packing takes fewer instructions than it saves. NEON's products take a twentieth fewer with packed
/// windows; and a sixth fewer where segments are short, as the 21 values of a window of 7 x 7 pixels of three channels.
const PANELS_TO_PACK_FOR: usize = 6;

/// Where the windows of a run of output pixels lie.
pub(super) struct Windows {
    /// In padded copies of input rows; otherwise in the map.
    pub(super) copied: bool,
    /// Output pixels of a row. A pointwise layer has rows of one: it matters not where they are cut.
    pub(super) pixels: usize,
    /// Values from one row's windows to the next row's, and from one pixel's to the next.
    pub(super) row_stride: usize,
    pub(super) pixel_stride: usize,
    pub(super) segments: Vec<usize>,
    pub(super) segment_len: usize,
}

impl Windows {
    /// How many segments a window has, and how long they are; saturates.
    pub(super) fn segment_lens(shape: &ConvShape) -> (usize, usize) {
        let ([kh, kw], [group_in, _]) = (shape.kernel, shape.group_channels());
        if shape.is_pointwise() {
            (1, group_in)
        } else if shape.group == 1 && shape.dilation[1] == 1 {
            (kh, len_of(&[kw, group_in]))
        } else {
            (len_of(&[kh, kw]), group_in)
        }
    }

    pub(super) fn new(shape: &ConvShape, out_width: usize) -> Self {
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

/// Output pixels of a row, and most rows of a chunk. A pointwise layer has rows of one pixel: it matters not where they are
/// cut.
pub(super) fn chunk_size(shape: &ConvShape, out_width: usize) -> (usize, usize) {
    let pixels = if shape.is_pointwise() { 1 } else { out_width.max(1) };
    (pixels, DIRECT_PIXELS.div_ceil(pixels))
}

/// Rows of a chunk where there are `rows` in all and at most `most` in each. Chunks are about as large as one another, so that
/// threads that have one each are done together: the 140 pixels of a map are 72 and 68, not 96 and 44.
pub(super) fn even_rows(shape: &ConvShape, rows: usize, most: usize) -> usize {
    // Rows of one pixel make whole tiles of sums.
    let unit = if shape.is_pointwise() { ROWS } else { 1 };
    let chunks = rows.div_ceil(most).max(1);
    rows.div_ceil(chunks).next_multiple_of(unit).clamp(1, most)
}

/// Values of an input row with its padding; saturates.
pub(super) fn padded_row_len(shape: &ConvShape) -> usize {
    let width = shape.width.saturating_add(shape.pads[1]).saturating_add(shape.pads[3]);
    len_of(&[width, shape.in_channels])
}

/// Copies the input rows that output row `y` sees, with zeros for the padding.
pub(super) fn copy_rows(shape: &ConvShape, input: &[f32], image: usize, y: usize, rows: &mut [f32]) {
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

/// A few rows of the output: products of all their windows with all panels of weights.
///
/// ```text
///   for each group and panel:                          `run`, `multiply_panel`
///     for each block of K, whose weights fit into L1:    `multiply`
///       for each line of windows:
///         out[line, panel] += windows[line, K] panel[K, width]      tile by tile: see `product`
/// ```
struct Chunk<'a> {
    layer: &'a Direct,
    shape: &'a ConvShape,
    windows: &'a Windows,
    /// What `windows` are offsets in.
    data: &'a [f32],
    rows: usize,
    args: ConvArgs<'a>,
    /// What becomes of each value behind bias and ReLU.
    then: Option<Pointwise>,
    channels: ChannelRange,
    /// Room for the sums of a panel that has more lanes than there are channels left.
    tail: &'a mut [f32],
    /// Room for all windows, packed block by block of `K` and in each line by line; none if they are read as they lie.
    packed: &'a mut [f32],
    out: &'a mut [f32],
}

/// A panel of weights: some neighbouring output channels of a group.
#[derive(Clone, Copy)]
struct Panel {
    group: usize,
    /// First output channel, counted within the group.
    first: usize,
    /// Whole vectors of channels ...
    width: usize,
    /// ... of which so many exist.
    channels: usize,
}

impl Chunk<'_> {
    fn run(mut self) {
        self.check();
        self.pack_windows();
        let group_out = self.group_out();
        let Width { lanes, panel: panel_width, .. } = self.layer.width;
        let padded = group_out.next_multiple_of(lanes);
        for group in 0..self.shape.group {
            for first in (0..padded).step_by(panel_width) {
                let width = panel_width.min(padded - first);
                self.multiply_panel(Panel { group, first, width, channels: width.min(group_out - first) });
            }
        }
    }

    /// Lines of pixels whose windows are evenly spaced, and the pixels of each.
    fn lines(&self) -> (usize, usize) {
        // Rows of one pixel are one long line when nothing lies between them.
        if self.windows.copied { (self.rows, self.windows.pixels) } else { (1, self.rows) }
    }

    fn group_out(&self) -> usize {
        self.shape.out_channels / self.shape.group
    }

    /// What `multiply_panel` and `multiply` rely on.
    fn check(&self) {
        let Self { shape, windows, channels, .. } = self;
        let (lines, pixels) = self.lines();
        let last_segment = windows.segments.last().copied().unwrap_or(0);
        let data_len = (lines - 1) * windows.row_stride
            + (pixels - 1) * windows.pixel_stride
            + last_segment
            + (shape.group - 1) * (shape.in_channels / shape.group)
            + windows.segment_len;
        assert!(data_len <= self.data.len());
        assert!(windows.segments.len() * windows.segment_len == shape.patch_len());
        assert!(lines * pixels * channels.stride == self.out.len());
        assert!(channels.first + shape.out_channels <= channels.stride);
        let panel = self.layer.width.panel;
        assert!(panel <= MAX_PANEL && lines * pixels * panel <= self.tail.len());
        assert!(self.packed.is_empty() || lines * pixels * shape.patch_len() <= self.packed.len());
    }

    /// Packs the windows, where there is room for that.
    fn pack_windows(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        let (lines, pixels) = self.lines();
        let mut to = self.packed.as_mut_ptr();
        for block in self.k_blocks() {
            for line in 0..lines {
                // SAFETY: `check` saw the last value that is read of `data`, and room for all values of `K` of each window.
                unsafe {
                    pack_rows(self.rows(0, &block, line), pixels, to);
                    to = to.add(pixels * block.len());
                }
            }
        }
    }

    fn k_blocks(&self) -> impl Iterator<Item = KBlock<'_>> {
        k_blocks(self.windows, conv_k(self.layer.cpu.caches, self.layer.width.panel))
    }

    /// The windows of a line of pixels, as `multiply_block` reads them; `before` values of `K` come before the block.
    ///
    /// # Safety
    /// As [`Chunk::rows`].
    unsafe fn left<'b>(&self, group: usize, (block, before): (&KBlock<'b>, usize), line: usize) -> Left<'b> {
        if self.packed.is_empty() {
            // SAFETY: the caller's promises.
            return Left::Rows(unsafe { self.rows(group, block, line) });
        }
        let ((lines, pixels), k) = (self.lines(), block.len());
        Left::Packed { data: self.packed[(lines * before + line * k) * pixels..].as_ptr(), k }
    }

    /// The windows of a line of pixels as they lie.
    ///
    /// # Safety
    /// [`Chunk::check`] has passed, and there is such a group and such a line.
    unsafe fn rows<'b>(&self, group: usize, block: &KBlock<'b>, line: usize) -> Rows<'b> {
        let Self { shape, windows, .. } = self;
        let first = group * (shape.in_channels / shape.group) + block.values.start;
        Rows {
            // SAFETY: the caller's promises.
            data: unsafe { self.data.as_ptr().add(line * windows.row_stride + first) },
            stride: windows.pixel_stride,
            segments: block.segments,
            segment_len: block.values.len(),
        }
    }

    /// All pixels' windows with one panel, into the output.
    fn multiply_panel(&mut self, panel: Panel) {
        let stride = self.channels.stride;
        let first = self.channels.first + panel.group * self.group_out() + panel.first;
        if panel.channels == panel.width {
            let to = self.out[first..].as_mut_ptr();
            // SAFETY: `out` has all pixels, `stride` values each, of which `width` from `first` on are the panel's.
            unsafe { self.multiply(panel, to, stride) };
        } else {
            let to = self.tail.as_mut_ptr();
            // SAFETY: `tail` has room for a panel's values of all pixels.
            unsafe { self.multiply(panel, to, panel.width) };
            for (out, sums) in self.out.chunks_exact_mut(stride).zip(self.tail.chunks_exact(panel.width)) {
                out[first..][..panel.channels].copy_from_slice(&sums[..panel.channels]);
            }
        }
        if let Some(function) = self.then {
            // What a panel has made is in L1.
            let made = (panel.channels, ChannelRange { first, stride });
            pointwise_in_channels(self.layer.cpu.isa, function, made, self.out);
        }
    }

    /// The same, pixel `i` to `to + i * stride`.
    ///
    /// # Safety
    /// [`Chunk::check`] has passed. `to` has rows for all pixels of the chunk, `stride` values apart, of which
    /// `panel.width` are writable.
    unsafe fn multiply(&self, panel: Panel, to: *mut f32, stride: usize) {
        let Self { layer, args, .. } = self;
        let mut bias_lanes = [0.0; MAX_PANEL];
        let mut init = Init::bias(args.bias).map(|bias| {
            let first = panel.group * self.group_out() + panel.first;
            bias_lanes[..panel.channels].copy_from_slice(&bias[first..][..panel.channels]);
            bias_lanes.as_ptr()
        });
        let Range { start: mut first, end } = self.weights(panel);
        let mut room = BlockRoom::new();
        let mut before = 0;
        for block in self.k_blocks() {
            // These weights stay in L1 while all pixels go by.
            let len = block.len() * panel.width;
            let of_block = layer.weights.values(layer.cpu.isa, first..first + len, room.room());
            first += len;
            let sums = Sums { data: to, stride, init, relu: args.relu && first == end };
            // SAFETY: the caller's promises. The block has `width` values, whole vectors, for each value of `K`.
            unsafe { self.multiply_block(panel, (&block, before), of_block, sums) };
            before += block.len();
            init = Init::Accumulate;
        }
    }

    /// Which weights are a panel's, row by row.
    fn weights(&self, panel: Panel) -> Range<usize> {
        let padded = self.group_out().next_multiple_of(self.layer.width.lanes);
        let k = self.shape.patch_len();
        let first = (panel.group * padded + panel.first) * k;
        first..first + k * panel.width
    }

    /// Some of `K` of all windows with its weights, pixel `i` to row `i` of `sums`.
    ///
    /// # Safety
    /// As [`Chunk::multiply`]; `weights` are `panel.width` values for each value of `block`.
    unsafe fn multiply_block(&self, panel: Panel, block: (&KBlock<'_>, usize), weights: &[f32], sums: Sums) {
        let (lines, pixels) = self.lines();
        for line in 0..lines {
            // SAFETY: the caller's promises.
            unsafe {
                let left = self.left(panel.group, block, line);
                let sums = Sums { data: sums.data.add(line * pixels * sums.stride), ..sums };
                let isa = self.layer.cpu.isa;
                multiply_panel(isa, left, pixels, weights.as_ptr(), panel.width, false, sums);
            }
        }
    }
}

/// Some of `K`: a range of the values of each of some segments.
pub(super) struct KBlock<'a> {
    pub(super) segments: &'a [usize],
    pub(super) values: Range<usize>,
}

impl KBlock<'_> {
    pub(super) fn len(&self) -> usize {
        self.segments.len() * self.values.len()
    }
}

/// Cuts `K` into pieces of at most about `most`: some whole segments, or a range of one.
pub(super) fn k_blocks(windows: &Windows, most: usize) -> impl Iterator<Item = KBlock<'_>> {
    let len = windows.segment_len;
    let pieces = len.div_ceil(most).max(1);
    let step = len.div_ceil(pieces).max(1);
    let segments = windows.segments.chunks((most / len.max(1)).max(1));
    segments.flat_map(move |segments| {
        (0..len).step_by(step).map(move |first| KBlock { segments, values: first..len.min(first + step) })
    })
}
