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
//! map another layer reads. The rows that a strip needs of it begin elsewhere than its tiles do on the whole map,
//! which changes the last bits of its values. How strips are cut does not depend on the number of threads.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::ops::Range;

use frcnn_core::{Seen, ShapeError};

use crate::{
    CacheInfo, ChannelRange, ConvAlgorithm, ConvArgs, ConvShape, ConvWeights, Cpu, Lrn, Pointwise, PoolShape,
    PreparedConv,
    aligned::{LINE, aligned},
    blocking::{depthwise_strip_bytes, strip_bytes, winograd_strip_bytes},
    len_of, lrn_into, max_pool_into,
    tasks::{for_each_chunk, task_count},
};

/// Rows of a convolution's output in a strip are a multiple of this where there are as many: whole tiles of F(4x4) and
/// F(6x6).
const TILED_ROWS: usize = 12;

/// The same around a depthwise layer, whose maps are wide and whose layers compute row by row.
const DEPTHWISE_ROWS: usize = 4;
/// Then there are so many strips for threads to share, or nearly, where a cache would hold longer ones.
const DEPTHWISE_STRIPS: usize = 8;

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
        /// Another function that follows, if no pooling does.
        then: Option<Pointwise>,
        /// Whether 2x2 max pooling follows.
        pool: Option<bool>,
    },
    /// As [`max_pool_into`].
    MaxPool(PoolShape),
    /// As [`lrn_into`].
    Lrn(Lrn),
}

impl FusedLayer<'_> {
    /// Its sizes, and how it is computed.
    #[must_use]
    pub fn shape(&self) -> FusedShape {
        match self {
            FusedLayer::Conv { prepared, shape, pool, .. } => {
                let (algorithm, weights) = (prepared.algorithm(), prepared.weights());
                FusedShape::Conv { algorithm, weights, shape: shape.clone(), pool: *pool }
            }
            FusedLayer::MaxPool(shape) => FusedShape::MaxPool(shape.clone()),
            FusedLayer::Lrn(_) => FusedShape::Lrn,
        }
    }
}

/// The sizes of a [`FusedLayer`], and how it is computed.
#[derive(Clone, Debug)]
pub enum FusedShape {
    /// A convolution.
    Conv {
        /// By which algorithm.
        algorithm: ConvAlgorithm,
        /// Of which weights.
        weights: ConvWeights,
        /// Its sizes.
        shape: ConvShape,
        /// Whether 2x2 max pooling follows, and whether in ceil mode.
        pool: Option<bool>,
    },
    /// As [`max_pool_into`].
    MaxPool(PoolShape),
    /// As [`lrn_into`].
    Lrn,
}

impl FusedShape {
    /// Whether it computes tiles, whose places change the last bits of a map.
    fn is_tiled(&self) -> bool {
        matches!(self, FusedShape::Conv { algorithm, .. } if algorithm.is_tiled())
    }
}

/// Buffers of one task, which grow to what it takes.
#[derive(Clone, Debug, Default)]
pub struct StripScratch {
    /// For maps between the layers, by turns.
    maps: [Vec<f32>; 2],
    /// For convolutions.
    conv: Vec<f32>,
}

impl From<[Vec<f32>; 3]> for StripScratch {
    fn from([a, b, conv]: [Vec<f32>; 3]) -> Self {
        Self { maps: [a, b], conv }
    }
}

impl From<StripScratch> for [Vec<f32>; 3] {
    fn from(StripScratch { maps: [a, b], conv }: StripScratch) -> Self {
        [a, b, conv]
    }
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
    let shapes: Vec<FusedShape> = layers.iter().map(FusedLayer::shape).collect();
    let strips = Strips::new(&shapes, size)?;
    let rows = strips.rows_at_once(CacheInfo::detect());
    run_strips_of(rows, layers, &strips, input, threads, scratch, out)
}

/// Values of each buffer of a [`StripScratch`] that [`run_strips`] takes for a task.
///
/// # Errors
/// A layer's shape is not that of the map it gets.
pub fn strip_scratch_lens(
    cpu: Cpu,
    layers: &[FusedShape],
    size: [usize; 3],
) -> Result<[usize; 3], ShapeError> {
    let strips = Strips::new(layers, size)?;
    let rows = strips.rows_at_once(cpu.caches);
    let height = strips.sizes.last().map_or(0, |size| size[0]);
    let middle = height.div_ceil(rows.max(1)) / 2;
    let mut lens = [0; 3];
    // Strips inside the map see most; the one in the middle may be the last, which has fewer rows than those before it.
    for strip in [middle.saturating_sub(1), middle] {
        let first = strip.saturating_mul(rows).min(height);
        let seen = strips.rows_seen_by_all(first..height.min(first.saturating_add(rows)));
        for (i, (seen, size)) in seen.iter().zip(&strips.sizes).enumerate().skip(1) {
            let len = len_of(&[seen.cells.len(), size[1], size[2]]).saturating_add(LINE);
            lens[i % 2] = len.max(lens[i % 2]);
        }
        for (layer, seen) in layers.iter().zip(&seen) {
            if let FusedShape::Conv { algorithm, weights, shape, .. } = layer {
                let pads = [seen.before, shape.pads[1], seen.after, shape.pads[3]];
                let shape = ConvShape { height: seen.cells.len(), pads, ..shape.clone() };
                lens[2] = shape.scratch_len((*algorithm, *weights), cpu, 1).max(lens[2]);
            }
        }
    }
    Ok(lens)
}

/// Rows of the last output in a strip of [`run_strips`], if it depends on the strip which bits a row has: where a layer
/// before the last is by Winograd's algorithm. `None` where each row has the bits that the layers give one after the other.
///
/// # Errors
/// A layer's shape is not that of the map it gets.
pub fn strip_rows(layers: &[FusedShape], size: [usize; 3]) -> Result<Option<usize>, ShapeError> {
    let strips = Strips::new(layers, size)?;
    let inner = layers.split_last().map_or(layers, |(_, inner)| inner);
    let depends = inner.iter().any(FusedShape::is_tiled);
    Ok(depends.then(|| strips.rows_at_once(CacheInfo::detect())))
}

/// What each layer of a strip sees of its input for `rows` of the last one's output.
///
/// # Errors
/// A layer's shape is not that of the map it gets.
pub fn strip_rows_seen(
    layers: &[FusedShape],
    size: [usize; 3],
    rows: Range<usize>,
) -> Result<Vec<Seen>, ShapeError> {
    Ok(Strips::new(layers, size)?.rows_seen_by_all(rows))
}

/// [`run_strips`] with a number of output rows in each strip.
fn run_strips_of(
    rows: usize,
    layers: &[FusedLayer<'_>],
    strips: &Strips<'_>,
    input: &[f32],
    threads: usize,
    scratch: &mut Vec<StripScratch>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let sizes = &strips.sizes[..];
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
        let strip = run_strip(layers, strips, input, first..first + out.len() / row_len, scratch, out);
        *result = result.and(strip);
    });
    states.into_iter().try_for_each(|(_, result)| result)
}

/// The layers that run in strips.
struct Strips<'a> {
    layers: &'a [FusedShape],
    /// The size of the input, then of each layer's output.
    sizes: Vec<Size>,
}

impl<'a> Strips<'a> {
    fn new(layers: &'a [FusedShape], size: Size) -> Result<Self, ShapeError> {
        let mut sizes = alloc::vec![size];
        let mut size = size;
        for layer in layers {
            let given = match layer {
                FusedShape::Conv { shape, .. } => [shape.batch, shape.height, shape.width, shape.in_channels],
                FusedShape::MaxPool(shape) => [shape.batch, shape.height, shape.width, shape.channels],
                FusedShape::Lrn => [1, size[0], size[1], size[2]],
            };
            for (found, expected) in given.into_iter().zip([1, size[0], size[1], size[2]]) {
                ShapeError::check("a layer's map", expected, found)?;
            }
            let output = match layer {
                FusedShape::Conv { shape, pool, .. } => {
                    let output = match pool {
                        Some(ceil_mode) => shape.pool_2x2(*ceil_mode).and_then(|pool| pool.output_size()),
                        None => shape.output_size(),
                    };
                    output.map(|(height, width)| [height, width, shape.out_channels])
                }
                FusedShape::MaxPool(shape) => {
                    shape.output_size().map(|(height, width)| [height, width, shape.channels])
                }
                FusedShape::Lrn => Some(size),
            };
            let none = ShapeError { what: "windows that fit the padded input", expected: 1, found: 0 };
            size = output.ok_or(none)?;
            sizes.push(size);
        }
        Ok(Self { layers, sizes })
    }

    /// Rows of output in a strip: as many as leave the maps between layers in the cache.
    fn rows_at_once(&self, caches: CacheInfo) -> usize {
        let height = self.sizes.last().map_or(0, |size| size[0]);
        let most = self.bytes_between_at_most(caches);
        let unit = self.row_unit();
        let longest = if self.is_around_depthwise() { height.div_ceil(DEPTHWISE_STRIPS) } else { height };
        let mut rows = unit;
        while rows < longest && self.bytes_between((rows + unit).min(height)) <= most {
            rows += unit;
        }
        rows
    }

    /// The most that the largest map between two layers may take.
    fn bytes_between_at_most(&self, caches: CacheInfo) -> usize {
        let inner = self.layers.split_last().map_or(self.layers, |(_, inner)| inner);
        if self.is_around_depthwise() {
            depthwise_strip_bytes(caches)
        } else if self.layers.first().is_some_and(FusedShape::is_tiled) {
            winograd_strip_bytes()
        } else if inner.iter().any(FusedShape::is_tiled) {
            // Where an inner map of Winograd's algorithm is cut changes its last bits.
            strip_bytes(CacheInfo::SERVER)
        } else {
            strip_bytes(caches)
        }
    }

    /// Bytes of the largest map between two layers, of which a strip with the first `rows` of output sees a part.
    fn bytes_between(&self, rows: usize) -> usize {
        let seen = self.rows_seen_by_all(0..rows);
        // The first layer's input is the caller's, and whole in memory.
        let between = seen.iter().zip(&self.sizes).skip(1);
        between.map(|(seen, size)| len_of(&[4, seen.cells.len(), size[1], size[2]])).max().unwrap_or(0)
    }

    /// Whether a depthwise layer is among them, and no layer computes tiles.
    fn is_around_depthwise(&self) -> bool {
        let is_depthwise = |layer: &FusedShape| {
            matches!(layer, FusedShape::Conv { algorithm: ConvAlgorithm::Depthwise, .. })
        };
        self.layers.iter().any(is_depthwise) && !self.layers.iter().any(FusedShape::is_tiled)
    }

    /// What a number of output rows is a multiple of.
    fn row_unit(&self) -> usize {
        match self.layers.last() {
            _ if self.is_around_depthwise() => DEPTHWISE_ROWS,
            Some(FusedShape::Conv { pool: None, .. }) => TILED_ROWS,
            _ => TILED_ROWS / 2,
        }
    }

    /// What each layer sees of its input for `rows` of the last one's output.
    fn rows_seen_by_all(&self, rows: Range<usize>) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(self.layers.len());
        let mut rows_out = rows;
        for (layer, size) in self.layers.iter().zip(&self.sizes).rev() {
            let rows_in = rows_seen(layer, *size, rows_out);
            rows_out = rows_in.cells.clone();
            seen.push(rows_in);
        }
        seen.reverse();
        seen
    }
}

/// What a layer's output `rows` see of its input, of size `size`.
fn rows_seen(layer: &FusedShape, [height, ..]: Size, rows: Range<usize>) -> Seen {
    match layer {
        FusedShape::Conv { shape, pool, .. } => {
            let total = shape.output_size().map_or(0, |(height, _)| height);
            let rows = match pool {
                Some(_) => 2 * rows.start..(2 * rows.end).min(total),
                None => rows,
            };
            shape.window().seen(0, height, total, rows)
        }
        FusedShape::MaxPool(shape) => {
            let total = shape.output_size().map_or(0, |(height, _)| height);
            shape.window().seen(0, height, total, rows)
        }
        FusedShape::Lrn => Seen { cells: rows, before: 0, after: 0 },
    }
}

/// Runs all layers on what `rows` of the output see.
fn run_strip(
    layers: &[FusedLayer<'_>],
    strips: &Strips<'_>,
    input: &[f32],
    rows: Range<usize>,
    scratch: &mut StripScratch,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (sizes, seen) = (&strips.sizes, strips.rows_seen_by_all(rows));
    let row_len = |size: &Size| len_of(&size[1..]);
    let StripScratch { maps: [map, next], conv } = scratch;
    // Not what they hold: so each serves the same maps in every strip.
    let (mut map, mut next) = (map, next);
    for (i, (layer, here)) in layers.iter().zip(&seen).enumerate() {
        let len = here.cells.len() * row_len(&sizes[i]);
        let from = match i {
            0 => &input[here.cells.start * row_len(&sizes[0])..][..len],
            _ => aligned(map, len),
        };
        let Some(after) = seen.get(i + 1) else { return run_layer(layer, sizes[i], here, from, conv, out) };
        let to = aligned(next, after.cells.len() * row_len(&sizes[i + 1]));
        run_layer(layer, sizes[i], here, from, conv, to)?;
        core::mem::swap(&mut map, &mut next);
    }
    Ok(())
}

/// Runs one layer on the rows that it sees, padding as much as it sees of that.
fn run_layer(
    layer: &FusedLayer<'_>,
    [_, _, channels]: Size,
    seen: &Seen,
    input: &[f32],
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let height = seen.cells.len();
    match layer {
        FusedLayer::Conv { prepared, shape, bias, relu, then, pool } => {
            let pads = [seen.before, shape.pads[1], seen.after, shape.pads[3]];
            let shape = &ConvShape { height, pads, ..shape.clone() };
            let args = ConvArgs { input, bias: *bias, relu: *relu, threads: 1 };
            match pool {
                Some(ceil_mode) => prepared.run_max_pooled(shape, *ceil_mode, args, scratch, out),
                None => {
                    let channels = ChannelRange::all(shape.out_channels);
                    prepared.run_then(shape, args, *then, channels, scratch, out)
                }
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
