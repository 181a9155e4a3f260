//! Groups of one input channel: each output channel slides over the input channel it belongs to.
//!
//! There is no product of matrices in it, and a weight is used once for each output. What counts is that sums, weights and
//! cells stay in registers: see [`rows`].

mod rows;
#[cfg(test)]
mod tests;

use super::{ChannelRange, ConvArgs, ConvShape};
use crate::{Isa, Pointwise, packed::Weights, simd::run_on, tasks::for_each_chunk_stateless};
use rows::Rows;

/// Rows of the output that a task computes one after another, so that it finds most rows of the input in its caches ...
const TASK_ROWS: usize = 8;
/// ... unless these are fewer tasks than this.
const TASKS: usize = 16;

/// A depthwise layer ready to run.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    isa: Isa,
    /// `[Kh, Kw, 1, Co]`, as they came.
    weights: alloc::vec::Vec<f32>,
}

impl Depthwise {
    /// The shape was checked against the weights.
    pub(super) fn new(isa: Isa, shape: &ConvShape, weights: Weights<'_>) -> Self {
        Self { isa: narrowed(isa, shape.out_channels), weights: weights.to_f32() }
    }

    /// The instruction set that it runs on.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    pub(super) fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// All arguments were checked, and `out` is not empty.
    pub(super) fn run(
        &self,
        shape: &ConvShape,
        size: [usize; 2],
        (args, then): (ConvArgs<'_>, Option<Pointwise>),
        channels: ChannelRange,
        out: &mut [f32],
    ) {
        run(self.isa, shape, size, &self.weights, (args, then), channels, out);
    }
}

/// Of the vectors that `isa` has, the widest ones that so many channels fill: AVX-512 has AVX2, and every CPU plain ones.
fn narrowed(isa: Isa, channels: usize) -> Isa {
    match isa {
        Isa::Avx512 | Isa::Avx2 if channels < 8 => Isa::Scalar,
        Isa::Avx512 if channels < 16 => Isa::Avx2,
        isa => isa,
    }
}

/// [`Depthwise::run`] on the fastest instruction set, of weights as they are.
pub(super) fn conv(
    shape: &ConvShape,
    size: [usize; 2],
    weights: &[f32],
    args: ConvArgs<'_>,
    out: &mut [f32],
) {
    let isa = narrowed(Isa::detect(), shape.out_channels);
    run(isa, shape, size, weights, (args, None), ChannelRange::all(shape.out_channels), out);
}

fn run(
    isa: Isa,
    shape: &ConvShape,
    size: [usize; 2],
    weights: &[f32],
    (args, then): (ConvArgs<'_>, Option<Pointwise>),
    channels: ChannelRange,
    out: &mut [f32],
) {
    let row_len = size[1] * channels.stride;
    let rows = (shape.batch * size[0] / TASKS).clamp(1, TASK_ROWS);
    for_each_chunk_stateless(args.threads, out, rows * row_len, |i, out| {
        run_on(isa, Rows { shape, size, weights, args, then, channels, first: i * rows, out });
    });
}
