//! A map in the size of another, each cell from the nearest one above and to the left: the way down a feature pyramid.
//!
//! Row `i` of `m` is row `floor(i * n / m)` of `n`, and so are columns: what PyTorch's `interpolate` and ONNX's `Resize` call
//! nearest. Whole numbers do it exactly; both of these divide in floating point, which gives the same for maps of pyramids.

use frcnn_core::ShapeError;

use super::pointwise::Add;
use crate::{len_of, simd::vectorized, tasks::for_each_chunk_stateless};

/// `from`, `[N, h, w, C]` with `from_size` rows and columns, into `out`, `[N, H, W, C]` with `size`, on up to `threads` threads.
///
/// # Errors
/// `from` or `out` does not have the length of its shape, or there is no cell to take values from.
pub fn upsample_into(
    from: &[f32],
    from_size: [usize; 2],
    [batch, channels]: [usize; 2],
    size: [usize; 2],
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    for_each_row(from, from_size, [batch, channels], size, threads, out, |from, columns, out| {
        for (x, cell) in out.chunks_exact_mut(channels).enumerate() {
            cell.copy_from_slice(&from[columns(x) * channels..][..channels]);
        }
    })
}

/// Adds what [`upsample_into`] makes of `from` to `map` in one pass.
///
/// # Errors
/// As [`upsample_into`].
pub fn add_upsampled_in_place(
    from: &[f32],
    from_size: [usize; 2],
    [batch, channels]: [usize; 2],
    size: [usize; 2],
    threads: usize,
    map: &mut [f32],
) -> Result<(), ShapeError> {
    for_each_row(from, from_size, [batch, channels], size, threads, map, |from, columns, row| {
        for (x, values) in row.chunks_exact_mut(channels).enumerate() {
            vectorized(Add { other: &from[columns(x) * channels..][..channels], values });
        }
    })
}

/// Which of `from` cells of an axis is upsampled to cell `i` of `to`.
#[must_use]
pub fn upsampled_from(i: usize, from: usize, to: usize) -> usize {
    // No product overflows.
    (i as u128 * from as u128 / to.max(1) as u128) as usize
}

/// Calls `work(row of from, column of from for a column, row of map)` for each row of `map`.
fn for_each_row(
    from: &[f32],
    from_size: [usize; 2],
    [batch, channels]: [usize; 2],
    size: [usize; 2],
    threads: usize,
    map: &mut [f32],
    work: impl Fn(&[f32], &dyn Fn(usize) -> usize, &mut [f32]) + Sync,
) -> Result<(), ShapeError> {
    ShapeError::check("from", len_of(&[batch, from_size[0], from_size[1], channels]), from.len())?;
    ShapeError::check("out", len_of(&[batch, size[0], size[1], channels]), map.len())?;
    if map.is_empty() {
        return Ok(());
    }
    if from.is_empty() {
        return Err(ShapeError { what: "cells of the map that is upsampled", expected: 1, found: 0 });
    }
    let nearest = |i: usize, axis: usize| upsampled_from(i, from_size[axis], size[axis]);
    let row_len = from_size[1] * channels;
    for_each_chunk_stateless(threads, map, size[1] * channels, |i, row| {
        let (image, y) = (i / size[0], i % size[0]);
        let from = &from[(image * from_size[0] + nearest(y, 0)) * row_len..][..row_len];
        work(from, &|x| nearest(x, 1), row);
    });
    Ok(())
}
