//! Convolution by the definition on bf16 values.

use alloc::vec::Vec;

use super::{
    Bf16Isa, Map, MapMut,
    block::{BLOCK, Engine, Line, Rows, STEP_LINES, Sums, pack},
    slab::{Slab, Steps, row_cost},
};
use crate::{ConvShape, ShapeError, aligned::aligned, gemm::check_bias, len_of, tasks};

/// Most bytes of a slab and the output made of it, about: half of a second-level cache of 2 MiB, beside weights.
const CHUNK_BYTES: usize = 1 << 20;
/// Weights up to this many bytes stay in the second-level cache: each block of pixels meets all of them before the next.
const WEIGHT_BYTES: usize = 3 << 18;

/// An ungrouped convolution layer with bf16 weights, laid out for this CPU; runs on maps of any size, from any number of
/// threads at once.
#[derive(Clone, Debug)]
pub struct Bf16Conv {
    isa: Bf16Isa,
    /// Batch, height and width mean nothing.
    shape: ConvShape,
    steps: Steps,
    /// Panels of 32 output channels.
    panels: Vec<Line>,
}

impl Bf16Conv {
    /// Lays out `weights`, `[Kh, Kw, Ci, Co]`, the bits of bf16 values. `None` where they cannot be used: on a CPU
    /// without instructions for bf16, and for grouped layers and those without input channels.
    ///
    /// # Errors
    /// `weights` has another length, or [`ConvShape::output_size`] is `None`.
    pub fn new(shape: &ConvShape, weights: &[u16]) -> Result<Option<Self>, ShapeError> {
        Bf16Isa::detect().map_or(Ok(None), |isa| Self::with(isa, shape, weights))
    }

    /// [`Bf16Conv::new`] on chosen instructions, for tests and benches.
    ///
    /// # Errors
    /// As [`Bf16Conv::new`].
    pub fn with(isa: Bf16Isa, shape: &ConvShape, weights: &[u16]) -> Result<Option<Self>, ShapeError> {
        shape.check_layer(weights.len())?;
        if shape.group != 1 || shape.in_channels == 0 || !Bf16Isa::available().any(|available| available == isa) {
            return Ok(None);
        }
        let (steps, co) = (Steps::new(shape), shape.out_channels);
        let panels = pack(steps.len(), co, |step, value, channel| {
            steps.weight(step, value).map_or(0, |weight| weights[weight * co + channel])
        });
        Ok(Some(Self { isa, shape: shape.clone(), steps, panels }))
    }

    /// Bytes of weights held here.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// Convolves `input`, rounded to bf16, adds `bias` and applies ReLU if `relu`, all in f32, into `out`; maps and
    /// `scratch` as those of [`conv2d_into`](crate::conv2d_into).
    ///
    /// # Errors
    /// As `conv2d_into`, or `shape` is another layer's.
    #[expect(clippy::too_many_arguments, reason = "a layer is its operands and their shape")]
    pub fn run(
        &self,
        shape: &ConvShape,
        input: Map<'_>,
        bias: Option<&[f32]>,
        relu: bool,
        threads: usize,
        scratch: &mut Vec<f32>,
        out: MapMut<'_>,
    ) -> Result<(), ShapeError> {
        let ConvShape { batch, height, width, .. } = *shape;
        if *shape != (ConvShape { batch, height, width, ..self.shape.clone() }) {
            return Err(ShapeError { what: "the layer that was prepared", expected: 1, found: 0 });
        }
        let (out_height, out_width) = shape.check_layer(shape.weight_len())?;
        check_bias(bias, shape.out_channels)?;
        ShapeError::check("input", len_of(&[batch, height, width, shape.in_channels]), input.len())?;
        ShapeError::check("out", len_of(&[batch, out_height, out_width, shape.out_channels]), out.len())?;
        if out.len() == 0 {
            return Ok(());
        }
        let tasks = tasks::task_count(threads);
        let rows_at_once = rows_at_once(shape, [out_height, out_width], out.value_bytes(), tasks);
        let biases = biases(bias, shape.out_channels);
        let slab = Slab::new(&self.steps, shape, rows_at_once, out_width);
        // Two bf16 values in each f32 of scratch.
        let slab_len = slab.len.div_ceil(2).next_multiple_of(LINE_F32);
        let mut scratch = aligned(scratch, len_of(&[tasks, slab_len]));
        let mut slabs: Vec<&mut [f32]> =
            (0..tasks).filter_map(|_| scratch.split_off_mut(..slab_len)).collect();
        let image_len = out_height * out_width * shape.out_channels;
        let rows_len = rows_at_once * out_width * shape.out_channels;
        let chunks = out.chunks(image_len, rows_len);
        let work = |values: &mut &mut [f32], (image, chunk, out): (usize, usize, MapMut<'_>)| {
            let Some(engine) = Engine::new(self.isa) else { return };
            let first = chunk * rows_at_once;
            let rows = rows_at_once.min(out_height - first);
            // SAFETY: each f32 is two u16, of which every pattern is valid.
            let values = unsafe { values.align_to_mut::<u16>().1 };
            slab.fill(&engine, shape, input, image, first, rows, values);
            Chunk { layer: self, slab: &slab, values, rows, out_width, biases: &biases, relu, out }.run(&engine);
        };
        tasks::for_each_item(&mut slabs, chunks, work);
        Ok(())
    }
}

/// f32 in a line of the cache.
const LINE_F32: usize = size_of::<Line>() / size_of::<f32>();

/// Output rows of a chunk: they and what they see stay in the second-level cache, and each task has as many.
fn rows_at_once(
    shape: &ConvShape,
    [out_height, out_width]: [usize; 2],
    out_bytes: usize,
    tasks: usize,
) -> usize {
    let (fixed, each) = row_cost(shape);
    let each = each.saturating_mul(2).saturating_add(len_of(&[out_width, shape.out_channels, out_bytes]));
    let most = (CHUNK_BYTES.saturating_sub(2 * fixed) / each.max(1)).clamp(1, out_height);
    let chunks = out_height.div_ceil(most).next_multiple_of(tasks);
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

/// A few rows of the output.
struct Chunk<'a> {
    layer: &'a Bf16Conv,
    slab: &'a Slab,
    values: &'a [u16],
    rows: usize,
    out_width: usize,
    biases: &'a [[f32; BLOCK]],
    relu: bool,
    out: MapMut<'a>,
}

impl Chunk<'_> {
    fn run(mut self, engine: &Engine) {
        let co = self.layer.shape.out_channels;
        let steps = self.slab.steps.len();
        // As one long line of pixels, or line by line.
        let (lines, pixels) = match self.slab.pitch {
            Some(pitch) => (1, (self.rows - 1) * pitch + self.out_width),
            None => (self.rows, self.out_width),
        };
        let panel_lines = steps * STEP_LINES;
        assert!(self.values.len() >= self.slab.len && self.out.len() == self.rows * self.out_width * co);
        assert!(self.layer.panels.len() == self.biases.len() * panel_lines);
        let target = self.out.target();
        let mut sums = Sums::ZERO;
        let mut block = |line: usize, pixel: usize, panel: usize| {
            let first = panel * BLOCK;
            let from = line * self.slab.row_stride + pixel * self.slab.pixel_stride;
            let sums = sums.0.as_flattened_mut().as_mut_ptr();
            // SAFETY: the slab was made as long as the last value of the last window of the last block, and `values` was
            // seen to be; a panel has its lines for every step. `target` has all channels of the pixels that `runs`
            // gives, which are those of the chunk.
            unsafe {
                let data = self.values.as_ptr().add(from);
                let rows = Rows { data, stride: self.slab.pixel_stride, steps: &self.slab.steps };
                engine.multiply(rows, self.layer.panels.as_ptr().add(panel * panel_lines), sums, BLOCK, true);
                for (row, to, count) in self.runs(line, pixel) {
                    let (sums, target) = (sums.add(row * BLOCK), target.add(to * co + first));
                    let (bias, channels) = (&self.biases[panel], BLOCK.min(co - first));
                    engine.finish(sums, count, bias, self.relu, channels, target, co);
                }
            }
        };
        let blocks = || (0..lines).flat_map(|line| (0..pixels).step_by(BLOCK).map(move |pixel| (line, pixel)));
        let panels = 0..self.biases.len();
        if self.layer.weight_bytes() <= WEIGHT_BYTES {
            blocks().for_each(|(line, pixel)| panels.clone().for_each(|panel| block(line, pixel, panel)));
        } else {
            panels.for_each(|panel| blocks().for_each(|(line, pixel)| block(line, pixel, panel)));
        }
    }

    /// The output pixels of the block that begins with `pixel` of `line`: from which of its rows on, to which pixel on,
    /// and how many.
    fn runs(&self, line: usize, pixel: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let pitch = self.slab.pitch.unwrap_or(usize::MAX);
        let (mut y, mut x, mut row) = (line + pixel / pitch, pixel % pitch, 0);
        core::iter::from_fn(move || {
            while row < BLOCK && y < self.rows {
                let count = (pitch - x).min(BLOCK - row);
                let valid = count.min(self.out_width.saturating_sub(x));
                let run = (row, y * self.out_width + x, valid);
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
