//! Convolution by the definition on bf16 values.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Bf16Isa, Map, MapMut,
    engine::Engine,
    layout::{BLOCK, Line, Panel, Rows, STEP_LINES, Sums, Target},
    pack::pack,
    padded::{PaddedRows, Steps, row_cost},
};
use crate::{
    CacheInfo, ChannelRange, ConvArgs, ConvShape, ConvWindow, PoolShape, ShapeError,
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

    /// Bytes of weights of such a layer that is not made yet, at most; saturates.
    #[must_use]
    pub fn packed_bytes(shape: &ConvShape) -> usize {
        let whole = |len: usize| len.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
        let [height, width] = shape.kernel;
        len_of(&[size_of::<u16>(), height, width, whole(shape.in_channels), whole(shape.out_channels)])
    }

    /// What gives a window of the map that the layer makes of one of `shape`, with the bits of the whole map; `None` where
    /// there is no such map.
    #[must_use]
    pub fn window(&self, shape: &ConvShape, outputs: [Range<usize>; 2]) -> Option<ConvWindow> {
        ConvWindow::of(shape, 1, outputs)
    }

    /// Values of scratch on so many threads, about: more where a single row takes more than a chunk should.
    #[must_use]
    pub fn scratch_len(threads: usize) -> usize {
        len_of(&[threads, bf16_chunk_bytes(CacheInfo::detect()) / size_of::<f32>()])
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
        let (out_height, out_width) = shape.check_same_layer(&self.shape)?;
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
        out_size: [usize; 2],
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: MapMut<'_>,
    ) -> Result<(), ShapeError> {
        let Self { conv, shape, args, width, ref pool } = self;
        let [out_height, out_width] = out_size;
        ShapeError::check("out", len_of(&[shape.batch, out_height, out_width, channels.stride]), out.len())?;
        if out.len() == 0 || shape.out_channels == 0 {
            return Ok(());
        }
        let tasks = tasks::task_count(args.threads);
        let out_rows = self.out_rows_at_once(out_height, out.value_bytes(), tasks);
        let padded = PaddedRows::new(&conv.steps, shape, out_rows * self.rows_each(), width);
        let mut buffers = self.buffers(&padded, out_rows, out_width, tasks, scratch);
        let biases = biases(args.bias, shape.out_channels);

        let image_len = out_height * out_width * channels.stride;
        let chunks = out.chunks(image_len, out_rows * out_width * channels.stride);
        tasks::for_each_item(&mut buffers, chunks, |buffers, (image, i, out)| {
            let Some(engine) = Engine::new(conv.isa) else { return };
            let first = i * out_rows * self.rows_each();
            let rows = out_rows.min(out_height - i * out_rows) * self.rows_each();
            let rows = rows.min(pool.as_ref().map_or(usize::MAX, |pool| pool.height - first));
            let Buffers { values, convolved, pooled } = buffers;
            padded.fill(&engine, shape, args.input, image, first, rows, values);
            let chunk =
                Chunk { conv, padded: &padded, values, rows, width, biases: &biases, relu: args.relu };
            match pool {
                None => chunk.run(&engine, channels, out),
                Some(pool) => chunk.run_max_pooled(&engine, pool, convolved, pooled, out),
            }
        });
        Ok(())
    }

    /// Rows of the convolved map for each of the output.
    fn rows_each(&self) -> usize {
        if self.pool.is_some() { 2 } else { 1 }
    }

    /// Output rows of a chunk: they and what they see stay in the second-level cache, and each task has as many.
    fn out_rows_at_once(&self, out_height: usize, value_bytes: usize, tasks: usize) -> usize {
        let value_bytes = if self.pool.is_some() { size_of::<f32>() } else { value_bytes };
        let (fixed, row) = row_cost(self.shape);
        let convolved = len_of(&[self.width, self.shape.out_channels, value_bytes]);
        let row = row.saturating_mul(2).saturating_add(convolved).saturating_mul(self.rows_each());
        let most = bf16_chunk_bytes(self.conv.caches).saturating_sub(2 * fixed) / row.max(1);
        let chunks = out_height.div_ceil(most.clamp(1, out_height)).next_multiple_of(tasks);
        out_height.div_ceil(chunks).max(1)
    }

    /// Those of each task, for chunks of `out_rows` output rows.
    fn buffers<'a>(
        &self,
        padded: &PaddedRows,
        out_rows: usize,
        out_width: usize,
        tasks: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Vec<Buffers<'a>> {
        let co = self.shape.out_channels;
        let (convolved_len, pooled_len) = match self.pool {
            Some(_) => {
                (len_of(&[out_rows * self.rows_each(), self.width, co]), len_of(&[out_rows, out_width, co]))
            }
            None => (0, 0),
        };
        // Two bf16 values in each f32 of scratch.
        let lens = [padded.len.div_ceil(2), convolved_len, pooled_len].map(|len| len.next_multiple_of(LINE));
        let mut scratch = aligned(scratch, len_of(&[tasks, lens.iter().sum()]));
        let buffers = (0..tasks).map(|_| {
            let [values, convolved, pooled] =
                lens.map(|len| scratch.split_off_mut(..len).unwrap_or_default());
            // SAFETY: each f32 is two u16, of which every pattern is valid.
            let values = unsafe { values.align_to_mut::<u16>().1 };
            Buffers { values, convolved, pooled }
        });
        buffers.collect()
    }
}

/// Room for one chunk at a time.
struct Buffers<'a> {
    /// The padded input rows.
    values: &'a mut [u16],
    /// With pooling: the convolved rows, and the pooled ones before they are rounded.
    convolved: &'a mut [f32],
    pooled: &'a mut [f32],
}

/// The bias of each panel, zeros where there is none.
fn biases(bias: Option<&[f32]>, channels: usize) -> Vec<[f32; BLOCK]> {
    let mut biases = alloc::vec![[0.0; BLOCK]; channels.div_ceil(BLOCK)];
    for (i, &value) in bias.into_iter().flatten().enumerate() {
        biases[i / BLOCK][i % BLOCK] = value;
    }
    biases
}

/// A few rows of the convolved map: products of their windows with all panels, in blocks of 32 x 32 sums.
///
/// The windows of a block are evenly spaced in a line. With strides of 1 a chunk is one line, in which a row takes as many
/// windows as a padded input row has cells:
///
/// ```text
///   row 0   p p p p p p x x       p: the window of an output pixel
///   row 1   p p p p p p x x       x: a window that straddles two rows, whose sums are not used
///   row 2   p p p p p p
///
///   the line in blocks, here of 10   | p p p p p p x x p p | p p p p x x p p p p | p p . . |
///   runs of pixels in each             0 .. 5          8 9   0 .. 3      6 .. 9    0 1
/// ```
///
/// With other strides each row is a line.
struct Chunk<'a> {
    conv: &'a Bf16Conv,
    padded: &'a PaddedRows,
    values: &'a [u16],
    rows: usize,
    width: usize,
    biases: &'a [[f32; BLOCK]],
    relu: bool,
}

/// 32 windows that follow one another in a line.
#[derive(Clone)]
struct WindowBlock {
    /// The output rows in the line.
    rows: Range<usize>,
    /// The first of them, counted through the line.
    first: usize,
}

/// Sums of a block that belong to neighbouring pixels of one row.
struct Run {
    /// The first row of sums.
    first: usize,
    /// Its pixel, counted through the chunk.
    pixel: usize,
    count: usize,
}

impl Chunk<'_> {
    /// Convolves into `channels` of `out`, the chunk's part of the map.
    fn run(&self, engine: &Engine, channels: ChannelRange, mut out: MapMut<'_>) {
        self.check(channels, &out);
        let target = out.target();
        let mut sums = Sums::ZERO;
        let mut block = |windows: &WindowBlock, panel: usize| {
            // SAFETY: `check` has passed, the windows and the panel are of this chunk, and `target` is all of `out`.
            unsafe {
                self.multiply(engine, windows, panel, &mut sums);
                self.finish(engine, windows, panel, &mut sums, channels, target);
            }
        };
        if self.conv.weight_bytes() <= bf16_weight_bytes(self.conv.caches) {
            // All weights stay in the cache, and each window comes once.
            for windows in self.blocks() {
                (0..self.panels()).for_each(|panel| block(&windows, panel));
            }
        } else {
            // One panel stays in the cache, and comes once.
            for panel in 0..self.panels() {
                self.blocks().for_each(|windows| block(&windows, panel));
            }
        }
    }

    /// [`Chunk::run`] into `convolved`, then max pooling into `out`.
    fn run_max_pooled(
        &self,
        engine: &Engine,
        pool: &PoolShape,
        convolved: &mut [f32],
        pooled: &mut [f32],
        out: MapMut<'_>,
    ) {
        let convolved = &mut convolved[..self.rows * self.width * pool.channels];
        self.run(engine, ChannelRange::all(pool.channels), MapMut::F32(convolved));
        // A last row by itself is a window of one row.
        let pool = PoolShape { height: self.rows, kernel: [self.rows.min(2), 2], ..pool.clone() };
        let result = match out {
            MapMut::F32(out) => max_pool_into(&pool, convolved, 1, out),
            MapMut::Bf16(out) => {
                let pooled = &mut pooled[..out.len()];
                // The largest of rounded values is the largest, rounded.
                max_pool_into(&pool, convolved, 1, pooled).map(|()| engine.round_planes(pooled, 1, 0, out))
            }
        };
        debug_assert_eq!(result, Ok(()), "the shapes were checked");
    }

    fn panels(&self) -> usize {
        self.biases.len()
    }

    fn panel_lines(&self) -> usize {
        self.padded.steps.len() * STEP_LINES
    }

    /// What `multiply` and `finish` rely on.
    fn check(&self, channels: ChannelRange, out: &MapMut<'_>) {
        assert!(self.values.len() >= self.padded.len);
        assert!(self.conv.panels.len() == self.panels() * self.panel_lines());
        assert!(out.len() == self.rows * self.width * channels.stride);
        assert!(channels.first + self.conv.shape.out_channels <= channels.stride);
    }

    /// Windows from the first of a row to the first of the next in a line. Where each row is a line there is no next.
    fn pitch(&self) -> usize {
        self.padded.pitch.unwrap_or(self.width)
    }

    /// All blocks of windows.
    fn blocks(&self) -> impl Iterator<Item = WindowBlock> {
        let line_rows = if self.padded.pitch.is_some() { self.rows } else { 1 };
        (0..self.rows).step_by(line_rows.max(1)).flat_map(move |y| {
            let line_len = (line_rows - 1) * self.pitch() + self.width;
            (0..line_len).step_by(BLOCK).map(move |first| WindowBlock { rows: y..y + line_rows, first })
        })
    }

    /// The output pixels among the windows of a block.
    fn runs(&self, WindowBlock { rows, first }: &WindowBlock) -> impl Iterator<Item = Run> {
        let (first, end, pitch) = (*first, first + BLOCK, self.pitch());
        let rows = rows.clone().enumerate().skip(first / pitch);
        let runs = rows.map_while(move |(i, y)| {
            // The row's pixels are windows `start..start + width` of the line.
            let start = i * pitch;
            let from = start.max(first);
            let count = (start + self.width).min(end).saturating_sub(from);
            (start < end).then_some(Run { first: from - first, pixel: y * self.width + from - start, count })
        });
        runs.filter(|run| run.count > 0)
    }

    /// The sums of a block: its windows times a panel.
    ///
    /// # Safety
    /// [`Chunk::check`] has passed, and the windows and the panel are of this chunk.
    unsafe fn multiply(&self, engine: &Engine, windows: &WindowBlock, panel: usize, sums: &mut Sums) {
        let PaddedRows { row_stride, pixel_stride, ref steps, .. } = *self.padded;
        // SAFETY: the padded rows are as long as the last value of the last window of the last block, and `values` was seen
        // to be; a panel has its lines for every step.
        unsafe {
            let data =
                self.values.as_ptr().add(windows.rows.start * row_stride + windows.first * pixel_stride);
            let rows = Rows { data, stride: pixel_stride, steps, lo: None, count: BLOCK };
            let lines = self.conv.panels.as_ptr().add(panel * self.panel_lines());
            engine.multiply(rows, Panel::cached(lines), sums.as_mut_ptr(), BLOCK, true);
        }
    }

    /// A block's sums with bias and ReLU, to the pixels that they belong to.
    ///
    /// # Safety
    /// As [`Chunk::multiply`]; `target` is that of the `out` that was checked.
    unsafe fn finish(
        &self,
        engine: &Engine,
        windows: &WindowBlock,
        panel: usize,
        sums: &mut Sums,
        channels: ChannelRange,
        target: Target,
    ) {
        let first = panel * BLOCK;
        let (bias, count) = (&self.biases[panel], BLOCK.min(self.conv.shape.out_channels - first));
        for run in self.runs(windows) {
            // SAFETY: `target` has all channels of the pixels that `runs` gives, which are those of the chunk.
            unsafe {
                let sums = sums.as_mut_ptr().add(run.first * BLOCK);
                let to = target.add(run.pixel * channels.stride + channels.first + first);
                engine.finish(sums, run.count, bias, self.relu, count, to, channels.stride);
            }
        }
    }
}
