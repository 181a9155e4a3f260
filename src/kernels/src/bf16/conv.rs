//! Convolution by the definition on bf16 values.

use alloc::vec::Vec;

use super::{
    Bf16Isa, Map, MapMut,
    engine::Engine,
    layout::{BLOCK, Line, Panel, Rows, STEP_LINES, Sums},
    pack::pack,
    padded::{PaddedRows, Steps, row_cost},
};
use crate::{
    CacheInfo, ChannelRange, ConvArgs, ConvShape, PoolShape, ShapeError,
    aligned::{LINE, aligned},
    blocking::{bf16_chunk_bytes, bf16_weight_bytes},
    gemm::check_bias,
    len_of, max_pool_into, tasks,
};

/// An ungrouped convolution layer with bf16 weights, pre-packed for this CPU; runs on maps of any size, from any number of
/// threads at once.
#[derive(Clone, Debug)]
pub struct Bf16Conv {
    isa: Bf16Isa,
    caches: CacheInfo,
    /// Batch, height and width mean nothing.
    shape: ConvShape,
    steps: Steps,
    /// Panels of 32 output channels.
    panels: Vec<Line>,
}

impl Bf16Conv {
    /// Pre-packs `weights`, `[Kh, Kw, Ci, Co]`, the bits of bf16 values, on that many threads. `None` where they cannot be used: on a CPU
    /// without instructions for bf16, and for grouped layers and those without input channels.
    ///
    /// # Errors
    /// `weights` has another length, or [`ConvShape::output_size`] is `None`.
    pub fn new(shape: &ConvShape, weights: &[u16], threads: usize) -> Result<Option<Self>, ShapeError> {
        Bf16Isa::detect().map_or(Ok(None), |isa| Self::with(isa, shape, weights, threads))
    }

    /// [`Bf16Conv::new`] on chosen instructions, for tests and benches.
    ///
    /// # Errors
    /// As [`Bf16Conv::new`].
    pub fn with(
        isa: Bf16Isa,
        shape: &ConvShape,
        weights: &[u16],
        threads: usize,
    ) -> Result<Option<Self>, ShapeError> {
        shape.check_layer(weights.len())?;
        if shape.group != 1
            || shape.in_channels == 0
            || !Bf16Isa::available().any(|available| available == isa)
        {
            return Ok(None);
        }
        let steps = Steps::new(shape);
        let row = |step, value| steps.weight(step, value);
        let panels = pack(weights, shape.out_channels, steps.len(), threads, row);
        Ok(Some(Self { isa, caches: CacheInfo::detect(), shape: shape.clone(), steps, panels }))
    }

    /// The layer with blocks for other caches.
    #[cfg(test)]
    pub(super) fn with_caches(self, caches: CacheInfo) -> Self {
        Self { caches, ..self }
    }

    /// Bytes of weights held here.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// Convolves the input, rounded to bf16, adds the bias and applies ReLU, all in f32, into `channels` of `out`; maps
    /// and `scratch` as those of [`PreparedConv::run_into_channels`](crate::PreparedConv::run_into_channels).
    ///
    /// # Errors
    /// As there.
    pub fn run_into_channels(
        &self,
        shape: &ConvShape,
        args: ConvArgs<'_, Map<'_>>,
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: MapMut<'_>,
    ) -> Result<(), ShapeError> {
        let [height, width] = self.check(shape, args)?;
        channels.check(shape.out_channels)?;
        let layer = Layer { conv: self, shape, args, width, pool: None };
        layer.run([height, width], channels, scratch, out)
    }

    /// As [`Bf16Conv::run_into_channels`] into all channels, with max pooling as that of
    /// [`PreparedConv::run_max_pooled`](crate::PreparedConv::run_max_pooled).
    ///
    /// # Errors
    /// As there.
    pub fn run_max_pooled(
        &self,
        shape: &ConvShape,
        ceil_mode: bool,
        args: ConvArgs<'_, Map<'_>>,
        scratch: &mut Vec<f32>,
        out: MapMut<'_>,
    ) -> Result<(), ShapeError> {
        let [height, width] = self.check(shape, args)?;
        let channels = shape.out_channels;
        let pool = PoolShape {
            batch: 1,
            height,
            width,
            channels,
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pads: [0; 4],
            ceil_mode,
        };
        let Some((pooled_height, pooled_width)) = pool.output_size() else {
            return Err(ShapeError { what: "windows that fit the convolved map", expected: 1, found: 0 });
        };
        let layer = Layer { conv: self, shape, args, width, pool: Some(pool) };
        layer.run([pooled_height, pooled_width], ChannelRange::all(channels), scratch, out)
    }

    /// Checks everything but the output, and gives its rows and columns before any pooling.
    fn check(&self, shape: &ConvShape, args: ConvArgs<'_, Map<'_>>) -> Result<[usize; 2], ShapeError> {
        let ConvShape { batch, height, width, .. } = *shape;
        if *shape != (ConvShape { batch, height, width, ..self.shape.clone() }) {
            return Err(ShapeError { what: "the layer that was prepared", expected: 1, found: 0 });
        }
        let (out_height, out_width) = shape.check_layer(shape.weight_len())?;
        check_bias(args.bias, shape.out_channels)?;
        ShapeError::check("input", len_of(&[batch, height, width, shape.in_channels]), args.input.len())?;
        Ok([out_height, out_width])
    }
}

/// A layer and what it runs on.
struct Layer<'a> {
    conv: &'a Bf16Conv,
    shape: &'a ConvShape,
    args: ConvArgs<'a, Map<'a>>,
    /// Columns of the convolved map.
    width: usize,
    /// The pooling of one image, in batches of 1.
    pool: Option<PoolShape>,
}

impl Layer<'_> {
    fn run(
        self,
        [out_height, out_width]: [usize; 2],
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: MapMut<'_>,
    ) -> Result<(), ShapeError> {
        let Self { conv, shape, args, width, ref pool } = self;
        let ConvArgs { input, bias, relu, threads } = args;
        ShapeError::check("out", len_of(&[shape.batch, out_height, out_width, channels.stride]), out.len())?;
        if out.len() == 0 || shape.out_channels == 0 {
            return Ok(());
        }
        let tasks = tasks::task_count(threads);
        let value_bytes = if pool.is_some() { 4 } else { out.value_bytes() };
        // Of the convolved map there are two rows for each of the output's when it is pooled.
        let each = if pool.is_some() { 2 } else { 1 };
        let rows_at_once =
            rows_at_once(shape, [out_height, width], each, value_bytes, tasks, bf16_chunk_bytes(conv.caches));
        let padded = PaddedRows::new(&conv.steps, shape, rows_at_once * each, width);
        let whole_len =
            if pool.is_some() { len_of(&[rows_at_once * each, width, shape.out_channels]) } else { 0 };
        let pooled_len =
            if pool.is_some() { len_of(&[rows_at_once, out_width, shape.out_channels]) } else { 0 };
        let biases = biases(bias, shape.out_channels);

        // Two bf16 values in each f32 of scratch.
        let lens = [padded.len.div_ceil(2), whole_len, pooled_len].map(|len| len.next_multiple_of(LINE));
        let mut scratch = aligned(scratch, len_of(&[tasks, lens.iter().sum()]));
        let mut parts: Vec<[&mut [f32]; 3]> =
            (0..tasks).map(|_| lens.map(|len| scratch.split_off_mut(..len).unwrap_or_default())).collect();
        let rows_len = rows_at_once * out_width * channels.stride;
        let chunks = out.chunks(out_height * out_width * channels.stride, rows_len);
        tasks::for_each_item(&mut parts, chunks, |[values, whole, pooled], (image, i, out)| {
            let Some(engine) = Engine::new(conv.isa) else { return };
            let out_rows = rows_at_once.min(out_height - i * rows_at_once);
            let first = i * rows_at_once * each;
            let rows = (out_rows * each).min(pool.as_ref().map_or(usize::MAX, |pool| pool.height - first));
            // SAFETY: each f32 is two u16, of which every pattern is valid.
            let values = unsafe { values.align_to_mut::<u16>().1 };
            padded.fill(&engine, shape, input, image, first, rows, values);
            let chunk = Chunk { conv, padded: &padded, values, rows, width, biases: &biases, relu };
            let Some(pool) = pool else {
                chunk.run(&engine, channels, out);
                return;
            };
            let whole = &mut whole[..rows * width * shape.out_channels];
            chunk.run(&engine, channels, MapMut::F32(whole));
            // A last row by itself is a window of one row.
            let pool = PoolShape { height: rows, kernel: [rows.min(2), 2], ..pool.clone() };
            let pooled = &mut pooled[..out.len()];
            let result = match out {
                MapMut::F32(out) => max_pool_into(&pool, whole, 1, out),
                // The largest of rounded values is the largest, rounded.
                MapMut::Bf16(out) => {
                    max_pool_into(&pool, whole, 1, pooled).map(|()| engine.round_planes(pooled, 1, 0, out))
                }
            };
            debug_assert_eq!(result, Ok(()), "the shapes were checked");
        });
        Ok(())
    }
}

/// Output rows of a chunk, each of which takes `each` of the convolved map: they and what they see stay in the
/// second-level cache, and each task has as many.
fn rows_at_once(
    shape: &ConvShape,
    [out_height, width]: [usize; 2],
    each: usize,
    value_bytes: usize,
    tasks: usize,
    chunk_bytes: usize,
) -> usize {
    let (fixed, row) = row_cost(shape);
    let row = row.saturating_mul(2).saturating_add(len_of(&[width, shape.out_channels, value_bytes]));
    let most = chunk_bytes.saturating_sub(2 * fixed) / row.saturating_mul(each).max(1);
    let chunks = out_height.div_ceil(most.clamp(1, out_height)).next_multiple_of(tasks);
    out_height.div_ceil(chunks).max(1)
}

/// The bias of each panel, zeros where there is none.
fn biases(bias: Option<&[f32]>, channels: usize) -> Vec<[f32; BLOCK]> {
    let mut biases = alloc::vec![[0.0; BLOCK]; channels.div_ceil(BLOCK)];
    for (i, &value) in bias.into_iter().flatten().enumerate() {
        biases[i / BLOCK][i % BLOCK] = value;
    }
    biases
}

/// A few rows of the convolved map.
struct Chunk<'a> {
    conv: &'a Bf16Conv,
    padded: &'a PaddedRows,
    values: &'a [u16],
    rows: usize,
    width: usize,
    biases: &'a [[f32; BLOCK]],
    relu: bool,
}

impl Chunk<'_> {
    fn run(&self, engine: &Engine, channels: ChannelRange, mut out: MapMut<'_>) {
        let (co, steps) = (self.conv.shape.out_channels, self.padded.steps.len());
        // As one long line of pixels, or line by line.
        let (lines, pixels) = match self.padded.pitch {
            Some(pitch) => (1, (self.rows - 1) * pitch + self.width),
            None => (self.rows, self.width),
        };
        let panel_lines = steps * STEP_LINES;
        assert!(
            self.values.len() >= self.padded.len && out.len() == self.rows * self.width * channels.stride
        );
        assert!(channels.first + co <= channels.stride);
        assert!(self.conv.panels.len() == self.biases.len() * panel_lines);
        let target = out.target();
        let mut sums = Sums::ZERO;
        let mut block = |line: usize, pixel: usize, panel: usize| {
            let first = panel * BLOCK;
            let from = line * self.padded.row_stride + pixel * self.padded.pixel_stride;
            let sums = sums.0.as_flattened_mut().as_mut_ptr();
            // SAFETY: the padded rows were made as long as the last value of the last window of the last block, and `values` was
            // seen to be; a panel has its lines for every step. `target` has all channels of the pixels that `runs`
            // gives, which are those of the chunk.
            unsafe {
                let data = self.values.as_ptr().add(from);
                let (stride, steps) = (self.padded.pixel_stride, &*self.padded.steps);
                let rows = Rows { data, stride, steps, lo: None, count: BLOCK };
                let lines = self.conv.panels.as_ptr().add(panel * panel_lines);
                engine.multiply(rows, Panel::cached(lines), sums, BLOCK, true);
                for (row, to, count) in self.runs(line, pixel) {
                    let (sums, target) =
                        (sums.add(row * BLOCK), target.add(to * channels.stride + channels.first + first));
                    let (bias, count_out) = (&self.biases[panel], BLOCK.min(co - first));
                    engine.finish(sums, count, bias, self.relu, count_out, target, channels.stride);
                }
            }
        };
        let blocks =
            || (0..lines).flat_map(|line| (0..pixels).step_by(BLOCK).map(move |pixel| (line, pixel)));
        let panels = 0..self.biases.len();
        if self.conv.weight_bytes() <= bf16_weight_bytes(self.conv.caches) {
            blocks().for_each(|(line, pixel)| panels.clone().for_each(|panel| block(line, pixel, panel)));
        } else {
            panels.for_each(|panel| blocks().for_each(|(line, pixel)| block(line, pixel, panel)));
        }
    }

    /// The output pixels of the block that begins with `pixel` of `line`: from which of its rows on, to which pixel on,
    /// and how many.
    fn runs(&self, line: usize, pixel: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let pitch = self.padded.pitch.unwrap_or(usize::MAX);
        let (mut y, mut x, mut row) = (line + pixel / pitch, pixel % pitch, 0);
        core::iter::from_fn(move || {
            while row < BLOCK && y < self.rows {
                let count = (pitch - x).min(BLOCK - row);
                let valid = count.min(self.width.saturating_sub(x));
                let run = (row, y * self.width + x, valid);
                row += count;
                x += count;
                if x == pitch {
                    (y, x) = (y + 1, 0);
                }
                if valid > 0 {
                    return Some(run);
                }
            }
            None
        })
    }
}
