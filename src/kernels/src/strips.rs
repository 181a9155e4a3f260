//! Row tiling of fused layers: several layers on a strip of rows at a time, so that the maps between them stay in the
//! cache (Alwani et al., "Fused-Layer CNN Accelerators", MICRO 2016).
//!
//! ```text
//!   input      conv       ┊ pool        out
//!   ┌─────┐    ┌─────┐    ┊ ┌───┐
//!   │     │    ├─────┤    ┊ ├───┤   <- a strip: some rows of the output, the rows of each
//!   ├─────┤ -> ├─────┤ -> ┊ ├───┤      map that they see, and nothing else
//!   └─────┘    └─────┘    ┊ └───┘
//! ```
//!
//! The first maps of a network are its largest, 123 MB in VGG16 at 600 x 800. Strips of them never reach memory. Rows
//! that two strips see are computed twice; the first layers of a network are cheap to compute.
//!
//! A strip's values are those that the layers give one after the other, bit for bit: each row is computed in the same
//! way, and the last layer's strips begin where its Winograd tiles begin. There is one exception: a Winograd layer whose
//! map another convolution reads. The rows that a strip needs of it begin elsewhere than its tiles do on the whole map,
//! which changes the last bits of its values. How strips are cut does not depend on the number of threads.

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::ShapeError;

use crate::{
    CacheInfo, ConvArgs, ConvShape, Lrn, PoolShape, PreparedConv,
    aligned::aligned,
    blocking::{strip_bytes, winograd_strip_bytes},
    len_of, lrn_into, max_pool_into,
    tasks::{for_each_chunk, task_count},
};

/// Rows of a convolution's output in a strip are a multiple of this where there are as many: whole tiles of F(4x4) and
/// F(6x6).
const TILED_ROWS: usize = 12;

/// One of the layers, on the whole of its map.
#[derive(Clone, Debug)]
pub enum FusedLayer<'a> {
    /// A convolution, its bias and ReLU, and with `pool` the 2x2 max pooling of [`PreparedConv::run_max_pooled`], in
    /// ceil mode if that is true.
    Conv {
        /// The layer.
        prepared: &'a PreparedConv,
        /// Its sizes.
        shape: ConvShape,
        /// `[Co]`.
        bias: Option<&'a [f32]>,
        /// Whether ReLU follows.
        relu: bool,
        /// Whether 2x2 max pooling follows.
        pool: Option<bool>,
    },
    /// As [`max_pool_into`].
    MaxPool(PoolShape),
    /// As [`lrn_into`].
    Lrn(Lrn),
}

/// Buffers of one task.
#[derive(Clone, Debug, Default)]
pub struct StripScratch {
    maps: [Vec<f32>; 2],
    conv: Vec<f32>,
}

/// Rows, columns, channels.
type Size = [usize; 3];

/// Runs `layers` one after the other on `input`, one map of `size` `[H, W, C]`, into `out`.
///
/// `scratch` grows to one for each task and is worth keeping from call to call.
///
/// # Errors
/// A layer's shape is not that of the map it gets, or as the layer's own function says.
pub fn run_strips(
    layers: &[FusedLayer<'_>],
    size: [usize; 3],
    input: &[f32],
    threads: usize,
    scratch: &mut Vec<StripScratch>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let sizes = sizes(layers, size)?;
    let rows = strip_rows(CacheInfo::detect(), layers, &sizes);
    run_strips_of(rows, layers, &sizes, input, threads, scratch, out)
}

/// [`run_strips`] with a number of output rows in each strip.
fn run_strips_of(
    rows: usize,
    layers: &[FusedLayer<'_>],
    sizes: &[Size],
    input: &[f32],
    threads: usize,
    scratch: &mut Vec<StripScratch>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let size = sizes.first().copied().unwrap_or_default();
    ShapeError::check("input", len_of(&size), input.len())?;
    let [height, width, channels] = sizes.last().copied().unwrap_or(size);
    ShapeError::check("out", len_of(&[height, width, channels]), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let row_len = width * channels;
    let tasks = task_count(threads);
    scratch.resize_with(scratch.len().max(tasks), StripScratch::default);
    let mut states: Vec<_> = scratch.iter_mut().take(tasks).map(|scratch| (scratch, Ok(()))).collect();
    for_each_chunk(&mut states, out, rows * row_len, |(scratch, result), i, out| {
        let first = i * rows;
        let strip = run_strip(layers, sizes, input, first..first + out.len() / row_len, scratch, out);
        *result = result.and(strip);
    });
    states.into_iter().try_for_each(|(_, result)| result)
}

/// The size of the input, then of each layer's output.
fn sizes(layers: &[FusedLayer<'_>], size: Size) -> Result<Vec<Size>, ShapeError> {
    let mut sizes = alloc::vec![size];
    let mut size = size;
    for layer in layers {
        let given = match layer {
            FusedLayer::Conv { shape, .. } => [shape.batch, shape.height, shape.width, shape.in_channels],
            FusedLayer::MaxPool(shape) => [shape.batch, shape.height, shape.width, shape.channels],
            FusedLayer::Lrn(_) => [1, size[0], size[1], size[2]],
        };
        for (found, expected) in given.into_iter().zip([1, size[0], size[1], size[2]]) {
            ShapeError::check("a layer's map", expected, found)?;
        }
        let output = match layer {
            FusedLayer::Conv { shape, pool, .. } => {
                let output = match pool {
                    Some(ceil_mode) => shape.pool_2x2(*ceil_mode).and_then(|pool| pool.output_size()),
                    None => shape.output_size(),
                };
                output.map(|(height, width)| [height, width, shape.out_channels])
            }
            FusedLayer::MaxPool(shape) => {
                shape.output_size().map(|(height, width)| [height, width, shape.channels])
            }
            FusedLayer::Lrn(_) => Some(size),
        };
        let none = ShapeError { what: "windows that fit the padded input", expected: 1, found: 0 };
        size = output.ok_or(none)?;
        sizes.push(size);
    }
    Ok(sizes)
}

/// Rows of output in a strip: as many as leave the maps between layers in the cache.
fn strip_rows(caches: CacheInfo, layers: &[FusedLayer<'_>], sizes: &[Size]) -> usize {
    let height = sizes.last().map_or(0, |size| size[0]);
    let most = bytes_between_at_most(caches, layers);
    let unit = row_unit(layers);
    let mut rows = unit;
    while rows < height && bytes_between(layers, sizes, (rows + unit).min(height)) <= most {
        rows += unit;
    }
    rows
}

/// The most that the largest map between two layers may take.
fn bytes_between_at_most(caches: CacheInfo, layers: &[FusedLayer<'_>]) -> usize {
    let is_winograd = |layer: &FusedLayer<'_>| match layer {
        FusedLayer::Conv { prepared, .. } => prepared.fuses_max_pool(),
        FusedLayer::MaxPool(_) | FusedLayer::Lrn(_) => false,
    };
    let inner = layers.split_last().map_or(layers, |(_, inner)| inner);
    if layers.first().is_some_and(is_winograd) {
        winograd_strip_bytes()
    } else if inner.iter().any(is_winograd) {
        // Where an inner map of Winograd's algorithm is cut changes its last bits.
        strip_bytes(CacheInfo::SERVER)
    } else {
        strip_bytes(caches)
    }
}

/// Bytes of the largest map between two layers, of which a strip with the first `rows` of output sees a part.
fn bytes_between(layers: &[FusedLayer<'_>], sizes: &[Size], rows: usize) -> usize {
    let seen = rows_seen_by_all(layers, sizes, 0..rows);
    // The first layer's input is the caller's, and whole in memory.
    let between = seen.iter().zip(sizes).skip(1);
    between.map(|(seen, size)| len_of(&[4, seen.rows.len(), size[1], size[2]])).max().unwrap_or(0)
}

/// What a number of output rows is a multiple of.
fn row_unit(layers: &[FusedLayer<'_>]) -> usize {
    match layers.last() {
        Some(FusedLayer::Conv { pool: None, .. }) => TILED_ROWS,
        _ => TILED_ROWS / 2,
    }
}

/// Rows of a layer's input, and the rows of padding that are seen before and after them.
#[derive(Clone, Debug, PartialEq)]
struct InputRows {
    rows: Range<usize>,
    before: usize,
    after: usize,
}

/// What a layer's output `rows` see of its input, of size `size`.
fn rows_seen(layer: &FusedLayer<'_>, size: Size, rows: Range<usize>) -> InputRows {
    let (rows, extent, stride, pad) = match layer {
        FusedLayer::Conv { shape, pool, .. } => {
            let rows = match pool {
                Some(_) => {
                    let height = shape.output_size().map_or(0, |(height, _)| height);
                    2 * rows.start..(2 * rows.end).min(height)
                }
                None => rows,
            };
            (rows, (shape.kernel[0] - 1) * shape.dilation[0] + 1, shape.stride[0], shape.pads[0])
        }
        FusedLayer::MaxPool(shape) => {
            (rows, (shape.kernel[0] - 1) * shape.dilation[0] + 1, shape.stride[0], shape.pads[0])
        }
        FusedLayer::Lrn(_) => (rows, 1, 1, 0),
    };
    // Counted from the first row of padding.
    let (start, end) = (rows.start * stride, (rows.end.max(1) - 1) * stride + extent);
    let inside = start.saturating_sub(pad).min(size[0])..end.saturating_sub(pad).min(size[0]);
    // Of rows that lie wholly in the padding only those that are seen count.
    let before = pad.min(end).saturating_sub(start);
    let after = end.saturating_sub(start.max(pad + size[0]));
    InputRows { before, after, rows: inside }
}

/// What each layer sees of its input for `rows` of the last one's output.
fn rows_seen_by_all(layers: &[FusedLayer<'_>], sizes: &[Size], rows: Range<usize>) -> Vec<InputRows> {
    let mut seen = Vec::with_capacity(layers.len());
    let mut rows_out = rows;
    for (layer, size) in layers.iter().zip(sizes).rev() {
        let rows_in = rows_seen(layer, *size, rows_out);
        rows_out = rows_in.rows.clone();
        seen.push(rows_in);
    }
    seen.reverse();
    seen
}

/// Runs all layers on what `rows` of the output see.
fn run_strip(
    layers: &[FusedLayer<'_>],
    sizes: &[Size],
    input: &[f32],
    rows: Range<usize>,
    scratch: &mut StripScratch,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let seen = rows_seen_by_all(layers, sizes, rows);
    let row_len = |size: &Size| len_of(&size[1..]);
    let StripScratch { maps: [map, next], conv } = scratch;
    for (i, (layer, here)) in layers.iter().zip(&seen).enumerate() {
        let len = here.rows.len() * row_len(&sizes[i]);
        let from = match i {
            0 => &input[here.rows.start * row_len(&sizes[0])..][..len],
            _ => aligned(map, len),
        };
        let Some(after) = seen.get(i + 1) else { return run_layer(layer, sizes[i], here, from, conv, out) };
        let to = aligned(next, after.rows.len() * row_len(&sizes[i + 1]));
        run_layer(layer, sizes[i], here, from, conv, to)?;
        core::mem::swap(map, next);
    }
    Ok(())
}

/// Runs one layer on the rows that it sees, padding as much as it sees of that.
fn run_layer(
    layer: &FusedLayer<'_>,
    [_, _, channels]: Size,
    seen: &InputRows,
    input: &[f32],
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let height = seen.rows.len();
    match layer {
        FusedLayer::Conv { prepared, shape, bias, relu, pool } => {
            let pads = [seen.before, shape.pads[1], seen.after, shape.pads[3]];
            let shape = &ConvShape { height, pads, ..shape.clone() };
            let args = ConvArgs { input, bias: *bias, relu: *relu, threads: 1 };
            match pool {
                Some(ceil_mode) => prepared.run_max_pooled(shape, *ceil_mode, args, scratch, out),
                None => prepared.run(shape, args, scratch, out),
            }
        }
        FusedLayer::MaxPool(shape) => {
            // What a window hangs over the end of the map in ceil mode is padding, which is skipped: the rows of a
            // last window alone may be fewer than a window has.
            let pads = [seen.before, shape.pads[1], seen.after, shape.pads[3]];
            max_pool_into(&PoolShape { height, pads, ..shape.clone() }, input, 1, out)
        }
        FusedLayer::Lrn(lrn) => lrn_into(*lrn, input, channels, 1, out),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{ConvAlgorithm, Isa, SharedCache, test_random::Random};

    fn conv(
        height: usize,
        width: usize,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> ConvShape {
        ConvShape {
            batch: 1,
            height,
            width,
            in_channels: channels[0],
            out_channels: channels[1],
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1, 1],
            pads: [pad; 4],
            group: 1,
        }
    }

    fn pool(height: usize, width: usize, channels: usize, pads: [usize; 4], ceil_mode: bool) -> PoolShape {
        let (kernel, stride, dilation) = ([3, 3], [2, 2], [1, 1]);
        PoolShape { batch: 1, height, width, channels, kernel, stride, dilation, pads, ceil_mode }
    }

    /// Each layer on its whole map, in the functions that a user would call.
    fn one_by_one(layers: &[FusedLayer<'_>], size: Size, input: &[f32]) -> Vec<f32> {
        let sizes = sizes(layers, size).unwrap();
        let mut map = input.to_vec();
        for (layer, sizes) in layers.iter().zip(sizes.windows(2)) {
            let mut out = vec![f32::NAN; len_of(&sizes[1])];
            let scratch = &mut Vec::new();
            match layer {
                FusedLayer::Conv { prepared, shape, bias, relu, pool } => {
                    let args = ConvArgs { input: &map[..], bias: *bias, relu: *relu, threads: 1 };
                    match pool {
                        Some(ceil_mode) => {
                            prepared.run_max_pooled(shape, *ceil_mode, args, scratch, &mut out)
                        }
                        None => prepared.run(shape, args, scratch, &mut out),
                    }
                    .unwrap();
                }
                FusedLayer::MaxPool(shape) => max_pool_into(shape, &map, 1, &mut out).unwrap(),
                FusedLayer::Lrn(lrn) => lrn_into(*lrn, &map, sizes[0][2], 1, &mut out).unwrap(),
            }
            map = out;
        }
        map
    }

    fn check(layers: &[FusedLayer<'_>], size: Size) {
        let input = Random::new(1).values(len_of(&size));
        let expected = one_by_one(layers, size, &input);
        let sizes = sizes(layers, size).unwrap();
        // The small maps of a test are one strip, unless strips are as short as they may be.
        let run = |threads| {
            let (mut out, mut short) = (vec![f32::NAN; expected.len()], vec![f32::NAN; expected.len()]);
            let mut scratch = vec![];
            // Twice: what a scratch holds from before does not matter.
            for _ in 0..2 {
                run_strips(layers, size, &input, threads, &mut scratch, &mut out).unwrap();
                run_strips_of(row_unit(layers), layers, &sizes, &input, threads, &mut scratch, &mut short)
                    .unwrap();
            }
            assert_eq!(short, out, "{size:?}, short strips");
            out
        };
        rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(|| {
            assert_eq!(run(1), expected, "{size:?}");
            assert_eq!(run(3), expected, "{size:?}, threads");
        });
        let mut short = vec![0.0; expected.len() - 1];
        assert!(run_strips(layers, size, &input, 1, &mut vec![], &mut short).is_err());
    }

    fn with_layers(shapes: &[(ConvShape, ConvAlgorithm)], check: impl Fn(&[PreparedConv])) {
        let prepare = |(shape, algorithm): &(ConvShape, ConvAlgorithm)| {
            let weights = Random::new(2).values(shape.weight_len());
            let prepared = PreparedConv::with(Isa::detect(), Some(*algorithm), shape, &weights, 1).unwrap();
            assert_eq!(prepared.algorithm(), *algorithm);
            prepared
        };
        check(&shapes.iter().map(prepare).collect::<Vec<_>>());
    }

    #[test]
    fn a_convolution_and_its_pooling() {
        // SqueezeNet's and CaffeNet's first layers, smaller; heights that end strips, and windows, at odd places.
        let published = [(61, 7, 2, 0), (63, 7, 2, 0), (90, 11, 4, 5), (7, 7, 2, 0)];
        // Every remainder of rows in the last strip, a single one whose window hangs over among them.
        let plain = (2..30).map(|height| (height, 3, 1, 1));
        for (height, kernel, stride, pad) in published.into_iter().chain(plain) {
            for ceil_mode in [false, true] {
                let shape = conv(height, 21, [3, 20], kernel, stride, pad);
                let (h, w) = shape.output_size().unwrap();
                with_layers(&[(shape.clone(), ConvAlgorithm::Direct)], |layers| {
                    let (prepared, bias) = (&layers[0], Some(&[0.5; 20][..]));
                    let first =
                        FusedLayer::Conv { prepared, shape: shape.clone(), bias, relu: true, pool: None };
                    let lrn = FusedLayer::Lrn(Lrn { size: 5, alpha: 1e-1, beta: 0.75, k: 1.0 });
                    for pads in [[0; 4], [1, 1, 1, 1], [0, 0, 2, 2]] {
                        let pool = pool(h, w, 20, pads, ceil_mode);
                        if pool.output_size().is_none() {
                            continue;
                        }
                        let pool = FusedLayer::MaxPool(pool);
                        check(&[first.clone(), pool.clone()], [height, 21, 3]);
                        check(&[first.clone(), lrn.clone(), pool.clone()], [height, 21, 3]);
                        check(&[first.clone(), pool, lrn.clone()], [height, 21, 3]);
                    }
                });
            }
        }
    }

    #[test]
    fn two_convolutions() {
        let algorithms = [ConvAlgorithm::Winograd6, ConvAlgorithm::Winograd4, ConvAlgorithm::Direct];
        for (height, second) in (20..52).flat_map(|height| algorithms.map(|second| (height, second))) {
            let (one, two) = (conv(height, 15, [3, 16], 3, 1, 1), conv(height, 15, [16, 17], 3, 1, 1));
            with_layers(&[(one.clone(), ConvAlgorithm::Direct), (two.clone(), second)], |layers| {
                for pool in [None, Some(false), Some(true)] {
                    let layer = |i: usize, shape: &ConvShape, pool| {
                        let (prepared, shape) = (&layers[i], shape.clone());
                        FusedLayer::Conv { prepared, shape, bias: None, relu: true, pool }
                    };
                    check(&[layer(0, &one, None), layer(1, &two, pool)], [height, 15, 3]);
                }
            });
        }
    }

    /// Strips begin where the first layer's tiles do not: their values differ from the whole map's in the last bits.
    #[test]
    fn two_convolutions_by_winograd() {
        let (one, two) = (conv(45, 33, [16, 16], 3, 1, 1), conv(45, 33, [16, 17], 3, 1, 1));
        for first in [ConvAlgorithm::Winograd4, ConvAlgorithm::Winograd6] {
            let layers = [(one.clone(), first), (two.clone(), ConvAlgorithm::Winograd6)];
            with_layers(&layers, |layers| {
                let layer = |i: usize, shape: &ConvShape, pool| {
                    let (prepared, shape) = (&layers[i], shape.clone());
                    FusedLayer::Conv { prepared, shape, bias: None, relu: true, pool }
                };
                let layers = [layer(0, &one, None), layer(1, &two, Some(false))];
                let input = Random::new(1).values(45 * 33 * 16);
                let expected = one_by_one(&layers, [45, 33, 16], &input);
                let sizes = sizes(&layers, [45, 33, 16]).unwrap();
                let run = |threads| {
                    let mut out = vec![f32::NAN; expected.len()];
                    run_strips_of(6, &layers, &sizes, &input, threads, &mut vec![], &mut out).unwrap();
                    out
                };
                let found = run(1);
                // Two layers, each within 3e-5 of its largest value: see the tests of `PreparedConv`.
                let apart = frcnn_core::relative_difference(&found, &expected);
                assert!(apart <= 1e-4, "off by {apart:e} of the largest");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
                assert_eq!(pool.install(|| run(3)), found);
            });
        }
    }

    #[test]
    fn strips_are_bounded_by_the_largest_map_between() {
        // VGG16's first two layers: 14 rows of 800 x 64 make 2.9 MB, 20 would be 4.1.
        let (one, two) = (conv(600, 800, [3, 64], 3, 1, 1), conv(600, 800, [64, 64], 3, 1, 1));
        let prepared =
            |shape: &ConvShape| PreparedConv::new(shape, &vec![0.0; shape.weight_len()], 1).unwrap();
        let layers = [prepared(&one), prepared(&two)];
        let layer = |prepared, shape: &ConvShape, pool| FusedLayer::Conv {
            prepared,
            shape: shape.clone(),
            bias: None,
            relu: true,
            pool,
        };
        let layers = [layer(&layers[0], &one, None), layer(&layers[1], &two, Some(true))];
        let sizes = sizes(&layers, [600, 800, 3]).unwrap();
        assert_eq!(strip_rows(CacheInfo::SERVER, &layers, &sizes), 6);
        let large = SharedCache { bytes: 16 << 20, cores: 4 };
        assert_eq!(strip_rows(CacheInfo { l2: large, ..CacheInfo::SERVER }, &layers, &sizes), 12);
        assert_eq!(rows_seen(&layers[1], sizes[1], 0..6), InputRows { rows: 0..13, before: 1, after: 0 });
        assert_eq!(
            rows_seen(&layers[1], sizes[1], 294..300),
            InputRows { rows: 587..600, before: 0, after: 1 }
        );
    }

    #[test]
    fn maps_that_do_not_fit_are_errors() {
        let shape = pool(9, 9, 4, [0; 4], false);
        let layers = [FusedLayer::MaxPool(shape)];
        let mut out = vec![0.0; 64];
        let error = run_strips(&layers, [9, 8, 4], &[0.0; 288], 1, &mut vec![], &mut out).unwrap_err();
        assert_eq!(error, ShapeError { what: "a layer's map", expected: 8, found: 9 });
        let layers = [FusedLayer::MaxPool(pool(2, 2, 4, [0; 4], false))];
        assert!(run_strips(&layers, [2, 2, 4], &[0.0; 16], 1, &mut vec![], &mut []).is_err());
    }
}
