//! Two-dimensional convolution of channels-last maps, as products of matrices.
//!
//! With `K = Kh * Kw * Ci / group` weights for each output channel:
//!
//! ```text
//! out[pixel, Co] = patches[pixel, K] weights[K, Co] + bias, then ReLU
//! ```
//!
//! 1. The weights `[Kh, Kw, Ci / group, Co]` are the right-hand matrix as they lie, and the product is the output as
//!    it lies: nothing is transposed.
//! 2. A 1x1 convolution with stride 1 and no padding needs no patches: the map is the left-hand matrix.
//! 3. Otherwise the patches of a block of pixels are gathered into scratch (im2row), multiplied, and the bias and the
//!    ReLU applied, before the next block: all of it while the block is in L2.
//! 4. A group is the same product on a range of channels, rows `Ci` or `Co` apart.
//! 5. A group of one input channel (depthwise) is no product of matrices: it is summed directly, in registers.
//!
//! That is [`conv2d_into`], which takes any layer and its weights as they are. A layer that runs more than once is
//! worth preparing: [`PreparedConv`] chooses among this, `direct` and `winograd` by `cost`.
//!
//! Blocks depend on the shape alone, and threads share them out: the result has the same bits for any number.

mod cost;
mod depthwise;
mod direct;
mod direct_f16;
#[cfg(test)]
mod f16_tests;
mod im2row;
mod prepared;
mod reference;
#[cfg(test)]
mod tests;
mod window;
mod winograd;

use alloc::vec::Vec;

use frcnn_core::{ShapeError, Window};

use crate::{
    PoolShape,
    blocking::im2row_pixels,
    gemm::{Strided, bias_relu, check_bias, matmul_strided},
    len_of, tasks,
};
pub(crate) use cost::{AVX512_F16_RATE, F16_RATE, FLOPS_PER_BYTE};
pub use cost::{ConvCandidate, ConvWeights};
pub use prepared::{ConvAlgorithm, PreparedConv};
pub use reference::conv2d_reference;
pub use window::ConvWindow;
#[cfg(test)]
pub(crate) use window::tests::check_window;

/// A convolution layer on one size of input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images `N`.
    pub batch: usize,
    /// Input rows `H`.
    pub height: usize,
    /// Input columns `W`.
    pub width: usize,
    /// Input channels `Ci`, a multiple of `group`.
    pub in_channels: usize,
    /// Output channels `Co`, a multiple of `group`.
    pub out_channels: usize,
    /// Window, rows then columns.
    pub kernel: [usize; 2],
    /// Input cells from one window to the next, rows then columns.
    pub stride: [usize; 2],
    /// Input cells from one tap of a window to the next, rows then columns.
    pub dilation: [usize; 2],
    /// Cells of zero padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups of channels that see only each other; 1 for an ordinary convolution.
    pub group: usize,
}

impl ConvShape {
    /// Output rows and columns; `None` when the window is empty, larger than the padded input, or moves by 0.
    #[must_use]
    pub fn output_size(&self) -> Option<(usize, usize)> {
        self.window().output_size(self.height, self.width)
    }

    /// The window that slides over the map.
    #[must_use]
    pub fn window(&self) -> Window {
        let Self { kernel, stride, dilation, pads, .. } = *self;
        Window { kernel, stride, dilation, pads, ceil_mode: false }
    }

    /// Max pooling of the output by 2x2 windows that move by 2; `None` when there is no output. What windows hang over
    /// in ceil mode is padding here, which max pooling skips: so rows from the end of a map are a map like any other.
    #[must_use]
    pub fn pool_2x2(&self, ceil_mode: bool) -> Option<PoolShape> {
        let (height, width) = self.output_size()?;
        let (batch, channels) = (self.batch, self.out_channels);
        let (kernel, stride, dilation) = ([2, 2], [2, 2], [1, 1]);
        let pads = if ceil_mode { [0, 0, height % 2, width % 2] } else { [0; 4] };
        Some(PoolShape { batch, height, width, channels, kernel, stride, dilation, pads, ceil_mode: false })
    }

    /// Values in the weights, `[Kh, Kw, Ci / group, Co]`; saturates.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        len_of(&[self.patch_len(), self.out_channels])
    }

    /// Values that one output value sees, `Kh * Kw * Ci / group`; saturates.
    fn patch_len(&self) -> usize {
        let group_channels = self.in_channels.checked_div(self.group).unwrap_or(0);
        len_of(&[self.kernel[0], self.kernel[1], group_channels])
    }

    /// Input and output channels of a group.
    fn group_channels(&self) -> [usize; 2] {
        [self.in_channels, self.out_channels].map(|channels| channels.checked_div(self.group).unwrap_or(0))
    }

    /// Whether an output reads the cell of the same place alone: a product of matrices, as maps lie.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4]
    }

    fn is_depthwise(&self) -> bool {
        self.group > 1 && self.group == self.in_channels
    }

    /// Checks all lengths and gives the output size.
    fn check(&self, weights: &[f32], args: ConvArgs<'_>, out: &[f32]) -> Result<(usize, usize), ShapeError> {
        let (height, width) = self.check_layer(weights.len())?;
        self.check_args(args)?;
        ShapeError::check("out", len_of(&[self.batch, height, width, self.out_channels]), out.len())?;
        Ok((height, width))
    }

    /// Checks what a layer reads beside its weights.
    pub(crate) fn check_args(&self, ConvArgs { input, bias, .. }: ConvArgs<'_>) -> Result<(), ShapeError> {
        check_bias(bias, self.out_channels)?;
        let input_len = len_of(&[self.batch, self.height, self.width, self.in_channels]);
        ShapeError::check("input", input_len, input.len())
    }

    /// The output size, if it is that of `prepared`, on maps of any size or on windows of them.
    pub(crate) fn check_same_layer(&self, prepared: &Self) -> Result<(usize, usize), ShapeError> {
        let Self { batch, height, width, .. } = *self;
        let pads = core::array::from_fn(|side| self.pads[side].min(prepared.pads[side]));
        if *self == (Self { batch, height, width, pads, ..prepared.clone() }) {
            self.check_layer(self.weight_len())
        } else {
            Err(ShapeError { what: "the layer that was prepared", expected: 1, found: 0 })
        }
    }

    /// Checks all that a layer prepared for another size of maps runs on, and gives the output size. `out_len` values have room
    /// for `channels`.
    pub(crate) fn check_run(
        &self,
        prepared: &Self,
        args: ConvArgs<'_>,
        channels: ChannelRange,
        out_len: usize,
    ) -> Result<[usize; 2], ShapeError> {
        let (height, width) = self.check_same_layer(prepared)?;
        self.check_args(args)?;
        channels.check(self.out_channels)?;
        ShapeError::check("out", len_of(&[self.batch, height, width, channels.stride]), out_len)?;
        Ok([height, width])
    }

    /// Checks what does not depend on the maps, and gives the output size.
    pub(crate) fn check_layer(&self, weights: usize) -> Result<(usize, usize), ShapeError> {
        let whole = |channels: usize| channels.checked_next_multiple_of(self.group).unwrap_or(usize::MAX);
        ShapeError::check("in_channels, a multiple of group", whole(self.in_channels), self.in_channels)?;
        ShapeError::check("out_channels, a multiple of group", whole(self.out_channels), self.out_channels)?;
        let Some((height, width)) = self.output_size() else {
            return Err(ShapeError { what: "windows that fit the padded input", expected: 1, found: 0 });
        };
        ShapeError::check("weights", self.weight_len(), weights)?;
        Ok((height, width))
    }
}

/// Which channels of a map a layer reads or writes: as many as it has, from `first` on.
///
/// Several layers that write to one map, each its own channels, spare the pass that would concatenate theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelRange {
    /// First channel.
    pub first: usize,
    /// All channels of the map, and so the values from one pixel to the next.
    pub stride: usize,
}

impl ChannelRange {
    /// All channels of a map that has as many.
    #[must_use]
    pub fn all(channels: usize) -> Self {
        Self { first: 0, stride: channels }
    }

    /// Checks that a layer of `channels` fits.
    pub(crate) fn check(self, channels: usize) -> Result<(), ShapeError> {
        let end = self.first.saturating_add(channels);
        if end > self.stride {
            return Err(ShapeError { what: "channels of the output map", expected: end, found: self.stride });
        }
        Ok(())
    }
}

/// What a convolution runs on, beside its shape, its weights and its output.
#[derive(Clone, Copy, Debug)]
pub struct ConvArgs<'a, M = &'a [f32]> {
    /// The input map, `[N, H, W, Ci]`.
    pub input: M,
    /// `[Co]`, added to the sums.
    pub bias: Option<&'a [f32]>,
    /// Whether ReLU follows the bias.
    pub relu: bool,
    /// Threads of the current rayon pool that may be used; see the crate's documentation.
    pub threads: usize,
}

/// Convolves the input with `weights`, `[Kh, Kw, Ci / group, Co]`, adds the bias and applies ReLU, into `out`,
/// `[N, Ho, Wo, Co]`.
///
/// `scratch` grows to what the shape asks for, a few MiB for each thread, and is worth keeping from call to call;
/// what it holds before and after means nothing.
///
/// # Errors
/// A slice does not have the length of its shape, a channel count is not a multiple of `group`, or
/// [`ConvShape::output_size`] is `None`.
pub fn conv2d_into(
    shape: &ConvShape,
    weights: &[f32],
    args: ConvArgs<'_>,
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (out_height, out_width) = shape.check(weights, args, out)?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.is_depthwise() {
        depthwise::conv(shape, [out_height, out_width], weights, args, out);
        return Ok(());
    }
    let ConvArgs { input, bias, relu, threads } = args;
    let Some(group_out) = shape.out_channels.checked_div(shape.group) else { return Ok(()) };
    let group_in = shape.in_channels / shape.group;
    let k = shape.patch_len();
    let block = im2row_pixels(k.max(shape.out_channels));

    let pixels = out.len() / shape.out_channels;
    let scratch_len = if shape.is_pointwise() { 0 } else { block.min(pixels).saturating_mul(k) };
    let tasks = tasks::task_count(threads);
    if scratch.len() < len_of(&[tasks, scratch_len]) {
        scratch.resize(len_of(&[tasks, scratch_len]), 0.0);
    }
    let mut scratch = scratch.as_mut_slice();
    let mut parts: Vec<&mut [f32]> =
        (0..tasks).filter_map(|_| scratch.split_off_mut(..scratch_len)).collect();

    tasks::for_each_chunk(&mut parts, out, block.saturating_mul(shape.out_channels), |patches, i, out| {
        let first = i * block;
        let m = out.len() / shape.out_channels;
        for g in 0..shape.group {
            let a = if shape.is_pointwise() {
                Strided {
                    data: &input[first * shape.in_channels + g * group_in..],
                    stride: shape.in_channels,
                }
            } else {
                let pixels = im2row::Pixels { first, count: m, out_height, out_width };
                im2row::gather(shape, input, g, pixels, &mut patches[..m * k]);
                Strided { data: &patches[..m * k], stride: k }
            };
            let b = Strided { data: &weights[g * group_out..], stride: shape.out_channels };
            let c = &mut out[g * group_out..];
            let product = matmul_strided(a, b, [m, k, group_out], 1, c, shape.out_channels);
            debug_assert_eq!(product, Ok(()), "the shapes were checked");
        }
        bias_relu(out, bias, relu);
    });
    Ok(())
}

/// A layer of 3 x 3 windows that keeps the size of its map, for tests.
#[cfg(test)]
pub(crate) fn shape_3x3(height: usize, width: usize, in_channels: usize, out_channels: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        height,
        width,
        in_channels,
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [1; 4],
        group: 1,
    }
}
