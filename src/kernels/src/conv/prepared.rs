//! A layer whose algorithm was chosen and whose weights were laid out once.

#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};

use super::{
    ChannelRange, ConvArgs, ConvShape, conv2d_into,
    cost::choose,
    direct::Direct,
    winograd::{self, Tile, Winograd},
};
use crate::{Cpu, Half, ShapeError, len_of, max_pool_into, packed::Weights};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// [`conv2d_into`]: any layer, a copy of its weights.
    Plain,
    /// By the definition, sums in registers: packed weights, as large as the layer's.
    Direct,
    /// [`ConvAlgorithm::Winograd4`] with weights as they came, which are transformed as they are read: weights as large as the
    /// layer's, and 1.1 to 1.7 times the time.
    Winograd4Lean,
    /// Winograd's F(4x4, 3x3): 3x3, stride 1; a quarter of the multiplications, weights 4 times the layer's.
    Winograd4,
    /// Winograd's F(6x6, 3x3): 3x3, stride 1; a fifth of the multiplications, weights 7.1 times the layer's.
    Winograd6,
}

impl ConvAlgorithm {
    /// The one that [`PreparedConv::new`] uses for a layer on maps of the size of `shape`.
    #[must_use]
    pub fn for_layer(shape: &ConvShape) -> Self {
        choose(Cpu::detect(), shape)
    }

    /// Whether it holds the layer's weights as they came, and none that are transformed.
    pub(super) fn is_lean(self) -> bool {
        self == Self::Winograd4Lean
    }

    /// Of Winograd's algorithms, which it is.
    pub(super) fn tile(self) -> Option<Tile> {
        match self {
            Self::Plain | Self::Direct => None,
            Self::Winograd4Lean | Self::Winograd4 => Some(Tile::F4),
            Self::Winograd6 => Some(Tile::F6),
        }
    }

    /// See [`PreparedConv::fuses_max_pool`].
    #[must_use]
    pub fn fuses_max_pool(self) -> bool {
        self.tile().is_some()
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
    /// One for each group.
    Winograd(Vec<Winograd>),
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
    /// algorithm that does not compute such layers is replaced by [`ConvAlgorithm::Plain`].
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

    fn prepare(
        cpu: Cpu,
        algorithm: Option<ConvAlgorithm>,
        shape: &ConvShape,
        weights: Weights<'_>,
        threads: usize,
    ) -> Result<Self, ShapeError> {
        shape.check_layer(weights.len())?;
        let algorithm = algorithm.unwrap_or_else(|| choose(cpu, shape));
        let form = match algorithm.tile() {
            Some(tile) if Winograd::applies(shape) => {
                let lean = algorithm.is_lean();
                let group = |g| Winograd::new(cpu, tile, lean, shape, (g, weights), threads);
                Form::Winograd((0..shape.group).map(group).collect())
            }
            None if algorithm == ConvAlgorithm::Direct && Direct::applies(shape) => {
                Form::Direct(Direct::new(cpu, shape, weights))
            }
            _ => Form::Plain(weights.to_f32()),
        };
        Ok(Self { shape: shape.clone(), form })
    }

    /// The algorithm that runs.
    #[must_use]
    pub fn algorithm(&self) -> ConvAlgorithm {
        match &self.form {
            Form::Plain(_) => ConvAlgorithm::Plain,
            Form::Direct(_) => ConvAlgorithm::Direct,
            Form::Winograd(groups) => groups.first().map_or(ConvAlgorithm::Winograd4, Winograd::algorithm),
        }
    }

    /// Bytes of weights held here.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match &self.form {
            Form::Plain(weights) => size_of_val(&weights[..]),
            Form::Direct(layer) => layer.weight_bytes(),
            Form::Winograd(groups) => groups.iter().map(Winograd::weight_bytes).sum(),
        }
    }

    /// Convolves as [`conv2d_into`] does. `shape` may differ from the one the layer was prepared for in batch, height
    /// and width, and have less padding above and below, as rows from inside a map do.
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
        let (height, width) = self.check_layer(shape)?;
        shape.check_args(args)?;
        channels.check(shape.out_channels)?;
        ShapeError::check("out", len_of(&[shape.batch, height, width, channels.stride]), out.len())?;
        if out.is_empty() || shape.out_channels == 0 {
            return Ok(());
        }
        let size = [height, width];
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
            Form::Direct(layer) => layer.run(shape, size, args, channels, scratch, out),
            Form::Winograd(groups) => {
                let to = winograd::Output { size, pooled: None, channels, map: out };
                run_groups(groups, shape, args, scratch, to);
            }
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
        let (height, width) = self.check_layer(shape)?;
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
        if let Form::Winograd(groups) = &self.form {
            let (size, channels) = ([height, width], ChannelRange::all(shape.out_channels));
            let to = winograd::Output { size, pooled: Some(pooled), channels, map: out };
            run_groups(groups, shape, args, scratch, to);
            return Ok(());
        }
        let mut whole = vec![0.0; len_of(&[shape.batch, height, width, shape.out_channels])];
        self.run(shape, args, scratch, &mut whole)?;
        max_pool_into(&pool, &whole, args.threads, out)
    }

    /// The output size on maps of `shape`, if it is that of the prepared layer, on maps of any size or on rows of them.
    fn check_layer(&self, shape: &ConvShape) -> Result<(usize, usize), ShapeError> {
        let ConvShape { batch, height, width, pads: [top, _, bottom, _], .. } = *shape;
        let pads = [
            top.min(self.shape.pads[0]),
            self.shape.pads[1],
            bottom.min(self.shape.pads[2]),
            self.shape.pads[3],
        ];
        if *shape == (ConvShape { batch, height, width, pads, ..self.shape.clone() }) {
            shape.check_layer(shape.weight_len())
        } else {
            Err(ShapeError { what: "the layer that was prepared", expected: 1, found: 0 })
        }
    }
}

/// Each group from its channels of the input into its channels of the output.
fn run_groups(
    groups: &[Winograd],
    shape: &ConvShape,
    args: ConvArgs<'_>,
    scratch: &mut Vec<f32>,
    mut out: winograd::Output<'_>,
) {
    let [group_in, group_out] = shape.group_channels();
    let first = out.channels.first;
    for (g, group) in groups.iter().enumerate() {
        let from = ChannelRange { first: g * group_in, stride: shape.in_channels };
        out.channels.first = first + g * group_out;
        let bias = args.bias.map(|bias| &bias[g * group_out..][..group_out]);
        group.run(shape, ConvArgs { bias, ..args }, from, scratch, &mut out);
    }
}
