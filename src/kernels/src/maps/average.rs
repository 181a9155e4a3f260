//! The average over all cells of a map.

use frcnn_core::ShapeError;

use crate::{
    len_of,
    simd::{Loop, vectorized},
    tasks::for_each_chunk_stateless,
};

/// Channels that a task sums up at a time: their sums stay in registers.
const CHANNELS: usize = 64;
/// Cells whose values are added to one another before their sum is added to those before: so an average over `n` cells errs by
/// some `CELLS + n / CELLS` roundings, not by `n`.
const CELLS: usize = 256;

/// Average of each channel of each image of `map`, `[N, H, W, C]`, into `out`, `[N, C]`, on up to `threads` threads: ONNX
/// `GlobalAveragePool`. Of a map without cells that is NaN.
///
/// Sums are in f32, cell by cell in blocks of 256 and then block by block, and are multiplied by the reciprocal of the number of
/// cells: the same bits on every instruction set.
///
/// # Errors
/// `out` has not `batch * channels` values, or `map` is not made of as many images of whole cells.
pub fn global_average_into(
    map: &[f32],
    [batch, channels]: [usize; 2],
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::check("out", len_of(&[batch, channels]), out.len())?;
    let cells = map.len().checked_div(out.len()).unwrap_or(0);
    ShapeError::check("map", len_of(&[cells, out.len()]), map.len())?;
    for (image, out) in out.chunks_exact_mut(channels.max(1)).enumerate() {
        let map = &map[image * cells * channels..][..cells * channels];
        for_each_chunk_stateless(threads, out, CHANNELS, |i, out| {
            vectorized(Average { map, channels, first: i * CHANNELS, out });
        });
    }
    Ok(())
}

/// Of some channels from `first` on.
struct Average<'a> {
    map: &'a [f32],
    channels: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Loop for Average<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { map, channels, first, out } = self;
        let mut sums = [0.0; CHANNELS];
        let sums = &mut sums[..out.len()];
        for block in map.chunks(CELLS * channels) {
            match out.len() {
                CHANNELS => add_block::<CHANNELS>(block, channels, first, sums),
                _ => add_rest(block, channels, first, sums),
            }
        }
        let factor = 1.0 / (map.len() / channels) as f32;
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum * factor);
    }
}

/// Adds a block of cells to the sums, in as many channels as a loop of a known length takes ...
#[inline(always)]
fn add_block<const N: usize>(block: &[f32], channels: usize, first: usize, sums: &mut [f32]) {
    let mut of_block = [0.0; N];
    for cell in block.chunks_exact(channels) {
        let cell = &cell[first..][..N];
        of_block.iter_mut().zip(cell).for_each(|(sum, value)| *sum += value);
    }
    sums.iter_mut().zip(of_block).for_each(|(sum, of_block)| *sum += of_block);
}

/// ... and in those that are left: vector by vector, and then one by one.
#[inline(always)]
fn add_rest(block: &[f32], channels: usize, first: usize, sums: &mut [f32]) {
    let (vectors, rest) = sums.as_chunks_mut::<16>();
    let done = 16 * vectors.len();
    for (i, sums) in vectors.iter_mut().enumerate() {
        add_block::<16>(block, channels, first + 16 * i, sums);
    }
    for (i, sum) in rest.iter_mut().enumerate() {
        add_block::<1>(block, channels, first + done + i, core::slice::from_mut(sum));
    }
}
