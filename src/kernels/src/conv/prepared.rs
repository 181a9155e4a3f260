//! A layer whose algorithm was chosen and whose weights were laid out once.

#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::{
    ChannelRange, ConvArgs, ConvShape, ConvWindow, conv2d_into,
    cost::{ConvWeights, choose},
    depthwise::Depthwise,
    direct::Direct,
    direct_f16::DirectF16,
    winograd::{self, Tile, Winograd, WinogradF16},
};
use crate::{
    Cpu, F16Isa, Half, Isa, Pointwise, Products, ShapeError, len_of, maps::pointwise_in_channels,
    max_pool_into, packed::Weights, tasks::for_each_chunk_stateless,
};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// [`conv2d_into`]: any layer, a copy of its weights.
    Plain,
    /// By the definition, sums in registers: packed weights, as large as the layer's.
    Direct,
    /// The same of layers whose groups have one input channel each, and the only one that computes these: a copy of the weights.
    Depthwise,
    /// [`ConvAlgorithm::Winograd4`] with weights as they came, which are transformed as they are read: weights as large as the
    /// layer's, and 1.1 to 1.7 times the time.
    Winograd4Lean,
    /// Winograd's F(4x4, 3x3): 3x3, stride 1; a quarter of the multiplications, weights 4 times the layer's.
    Winograd4,
    /// Winograd's F(6x6, 3x3): 3x3, stride 1; a fifth of the multiplications, weights 7.1 times the layer's.
    Winograd6,
    /// Winograd's F(5x5, 4x4): 4x4, stride 1, which 7x7 with stride 2 becomes; there a fifth of the multiplications, weights 5.2
    /// times the layer's.
    Winograd5,
}

impl ConvAlgorithm {
    /// The one that [`PreparedConv::new`] uses for a layer on maps of the size of `shape`.
    #[must_use]
    pub fn for_layer(shape: &ConvShape) -> Self {
        choose(Cpu::detect(), shape, ConvWeights::F32)
    }

    /// Whether it holds the layer's weights as they came, and none that are transformed.
    pub(super) fn is_lean(self) -> bool {
        self == Self::Winograd4Lean
    }

    /// Of Winograd's algorithms, which it is.
    pub(super) fn tile(self) -> Option<Tile> {
        match self {
            Self::Plain | Self::Direct | Self::Depthwise => None,
            Self::Winograd4Lean | Self::Winograd4 => Some(Tile::F4),
            Self::Winograd5 => Some(Tile::F5),
            Self::Winograd6 => Some(Tile::F6),
        }
    }

    /// Whether it computes tiles, whose places change the last bits of a map.
    pub(crate) fn is_tiled(self) -> bool {
        self.tile().is_some()
    }

    /// See [`PreparedConv::fuses_max_pool`].
    #[must_use]
    pub fn fuses_max_pool(self) -> bool {
        // Windows of 2x2 are inside tiles of an even side.
        self.tile().is_some_and(|tile| tile.out_side() % 2 == 0)
    }
}

/// A convolution layer ready to run on maps of any size, from any number of threads at once.
#[derive(Clone, Debug)]
pub struct PreparedConv {
    /// Batch, height and width are those it was prepared with.
    shape: ConvShape,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// The weights as they came.
    Plain(Vec<f32>),
    Direct(Direct),
    Depthwise(Depthwise),
    DirectF16(DirectF16),
    /// One for each group.
    Winograd(Vec<Winograd>),
    /// The same.
    WinogradF16(Vec<WinogradF16>),
}

impl PreparedConv {
    /// Chooses the algorithm that costs least on maps of the size of `shape`, and lays out `weights`,
    /// `[Kh, Kw, Ci / group, Co]`, for it, on that many threads. They are not needed any more then.
    ///
    /// # Errors
    /// `weights` has another length, a channel count is not a multiple of `group`, or
    /// [`ConvShape::output_size`] is `None`.
    pub fn new(shape: &ConvShape, weights: &[f32], threads: usize) -> Result<Self, ShapeError> {
        Self::with(Cpu::detect(), None, shape, weights, threads)
    }

    /// [`PreparedConv::new`] for a chosen instruction set or [`Cpu`] and with a chosen algorithm. An
    /// algorithm that does not compute such layers is replaced by [`ConvAlgorithm::Plain`] or, of depthwise ones,
    /// [`ConvAlgorithm::Depthwise`].
    ///
    /// # Errors
    /// As [`PreparedConv::new`].
    pub fn with(
        cpu: impl Into<Cpu>,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        weights: &[f32],
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::prepare(cpu.into(), algorithm, shape, Weights::F32(weights), threads)
    }

    /// [`PreparedConv::with`] of weights in `half`, given as their bits. They take 16 bits each in memory, too, and are widened
    /// as they are read. Those that are transformed once are f32 then. The result has the bits that f32 weights of the same
    /// values give.
    ///
    /// # Errors
    /// As [`PreparedConv::new`].
    pub fn from_half(
        cpu: impl Into<Cpu>,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        half: Half,
        weights: &[u16],
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::prepare(cpu.into(), algorithm, shape, Weights::Half(half, weights), threads)
    }

    /// [`PreparedConv::with`] of f16 weights, given as their bits: direct convolution and
    /// Winograd's F(4x4, 3x3) round what they read, or what comes of it, to f16, too, and add
    /// products up in f16 over short runs, in f32 from run to run. Other algorithms, and all on a CPU without instructions
    /// for it (see [`F16Isa`]), are those of [`PreparedConv::from_half`].
    ///
    /// # Errors
    /// As [`PreparedConv::new`].
    pub fn from_f16(
        cpu: impl Into<Cpu>,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        weights: &[u16],
        threads: usize,
    ) -> Result<Self, ShapeError> {
        Self::from_f16_with(F16Isa::detect(), cpu, algorithm, shape, weights, threads)
    }

    /// [`PreparedConv::from_f16`] on chosen instructions, for tests and benches.
    ///
    /// # Errors
    /// As [`PreparedConv::new`].
    pub fn from_f16_with(
        isa: Option<F16Isa>,
        cpu: impl Into<Cpu>,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        weights: &[u16],
        threads: usize,
    ) -> Result<Self, ShapeError> {
        let cpu = cpu.into();
        shape.check_layer(weights.len())?;
        let algorithm = algorithm.unwrap_or_else(|| {
            choose(cpu, shape, if isa.is_some() { ConvWeights::F16 } else { ConvWeights::Half })
        });
        let form = isa.and_then(|isa| match algorithm {
            ConvAlgorithm::Direct if Direct::applies(shape) => {
                DirectF16::new(isa, shape, weights, threads).map(Form::DirectF16)
            }
            ConvAlgorithm::Winograd4 if WinogradF16::applies(shape) => {
                let group = |g| WinogradF16::new(isa, cpu, shape, (g, weights), threads);
                (0..shape.group).map(group).collect::<Option<_>>().map(Form::WinogradF16)
            }
            _ => None,
        });
        match form {
            Some(form) => Ok(Self { shape: shape.clone(), form }),
            None => Self::from_half(cpu, Some(algorithm), shape, Half::F16, weights, threads),
        }
    }

    fn prepare(
        cpu: Cpu,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        weights: Weights<'_>,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        shape.check_layer(weights.len())?;
        let algorithm = algorithm.unwrap_or_else(|| choose(cpu, shape, ConvWeights::F32));
        let form = match algorithm.tile() {
            Some(tile) if Winograd::applies(tile, shape) => {
                let lean = algorithm.is_lean();
                let group = |g| Winograd::new(cpu, tile, lean, shape, (g, weights), threads);
                Form::Winograd((0..shape.group).map(group).collect())
            }
            None if algorithm == ConvAlgorithm::Direct && Direct::applies(shape) => {
                Form::Direct(Direct::new(cpu, shape, weights))
            }
            _ if shape.is_depthwise() => Form::Depthwise(Depthwise::new(cpu.isa, shape, weights)),
            _ => Form::Plain(weights.to_f32()),
        };
        Ok(Self { shape: shape.clone(), form })
    }

    /// The algorithm that runs.
    #[must_use]
    pub fn algorithm(&self) -> ConvAlgorithm {
        match &self.form {
            Form::Plain(_) => ConvAlgorithm::Plain,
            Form::Depthwise(_) => ConvAlgorithm::Depthwise,
            Form::Direct(_) | Form::DirectF16(_) => ConvAlgorithm::Direct,
            Form::Winograd(groups) => groups.first().map_or(ConvAlgorithm::Winograd4, Winograd::algorithm),
            Form::WinogradF16(_) => ConvAlgorithm::Winograd4,
        }
    }

    /// What gives a window of the map that the layer makes of one of `shape`, with the bits of the whole map. The window grows
    /// to whole tiles of Winograd's algorithm. `None` where no window has those bits: products of the `gemm` crate, which sums
    /// in an order that depends on the number of rows; or where there is no such map.
    #[must_use]
    pub fn window(&self, shape: &ConvShape, [rows, columns]: [Range<usize>; 2]) -> Option<ConvWindow> {
        let tile = self.algorithm().tile();
        if matches!(self.form, Form::Plain(_)) {
            return None;
        }
        ConvWindow::of(shape, tile.map_or(1, Tile::out_side), [rows, columns])
    }

    /// How its products are computed; `None` of [`ConvAlgorithm::Plain`], whose products are the `gemm` crate's.
    #[must_use]
    pub fn products(&self) -> Option<Products> {
        match &self.form {
            Form::Plain(_) => None,
            Form::Direct(layer) => Some(Products::Exact(layer.isa())),
            Form::Depthwise(layer) => Some(Products::Exact(layer.isa())),
            Form::DirectF16(layer) => layer.isa().map(Products::F16),
            Form::Winograd(groups) => groups.first().map(|group| Products::Exact(group.isa())),
            Form::WinogradF16(groups) => groups.first().map(|group| Products::F16(group.isa())),
        }
    }

    /// Whether its weights are multiplied in f16; f32 stands for all that are not.
    #[must_use]
    pub fn weights(&self) -> ConvWeights {
        match &self.form {
            Form::DirectF16(_) | Form::WinogradF16(_) => ConvWeights::F16,
            Form::Plain(_) | Form::Direct(_) | Form::Depthwise(_) | Form::Winograd(_) => ConvWeights::F32,
        }
    }

    /// Bytes of weights held here.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::Plain(weights) => size_of_val(&weights[..]),
            Form::Direct(layer) => layer.weight_bytes(),
            Form::Depthwise(layer) => layer.weight_bytes(),
            Form::DirectF16(layer) => layer.weight_bytes(),
            Form::Winograd(groups) => groups.iter().map(Winograd::weight_bytes).sum(),
            Form::WinogradF16(groups) => groups.iter().map(WinogradF16::weight_bytes).sum(),
        }
    }

    /// Convolves as [`conv2d_into`] does. `shape` may differ from the one the layer was prepared for in batch, height
    /// and width, and have less padding, as a window from inside a map does.
    ///
    /// # Errors
    /// As [`conv2d_into`], or `shape` is another layer's.
    pub fn run(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.run_into_channels(shape, args, ChannelRange::all(shape.out_channels), scratch, out)
    }

    /// [`PreparedConv::run`] into some of the channels of `out`, `[N, Ho, Wo, channels.stride]`; the others stay as they
    /// are.
    ///
    /// # Errors
    /// As [`PreparedConv::run`], or the map has fewer channels than that.
    pub fn run_into_channels(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.run_then(shape, args, None, channels, scratch, out)
    }

    /// [`PreparedConv::run_into_channels`], and then what [`pointwise_in_place`](crate::pointwise_in_place) makes of each of the
    /// layer's values, with the same bits: while they are in registers or in L1, where the algorithm can.
    ///
    /// # Errors
    /// As [`PreparedConv::run_into_channels`].
    pub fn run_then(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        then: Option<Pointwise>,
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let size = shape.check_run(&self.shape, args, channels, out.len())?;
        if out.is_empty() || shape.out_channels == 0 {
            return Ok(());
        }
        match &self.form {
            Form::Plain(weights) if channels.stride == shape.out_channels => {
                conv2d_into(shape, weights, args, scratch, out)?;
            }
            Form::Plain(weights) => {
                let mut whole = vec![0.0; out.len() / channels.stride * shape.out_channels];
                conv2d_into(shape, weights, args, scratch, &mut whole)?;
                let pixels = out.chunks_exact_mut(channels.stride);
                for (to, from) in pixels.zip(whole.chunks_exact(shape.out_channels)) {
                    to[channels.first..][..shape.out_channels].copy_from_slice(from);
                }
            }
            Form::Direct(layer) => {
                layer.run(shape, size, (args, then), channels, scratch, out);
                return Ok(());
            }
            Form::Depthwise(layer) => {
                layer.run(shape, size, (args, then), channels, out);
                return Ok(());
            }
            Form::DirectF16(layer) => layer.run(shape, size, args, channels, scratch, out),
            Form::Winograd(_) | Form::WinogradF16(_) => {
                let to = winograd::Output { size, pooled: None, channels, then, map: out };
                self.run_groups(shape, args, scratch, to);
                return Ok(());
            }
        }
        if let Some(function) = then {
            let cell_rows = size[1].saturating_mul(channels.stride);
            for_each_chunk_stateless(args.threads, out, cell_rows, |_, cells| {
                pointwise_in_channels(Isa::detect(), function, (shape.out_channels, channels), cells);
            });
        }
        Ok(())
    }

    /// Whether [`PreparedConv::run_max_pooled`] writes the pooled map alone. Otherwise it makes the whole one first, in
    /// memory of its own, and there is nothing to gain from it.
    #[must_use]
    pub fn fuses_max_pool(&self) -> bool {
        self.algorithm().fuses_max_pool()
    }

    /// [`PreparedConv::run`], then max pooling by 2x2 windows that move by 2, without padding: the same bits as
    /// [`max_pool_into`] would give. With `ceil_mode` the last window of an odd row or column is a cell wide, without it
    /// there is none.
    ///
    /// # Errors
    /// As [`PreparedConv::run`], with an `out` of `[N, Hp, Wp, Co]`; or the convolved map is smaller than a window.
    pub fn run_max_pooled(
        &self,
        shape: &ConvShape,
        ceil_mode: bool,
        args: ConvArgs<'_>,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (height, width) = shape.check_same_layer(&self.shape)?;
        shape.check_args(args)?;
        let none = ShapeError { what: "windows that fit the convolved map", expected: 1, found: 0 };
        let pool = shape.pool_2x2(ceil_mode).ok_or(none)?;
        let (pooled_height, pooled_width) = pool.output_size().ok_or(none)?;
        let pooled = [pooled_height, pooled_width];
        let pooled_len = len_of(&[shape.batch, pooled_height, pooled_width, shape.out_channels]);
        ShapeError::check("out", pooled_len, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        if self.fuses_max_pool() {
            let (size, channels) = ([height, width], ChannelRange::all(shape.out_channels));
            let to = winograd::Output { size, pooled: Some(pooled), channels, then: None, map: out };
            self.run_groups(shape, args, scratch, to);
            return Ok(());
        }
        let mut whole = vec![0.0; len_of(&[shape.batch, height, width, shape.out_channels])];
        self.run(shape, args, scratch, &mut whole)?;
        max_pool_into(&pool, &whole, args.threads, out)
    }

    /// Each group of a layer of Winograd's algorithm, from its channels of the input into its channels of the output.
    fn run_groups(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        scratch: &mut Vec<f32>,
        mut out: winograd::Output<'_>,
    ) {
        let [group_in, group_out] = shape.group_channels();
        let first = out.channels.first;
        for g in 0..shape.group {
            let from = ChannelRange { first: g * group_in, stride: shape.in_channels };
            out.channels.first = first + g * group_out;
            let bias = args.bias.map(|bias| &bias[g * group_out..][..group_out]);
            let args = ConvArgs { bias, ..args };
            match &self.form {
                Form::Winograd(groups) => groups[g].run(shape, args, from, scratch, &mut out),
                Form::WinogradF16(groups) => groups[g].run(shape, args, from, scratch, &mut out),
                Form::Plain(_) | Form::Direct(_) | Form::Depthwise(_) | Form::DirectF16(_) => {}
            }
        }
    }
}
