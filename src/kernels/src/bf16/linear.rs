//! Fully connected layers on bf16 values, or on f32 values in halves.
//!
//! The features of some rows are rounded to bf16, a block of rows and a step of `K` after the other, as tiles read them;
//! then every panel of weights meets them, while the next one is fetched. Sums are added to in place, in f32.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Bf16Isa,
    block::{BLOCK, Engine, GEMV_ROWS, Line, Panel, Rows, STEP, Sums, Weight, pack, step_lines},
};
use crate::{
    init::Init,
    linear::{KBlock, KPart},
    sync_ptr::SyncPtr,
};

/// Output features of a panel.
pub(crate) const PANEL: usize = BLOCK;

/// Lines of rounded features that meet all panels at a time: 800 KiB, which stay in L2 beside a panel. Sums go by once
/// for each.
const ROUNDED_LINES: usize = 12800;

/// A layer's weights, packed for one order of its input features.
#[derive(Clone, Debug)]
pub(crate) struct Bf16Weights {
    isa: Bf16Isa,
    /// Whether they, and the features, are f32 values in two halves.
    split: bool,
    out_features: usize,
    /// Where each block of `K` begins: its first value and its first step.
    blocks: Vec<[usize; 2]>,
    steps: usize,
    panels: Vec<Line>,
}

/// Rounded features of some rows, and room for making them.
#[derive(Default)]
pub(crate) struct Rounded {
    /// `[block of rows, step, row]`, low halves of a step behind its high ones: as `multiply` reads them.
    lines: Vec<Line>,
    /// Where each step begins, in values.
    steps: Vec<usize>,
    /// Of few rows, the features as they are: `[step, value, row]`.
    columns: Vec<[f32; GEMV_ROWS]>,
    /// One row's features in the order of `K`.
    row: Vec<f32>,
}

impl Bf16Weights {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`. `None` where the CPU has no instructions for them; for
    /// halves only AMX is fast enough.
    pub(crate) fn new<W: Weight>(
        isa: Bf16Isa,
        weights: &[W],
        out_features: usize,
        blocks: &[KBlock],
        threads: usize,
    ) -> Option<Self> {
        Bf16Isa::available().find(|&available| available == isa && (!W::SPLIT || isa == Bf16Isa::Amx))?;
        let (mut starts, mut rows) = (Vec::new(), Vec::new());
        for block in blocks {
            starts.push([block.first_k, rows.len() / STEP]);
            rows.extend(block.values().map(Some));
            rows.resize(rows.len().next_multiple_of(STEP), None);
        }
        let steps = rows.len() / STEP;
        let panels = pack(weights, out_features, steps, threads, |step, value| rows[step * STEP + value]);
        Some(Self { isa, split: W::SPLIT, out_features, blocks: starts, steps, panels })
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// As `PreparedLinear::accumulate`, for some rows and panels.
    ///
    /// # Safety
    /// `out` has `out_features` values for each row up to the last of `rows`, of which no one else touches those of
    /// `rows` and `panels`.
    #[expect(clippy::too_many_arguments, reason = "a unit of work is its operands and their ranges")]
    pub(crate) unsafe fn multiply(
        &self,
        parts: &[KPart<'_>],
        init: Init<&[f32]>,
        relu: bool,
        rows: Range<usize>,
        panels: Range<usize>,
        rounded: &mut Rounded,
        out: SyncPtr,
    ) {
        let Some(engine) = Engine::new(self.isa) else { return };
        let n = self.out_features;
        // Blocks of sums with rows and channels that are not there are computed aside.
        let mut aside = Sums::ZERO;
        let few = self.split && rows.len() <= GEMV_ROWS;
        let (step_lines, visits) = (step_lines(self.split), rows.len().div_ceil(BLOCK));
        let part_lines = parts.first().map_or(0, |part| steps_of(part.block) * step_lines * visits);
        let at_once = (ROUNDED_LINES / part_lines.max(1)).max(1);
        for (i, some) in parts.chunks(at_once).enumerate() {
            let Some(first_step) = some.first().and_then(|part| self.first_step(part.block)) else { return };
            let low = self.split.then_some(BLOCK * STEP);
            if few {
                rounded.spread(some, rows.clone());
            } else {
                rounded.round(&engine, some, rows.clone(), low);
            }
            let Rounded { lines: left, columns, steps, .. } = &*rounded;
            assert!(first_step + steps.len() <= self.steps && panels.end * PANEL < n + PANEL);
            let last = (i + 1) * at_once >= parts.len();
            let (init, relu) = (if i == 0 { init } else { Init::Accumulate }, relu && last);
            for panel in panels.clone() {
                let channels = panel * PANEL..n.min((panel + 1) * PANEL);
                for visit in 0..visits {
                    let first = visit * BLOCK;
                    let count = BLOCK.min(rows.len() - first);
                    let whole = count == BLOCK && channels.len() == BLOCK;
                    // SAFETY: `rounded` has a line, or columns, for each step of each row, whole blocks of them; a panel
                    // has its lines for every step. `out` has these rows and channels, which are the caller's alone.
                    unsafe {
                        let to = out.as_mut_ptr().add((rows.start + first) * n + channels.start);
                        let place = Place { to, stride: n, rows: count, channels: channels.len() };
                        let (sums, stride) =
                            if whole { (to, n) } else { (aside.0.as_flattened_mut().as_mut_ptr(), BLOCK) };
                        let start = Place { to: sums, stride, ..place };
                        match init {
                            Init::Bias(bias) => {
                                start.for_each(|channel, sum| *sum = bias[channels.start + channel])
                            }
                            Init::Accumulate if !whole => place.copy_to(&mut aside),
                            _ => {}
                        }
                        let lines = self.panels.as_ptr().add((panel * self.steps + first_step) * step_lines);
                        let fresh = init == Init::Zero;
                        if few {
                            engine.gemv(columns, lines, &mut aside, fresh);
                        } else {
                            let data = left.as_ptr().add(visit * steps.len() * step_lines).cast();
                            let left = Rows { data, stride: STEP, steps, low, count };
                            let sizes = [steps.len(), step_lines, self.steps * step_lines];
                            let panel = Panel::at_visit(lines, sizes, [visit, visits]);
                            engine.multiply(left, panel, sums, stride, fresh);
                        }
                        if !whole {
                            place.copy_from(&aside);
                        }
                        if relu {
                            place.for_each(|_, sum| *sum = if *sum < 0.0 { 0.0 } else { *sum });
                        }
                    }
                }
            }
        }
    }

    fn first_step(&self, block: &KBlock) -> Option<usize> {
        let position = self.blocks.binary_search_by_key(&block.first_k, |[first_k, _]| *first_k).ok()?;
        self.blocks.get(position).map(|[_, step]| *step)
    }
}

/// Steps of a block of `K`.
fn steps_of(block: &KBlock) -> usize {
    (block.segments.len() * block.segment_len).div_ceil(STEP)
}

impl Rounded {
    /// Rounds the parts of each row; low halves, if they are wanted, go that many values behind high ones.
    fn round(&mut self, engine: &Engine, parts: &[KPart<'_>], rows: Range<usize>, low: Option<usize>) {
        let step_lines = step_lines(low.is_some());
        let steps = self.begin(parts, step_lines);
        let len = rows.len().div_ceil(BLOCK) * steps * step_lines;
        self.lines.resize(self.lines.len().max(len), Line([0; STEP]));
        for_each_row(parts, rows, &mut self.row, |first_step, i, values| {
            for (step, values) in values.chunks(STEP).enumerate() {
                let step = i / BLOCK * steps + first_step + step;
                let line = &mut self.lines[step * step_lines + i % BLOCK..];
                // SAFETY: the chunk's values, a line of 32, and another one `BLOCK` lines behind if there are low halves.
                unsafe { engine.round_step(values.as_ptr(), values.len(), line.as_mut_ptr().cast(), low) };
            }
        });
    }

    /// Puts the features of at most [`GEMV_ROWS`] rows side by side.
    fn spread(&mut self, parts: &[KPart<'_>], rows: Range<usize>) {
        let steps = self.begin(parts, 0);
        self.columns.clear();
        self.columns.resize(steps * STEP, [0.0; GEMV_ROWS]);
        for_each_row(parts, rows, &mut self.row, |first_step, i, values| {
            let columns = &mut self.columns[first_step * STEP..];
            columns.iter_mut().zip(values).for_each(|(column, value)| column[i] = *value);
        });
    }

    /// Notes where the steps of all parts begin, `step_lines` apart, and gives their number.
    fn begin(&mut self, parts: &[KPart<'_>], step_lines: usize) -> usize {
        let steps: usize = parts.iter().map(|part| steps_of(part.block)).sum();
        self.steps.clear();
        self.steps.extend((0..steps).map(|step| step * step_lines * STEP));
        steps
    }
}

/// Calls `each` with the first step of each part, each row counted from 0, and its features in the order of `K`.
fn for_each_row(
    parts: &[KPart<'_>],
    rows: Range<usize>,
    room: &mut Vec<f32>,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let mut first_step = 0;
    for part in parts {
        let KBlock { segments, segment_len, .. } = part.block;
        let len = segments.len() * segment_len;
        // Segments that follow one another are one.
        let contiguous = segments.windows(2).all(|pair| pair[0] + segment_len == pair[1]);
        let first = segments.first().copied().unwrap_or(0);
        for (i, row) in rows.clone().enumerate() {
            let data = &part.data[row * part.stride..];
            if contiguous {
                each(first_step, i, &data[first..][..len]);
            } else {
                room.clear();
                let segments = segments.iter().map(|&offset| &data[offset..][..*segment_len]);
                segments.for_each(|segment| room.extend_from_slice(segment));
                each(first_step, i, room);
            }
        }
        first_step += steps_of(part.block);
    }
}

/// A block of the output, as much of it as there is.
#[derive(Clone, Copy)]
struct Place {
    to: *mut f32,
    stride: usize,
    rows: usize,
    channels: usize,
}

impl Place {
    /// # Safety
    /// The block is writable and no one else's; the same goes for every function here.
    unsafe fn row(&mut self, row: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.to.add(row * self.stride), self.channels) }
    }

    /// # Safety
    /// As [`Place::row`].
    unsafe fn copy_to(mut self, sums: &mut Sums) {
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            sums.0[row][..self.channels].copy_from_slice(unsafe { self.row(row) });
        }
    }

    /// # Safety
    /// As [`Place::row`].
    unsafe fn copy_from(mut self, sums: &Sums) {
        for row in 0..self.rows {
            let sums = &sums.0[row][..self.channels];
            // SAFETY: the caller's promise.
            unsafe { self.row(row) }.copy_from_slice(sums);
        }
    }

    /// Calls `change` with each value and its channel.
    ///
    /// # Safety
    /// As [`Place::row`].
    unsafe fn for_each(mut self, change: impl Fn(usize, &mut f32)) {
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            unsafe { self.row(row) }
                .iter_mut()
                .enumerate()
                .for_each(|(channel, value)| change(channel, value));
        }
    }
}
