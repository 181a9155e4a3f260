//! Some rows of the output, a tile of neighbouring outputs in a vector of channels at a time.
//!
//! ```text
//! for each row:
//!   for each block of channels, whose weights and cells stay in L1:
//!     for each tile of outputs, side by side:
//!       for each vector of the block:
//!         sums[output] = bias
//!         for each row of taps, for each tap of it:  sums[output] += cells[output * stride + tap] weights[tap]
//! ```
//!
//! An output is the same chain of sums wherever its tile begins: the bias, and then the taps that fall inside the input, row
//! by row. So tiles may overlap, as the last ones of a row do, and so may the last vectors of channels.

use core::ops::Range;

use super::super::{ChannelRange, ConvArgs, ConvShape};
use crate::{
    Pointwise,
    aligned::LINE,
    simd::{Kernel, Vector},
    window::{start, taps_inside},
};

/// Weights of a block of channels: 16 KiB, half of a small L1.
const BLOCK_WEIGHTS: usize = 4096;
/// A block is a multiple of so many channels, whole vectors and whole cache lines of them.
const BLOCK_CHANNELS: usize = 64;

/// Values of an image that caches of some MiB do not hold: rows of it are worth prefetching.
const LARGE_IMAGE: usize = 2 << 20;

/// Computes rows of the output from row `first` on, counted through all images.
pub(super) struct Rows<'a> {
    pub(super) shape: &'a ConvShape,
    /// Of the output.
    pub(super) size: [usize; 2],
    pub(super) weights: &'a [f32],
    pub(super) args: ConvArgs<'a>,
    /// What becomes of each value behind bias and ReLU.
    pub(super) then: Option<Pointwise>,
    pub(super) channels: ChannelRange,
    pub(super) first: usize,
    /// Whole rows of all `channels.stride` channels.
    pub(super) out: &'a mut [f32],
}

/// How a window moves along a row.
#[derive(Clone, Copy)]
struct Columns {
    kernel: usize,
    stride: usize,
    dilation: usize,
}

/// A row of the output.
#[derive(Clone, Copy)]
struct Row<'a> {
    shape: &'a ConvShape,
    columns: Columns,
    weights: *const f32,
    bias: Option<&'a [f32]>,
    relu: bool,
    then: Option<Pointwise>,
    /// The image that it is a row of.
    image: *const f32,
    /// Where its windows start ...
    top: isize,
    /// ... and their rows of taps that fall inside the image: from one to before another.
    taps: [usize; 2],
    out: *mut f32,
    out_stride: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let ConvShape { kernel: [_, kernel], stride: [_, stride], dilation: [_, dilation], .. } = *self.shape;
        // With numbers that the compiler knows it keeps a row's cells and weights in registers.
        // SAFETY: the caller's promise.
        unsafe {
            match (kernel, stride, dilation) {
                (3, 1, 1) => self.compute::<V>(Columns { kernel: 3, stride: 1, dilation: 1 }),
                (3, 2, 1) => self.compute::<V>(Columns { kernel: 3, stride: 2, dilation: 1 }),
                (5, 1, 1) => self.compute::<V>(Columns { kernel: 5, stride: 1, dilation: 1 }),
                (5, 2, 1) => self.compute::<V>(Columns { kernel: 5, stride: 2, dilation: 1 }),
                _ => self.compute::<V>(Columns { kernel, stride, dilation }),
            }
        }
    }
}

impl Rows<'_> {
    /// What [`Row`]'s functions rely on.
    fn check(&self) {
        let Self { shape, size: [height, width], weights, args, channels, first, out, .. } = self;
        let ConvShape { batch, height: rows, width: columns, in_channels, out_channels, .. } = **shape;
        assert!(shape.output_size() == Some((*height, *width)));
        assert!(args.input.len() == batch * rows * columns * in_channels);
        assert!(weights.len() == shape.kernel[0] * shape.kernel[1] * out_channels);
        assert!(args.bias.is_none_or(|bias| bias.len() == out_channels));
        assert!(in_channels > 0 && out_channels.is_multiple_of(in_channels));
        assert!(channels.first + out_channels <= channels.stride);
        let row_len = width * channels.stride;
        assert!(out.len().is_multiple_of(row_len) && first + out.len() / row_len <= batch * height);
    }

    /// # Safety
    /// The CPU has the instruction set of `V`.
    #[inline(always)]
    unsafe fn compute<V: Vector>(self, columns: Columns) {
        self.check();
        let Self { shape, size: [height, width], weights, args, then, channels, first, out } = self;
        let image_len = shape.height * shape.width * shape.in_channels;
        for (i, out) in out.chunks_exact_mut(width * channels.stride).enumerate() {
            let (image, y) = ((first + i) / height, (first + i) % height);
            let top = start(y, shape.stride[0], shape.pads[0]);
            let taps = taps_inside(top, shape.kernel[0], shape.dilation[0], shape.height);
            let row = Row {
                shape,
                columns,
                weights: weights.as_ptr(),
                bias: args.bias,
                relu: args.relu,
                then,
                image: args.input[image * image_len..][..image_len].as_ptr(),
                top,
                taps: [taps.start, taps.end],
                out: out[channels.first..].as_mut_ptr(),
                out_stride: channels.stride,
            };
            // SAFETY: the caller's promise, and `check` has passed.
            unsafe { row.compute::<V>(width) };
        }
    }
}

/// Safety of all of these: the CPU has the instruction set of `V`; `Rows::check` has passed, and the row is one of its rows.
impl Row<'_> {
    /// All outputs of the row.
    #[inline(always)]
    unsafe fn compute<V: Vector>(self, width: usize) {
        let ConvShape { in_channels, out_channels: channels, .. } = *self.shape;
        if in_channels != channels || channels < V::LANES {
            for x in 0..width {
                for channel in 0..channels {
                    // SAFETY: the caller's promises; there is such an output.
                    unsafe { self.value(x, channel) };
                }
            }
            return;
        }
        let inside = self.inside(width);
        let taps = self.shape.kernel[0] * self.shape.kernel[1];
        let most = (BLOCK_WEIGHTS / taps / BLOCK_CHANNELS).max(1) * BLOCK_CHANNELS;
        for first in (0..channels).step_by(most) {
            let block = first..channels.min(first + most);
            // SAFETY: the caller's promises. There are such outputs, and windows of those inside see no padding to their left
            // and right.
            unsafe {
                self.edge::<V>(0..inside.start, &block);
                // As many sums as leave registers for a row's weights and cells.
                if V::PANEL >= 4 && inside.len() >= 8 {
                    self.tiles::<V, 8>(&inside, &block);
                } else if inside.len() >= 4 {
                    self.tiles::<V, 4>(&inside, &block);
                } else {
                    self.edge::<V>(inside.clone(), &block);
                }
                self.edge::<V>(inside.end..width, &block);
            }
        }
    }

    /// The outputs whose windows see no padding to their left and right.
    fn inside(&self, width: usize) -> Range<usize> {
        let Columns { kernel, stride, dilation } = self.columns;
        let [_, left, _, _] = self.shape.pads;
        let first = left.div_ceil(stride).min(width);
        let room = (self.shape.width + left).checked_sub((kernel - 1) * dilation + 1);
        let end = room.map_or(0, |room| room / stride + 1).min(width);
        first..end.max(first)
    }

    /// Outputs whose windows may see padding.
    #[inline(always)]
    unsafe fn edge<V: Vector>(self, outputs: Range<usize>, block: &Range<usize>) {
        let Columns { kernel, stride, dilation } = self.columns;
        for x in outputs {
            let left = start(x, stride, self.shape.pads[1]);
            let taps = taps_inside(left, kernel, dilation, self.shape.width);
            // Without a tap inside there is no cell either.
            let left = if taps.is_empty() { 0 } else { left.wrapping_add_unsigned(taps.start * dilation) };
            for channel in block.clone().step_by(V::LANES) {
                let channel = channel.min(self.shape.out_channels - V::LANES);
                // SAFETY: the caller's promises. These taps fall inside the image.
                unsafe { self.tile::<V, 1>(x, left as usize, taps.clone(), channel) };
            }
        }
    }

    /// Outputs, `T` or more, whose windows see no padding to their left and right.
    #[inline(always)]
    unsafe fn tiles<V: Vector, const T: usize>(self, outputs: &Range<usize>, block: &Range<usize>) {
        let Columns { kernel, stride, .. } = self.columns;
        let ConvShape { height, width, in_channels, .. } = *self.shape;
        let is_large = height * width * in_channels > LARGE_IMAGE;
        for x in outputs.clone().step_by(T) {
            let x = x.min(outputs.end - T);
            let left = x * stride - self.shape.pads[1];
            if is_large {
                self.prefetch_below::<V>(left..left + T * stride, block);
            }
            for channel in block.clone().step_by(V::LANES) {
                let channel = channel.min(self.shape.out_channels - V::LANES);
                // SAFETY: the caller's promises. All taps fall inside the image.
                unsafe { self.tile::<V, T>(x, left, 0..kernel, channel) };
            }
        }
    }

    /// Prefetches what the row below reads of some columns and channels and this one does not.
    #[inline(always)]
    fn prefetch_below<V: Vector>(self, columns: Range<usize>, block: &Range<usize>) {
        let ConvShape { width, height, in_channels, kernel, dilation, stride, .. } = *self.shape;
        let below = self.top.wrapping_add_unsigned((kernel[0] - 1) * dilation[0] + 1).max(0) as usize;
        for y in below..height.min(below + stride[0]) {
            for x in columns.clone() {
                let cell = self.image.wrapping_add((y * width + x) * in_channels + block.start);
                for channel in (0..block.len()).step_by(LINE) {
                    V::prefetch_far(cell.wrapping_add(channel));
                }
            }
        }
    }

    /// `T` outputs from `x` on, in a vector of channels from `channel` on. `left` is the cell of the first one's first tap of
    /// `taps`.
    ///
    /// # Safety
    /// Also: there are such outputs and channels, and the cells of these taps are inside the image.
    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize>(
        self,
        x: usize,
        left: usize,
        taps: Range<usize>,
        channel: usize,
    ) {
        let ConvShape { width, in_channels, out_channels, kernel, dilation, .. } = *self.shape;
        let Columns { stride, dilation: step, .. } = self.columns;
        // SAFETY: the caller's promises. An image has `width * in_channels` values in each of its rows, a tap `out_channels`
        // weights.
        unsafe {
            let bias = self.bias.map_or(V::splat(0.0), |bias| V::load(bias.as_ptr().add(channel)));
            let mut sums = [bias; T];
            for tap_y in self.taps[0]..self.taps[1] {
                let y = self.top.wrapping_add_unsigned(tap_y * dilation[0]) as usize;
                let cells = self.image.add((y * width + left) * in_channels + channel);
                let weights = self.weights.add((tap_y * kernel[1] + taps.start) * out_channels + channel);
                for tap in 0..taps.len() {
                    let weight = V::load(weights.add(tap * out_channels));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let cell = cells.add((i * stride + tap * step) * in_channels);
                        *sum = V::load(cell).mul_add(weight, *sum);
                    }
                }
            }
            for (i, sum) in sums.into_iter().enumerate() {
                let to = self.out.add((x + i) * self.out_stride + channel);
                let sum = if self.relu { sum.positive() } else { sum };
                // No closure: it would not be compiled for the instruction set.
                let sum = if let Some(function) = self.then { function.of_vector(sum) } else { sum };
                sum.store(to);
            }
        }
    }

    /// An output in one channel, of any number of outputs for each input channel.
    ///
    /// # Safety
    /// Also: there is such an output and such a channel.
    #[inline(always)]
    unsafe fn value(self, x: usize, channel: usize) {
        let ConvShape { width, in_channels, out_channels, kernel, dilation, .. } = *self.shape;
        let Columns { stride, dilation: step, .. } = self.columns;
        let left = start(x, stride, self.shape.pads[1]);
        let from = channel / (out_channels / in_channels);
        let mut sum = self.bias.map_or(0.0, |bias| bias[channel]);
        for tap_y in self.taps[0]..self.taps[1] {
            let y = self.top.wrapping_add_unsigned(tap_y * dilation[0]) as usize;
            for tap in taps_inside(left, self.columns.kernel, step, width) {
                let x = left.wrapping_add_unsigned(tap * step) as usize;
                // SAFETY: the caller's promises; the tap falls inside the image.
                unsafe {
                    let cell = *self.image.add((y * width + x) * in_channels + from);
                    sum += cell * *self.weights.add((tap_y * kernel[1] + tap) * out_channels + channel);
                }
            }
        }
        let sum = if self.relu && sum < 0.0 { 0.0 } else { sum };
        let sum = if let Some(function) = self.then { function.of(sum) } else { sum };
        // SAFETY: the caller's promises.
        unsafe { self.out.add(x * self.out_stride + channel).write(sum) };
    }
}
