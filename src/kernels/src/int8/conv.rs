//! Convolution of int8 values, as a product of matrices.
//!
//! 1. The input map is quantised once, into scratch; that of a 1x1 layer chunk by chunk, and its pixels are rows as they lie.
//! 2. For a chunk of output pixels windows are gathered as rows, with the zero point for padding.
//! 3. The rows of a chunk stay in L2 while they meet panel after panel.
//! 4. If the input has a value that is not finite, the outputs that it is part of become NaN.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Int8Isa, Int8Weights,
    gather::gather,
    not_finite::spread_not_finite,
    panels::Panels,
    product::{End, Product},
    quantization::Quantizer,
    quantized_map::{bytes_mut, cast, cast_mut, quantize_as_rows},
    rows::{RowValue, Source},
    tile::{Layout, Tile, Work, run_on},
};
use crate::{
    CacheInfo, ChannelRange, ConvArgs, ConvShape, ConvWindow, ShapeError,
    aligned::{AlignedVec, LINE, aligned},
    blocking::int8_rows_bytes,
    len_of,
    products::Products,
    sync_ptr::SyncPtr,
    tasks,
};

/// An ungrouped convolution layer with int8 weights, pre-packed for this CPU; runs on maps of any size, from any number of
/// threads at once.
#[derive(Clone, Debug)]
pub struct Int8Conv {
    caches: CacheInfo,
    /// Batch, height and width mean nothing.
    shape: ConvShape,
    panels: Panels,
}

impl Int8Conv {
    /// Pre-packs weights, `[Kh, Kw, Ci, Co]`, on that many threads. `None` for grouped layers.
    ///
    /// # Errors
    /// Weights or scales have another length, weights are not from -127 to 127, the input's scale is not a positive number, a
    /// sum has more than [`INT8_MAX_K`](super::INT8_MAX_K) products, or [`ConvShape::output_size`] is `None`.
    pub fn new(
        shape: &ConvShape,
        weights: Int8Weights<'_>,
        threads: usize,
    ) -> Result<Option<Self>, ShapeError> {
        Self::with(Int8Isa::detect(), shape, weights, threads)
    }

    /// [`Int8Conv::new`] on chosen instructions, for tests and benches. Those that the CPU lacks are run as
    /// [`Int8Isa::Scalar`].
    ///
    /// # Errors
    /// As [`Int8Conv::new`].
    pub fn with(
        isa: Int8Isa,
        shape: &ConvShape,
        weights: Int8Weights<'_>,
        threads: usize,
    ) -> Result<Option<Self>, ShapeError> {
        shape.check_layer(weights.values.len())?;
        let k = len_of(&[shape.kernel[0], shape.kernel[1], shape.in_channels]);
        weights.check(k, shape.out_channels)?;
        if shape.group != 1 {
            return Ok(None);
        }
        let isa = isa.or_scalar();
        let mut rows: Vec<_> = (0..k).map(Some).collect();
        rows.resize(k.next_multiple_of(Layout::of(isa).step), None);
        let panels = Panels::new(isa, weights, shape.out_channels, &rows, threads);
        Ok(Some(Self { caches: CacheInfo::detect(), shape: shape.clone(), panels }))
    }

    /// The layer with blocks for other caches.
    #[cfg(test)]
    pub(super) fn with_caches(self, caches: CacheInfo) -> Self {
        Self { caches, ..self }
    }

    /// Bytes of weights held here.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.panels.weight_bytes()
    }

    /// Bytes of weights of such a layer that is not made yet; saturates.
    #[must_use]
    pub fn packed_bytes(shape: &ConvShape) -> usize {
        let Layout { step, lanes, .. } = Layout::of(Int8Isa::detect());
        let k = len_of(&[shape.kernel[0], shape.kernel[1], shape.in_channels]);
        let whole = |len: usize, of: usize| len.checked_next_multiple_of(of).unwrap_or(usize::MAX);
        // Values, and a start and a factor for each channel.
        len_of(&[whole(k, step).saturating_add(8), whole(shape.out_channels, lanes)])
    }

    /// Values of scratch of such a layer on maps of the size of `shape` and on so many threads; saturates.
    #[must_use]
    pub fn scratch_len(shape: &ConvShape, threads: usize) -> usize {
        let layout = Layout::of(Int8Isa::detect());
        let k = len_of(&[shape.kernel[0], shape.kernel[1], shape.in_channels]);
        let k = k.checked_next_multiple_of(layout.step).unwrap_or(usize::MAX);
        let Room { map_len, rows_len, .. } = Room::new(CacheInfo::detect(), layout, k, shape, threads);
        // Where fewer tasks run than there are threads, their chunks may be a row longer.
        let row = f32s(len_of(&[k, layout.value_bytes]));
        map_len.saturating_add(len_of(&[threads, rows_len.saturating_add(row)])).saturating_add(LINE)
    }

    /// What gives a window of the map that the layer makes of one of `shape`; `None` where there is no such map. Sums are
    /// exact, so it has the bits of the whole map.
    #[must_use]
    pub fn window(&self, shape: &ConvShape, outputs: [Range<usize>; 2]) -> Option<ConvWindow> {
        ConvWindow::of(shape, 1, outputs)
    }

    /// How its products are computed.
    #[must_use]
    pub fn products(&self) -> Products {
        Products::Int8(self.panels.isa)
    }

    /// Convolves the quantised input, adds the bias and applies ReLU into `channels` of `out`; maps and `scratch` as those of
    /// [`PreparedConv::run_into_channels`](crate::PreparedConv::run_into_channels).
    ///
    /// # Errors
    /// As there.
    pub fn run_into_channels(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_>,
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [height, width] = shape.check_run(&self.shape, args, channels, out.len())?;
        if out.is_empty() || shape.out_channels == 0 {
            return Ok(());
        }
        let pixels = shape.batch * height * width;
        let tasks = tasks::task_count(args.threads);
        let Room { chunk, map_len, rows_len } =
            Room::new(self.caches, self.panels.layout, self.panels.k, shape, tasks);
        let mut scratch = aligned(scratch, map_len.saturating_add(len_of(&[tasks, rows_len])));
        let map = scratch.split_off_mut(..map_len).unwrap_or_default();
        let buffers = |_| Buffers {
            rows: scratch.split_off_mut(..rows_len).unwrap_or_default(),
            panel: AlignedVec::default(),
            finite: true,
        };
        let mut buffers: Vec<Buffers<'_>> = (0..tasks).map(buffers).collect();

        let run = Run { conv: self, shape, size: [height, width], args, channels };
        let mut finite = true;
        if !shape.is_pointwise() {
            let value_bytes = self.panels.layout.value_bytes;
            let bytes = &mut bytes_mut(map)[..args.input.len() * value_bytes];
            let (isa, input) = (self.panels.isa, self.panels.input);
            finite = quantize_as_rows(isa, input, args.input, bytes, value_bytes, args.threads);
        }
        let (map, shared_out) = (&*map, SyncPtr::new(out));
        tasks::for_each_index(&mut buffers, pixels.div_ceil(chunk), |buffers, i| {
            let (first, count) = (i * chunk, chunk.min(pixels - i * chunk));
            run_on(self.panels.isa, Chunk { run: &run, map, first, count, buffers, out: shared_out });
        });
        if !finite || buffers.iter().any(|buffers| !buffers.finite) {
            spread_not_finite(shape, [height, width], args.input, channels, out);
        }
        Ok(())
    }
}

/// f32 of whole cache lines that are so many bytes.
fn f32s(bytes: usize) -> usize {
    bytes.div_ceil(64).saturating_mul(LINE)
}

/// Output pixels of a chunk, at least, however small the caches.
const LEAST_CHUNK: usize = 8;

/// What a layer of `K` inputs to a sum keeps in scratch.
struct Room {
    /// Output pixels that a task computes at a time.
    chunk: usize,
    /// f32 that the quantised map takes.
    map_len: usize,
    /// f32 that the rows of a chunk take.
    rows_len: usize,
}

impl Room {
    fn new(caches: CacheInfo, layout: Layout, k: usize, shape: &ConvShape, tasks: usize) -> Self {
        let (height, width) = shape.output_size().unwrap_or((0, 0));
        let pixels = len_of(&[shape.batch, height, width]);
        // Each task has as many chunks.
        let most = int8_rows_bytes(caches) / len_of(&[k, layout.value_bytes]).max(1);
        let chunks =
            pixels.div_ceil(most.max(LEAST_CHUNK)).checked_next_multiple_of(tasks).unwrap_or(usize::MAX);
        let chunk = pixels.div_ceil(chunks.max(1)).max(1);
        let input = len_of(&[shape.batch, shape.height, shape.width, shape.in_channels]);
        let map_bytes = if shape.is_pointwise() { 0 } else { len_of(&[input, layout.value_bytes]) };
        Self { chunk, map_len: f32s(map_bytes), rows_len: f32s(len_of(&[chunk, k, layout.value_bytes])) }
    }
}

/// A layer and what it runs on, checked.
struct Run<'a> {
    conv: &'a Int8Conv,
    shape: &'a ConvShape,
    /// Rows and columns of the output.
    size: [usize; 2],
    args: ConvArgs<'a>,
    channels: ChannelRange,
}

/// What a task keeps between chunks.
struct Buffers<'a> {
    /// Room for a chunk's rows.
    rows: &'a mut [f32],
    /// A panel of weights.
    panel: AlignedVec<u8>,
    /// Whether all values that were quantised for rows are.
    finite: bool,
}

/// Some output pixels, counted through `[N, Ho, Wo]`.
struct Chunk<'a, 'b> {
    run: &'a Run<'a>,
    /// The quantised input, empty where pixels are rows.
    map: &'a [f32],
    first: usize,
    count: usize,
    buffers: &'a mut Buffers<'b>,
    out: SyncPtr,
}

impl Work for Chunk<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<T: Tile>(self) {
        let Self { run, map, first, count, buffers: Buffers { rows, panel, finite }, out } = self;
        let Run { conv, shape, size, args, channels } = run;
        let (panels, k) = (&conv.panels, conv.panels.k);
        let quantizer = Quantizer::new(panels.input);
        let rows = &mut cast_mut::<T::Value>(bytes_mut(rows))[..count * k];
        let window = shape.kernel[0] * shape.kernel[1] * shape.in_channels;
        if window < k {
            // Their weights are 0.
            rows.chunks_exact_mut(k).for_each(|row| row[window..].fill(T::Value::of(0)));
        }
        if shape.is_pointwise() {
            let input = &args.input[first * window..][..count * window];
            if window == k {
                *finite &= f32::convert(quantizer, input, rows);
            } else {
                let pixels = input.chunks_exact(window.max(1));
                pixels
                    .zip(rows.chunks_exact_mut(k))
                    .for_each(|(from, to)| *finite &= f32::convert(quantizer, from, &mut to[..window]));
            }
        } else if k > 0 {
            let zero = T::Value::of(u32::from(quantizer.zero_point));
            gather(shape, *size, cast::<T::Value>(map), zero, first, k, rows);
        }
        let product = Product {
            panels,
            first_k: 0,
            k,
            first: true,
            end: Some(End { bias: args.bias, relu: args.relu }),
            out: out.offset(first * channels.stride + channels.first).as_mut_ptr(),
            out_stride: channels.stride,
        };
        // SAFETY: the CPU has the instructions, says the caller; `rows` are `k` values of each pixel; `out` was seen to have all
        // pixels and channels, and chunks have different pixels.
        unsafe { product.run::<T>(rows.as_ptr(), k, count, 0..panels.count(), panel) };
    }
}
