//! Fully connected layers on bf16 values.
//!
//! The features of some rows are rounded to bf16, step by step of `K`, so that a tile's rows follow one another; then
//! every panel of weights meets them. Sums are added to in place, in f32.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Bf16Isa,
    block::{BLOCK, Engine, Line, Rows, STEP, STEP_LINES, Sums, pack},
};
use crate::{
    linear::{KBlock, KPart},
    shared::Shared,
};

/// Output features of a panel.
pub(crate) const PANEL: usize = BLOCK;

/// A layer's weights, packed for one order of its input features.
#[derive(Clone, Debug)]
pub(crate) struct Bf16Weights {
    isa: Bf16Isa,
    out_features: usize,
    /// Where each block of `K` begins: its first value and its first step.
    blocks: Vec<[usize; 2]>,
    steps: usize,
    panels: Vec<Line>,
}

/// Rounded features of some rows, and room for making them.
#[derive(Default)]
pub(crate) struct Rounded {
    /// `[step, row]`, whole blocks of rows.
    lines: Vec<Line>,
    /// Where each step begins, in values.
    steps: Vec<usize>,
    /// One row's features in the order of `K`.
    row: Vec<f32>,
}

impl Bf16Weights {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`. `None` where the CPU has no instructions for them.
    pub(crate) fn new(
        isa: Bf16Isa,
        weights: &[u16],
        out_features: usize,
        blocks: &[KBlock],
        threads: usize,
    ) -> Option<Self> {
        Bf16Isa::available().find(|&available| available == isa)?;
        let (mut starts, mut rows) = (Vec::new(), Vec::new());
        for block in blocks {
            starts.push([block.first_k, rows.len() / STEP]);
            rows.extend(block.values().map(Some));
            rows.resize(rows.len().next_multiple_of(STEP), None);
        }
        let steps = rows.len() / STEP;
        let panels = pack(weights, out_features, steps, threads, |step, value| rows[step * STEP + value]);
        Some(Self { isa, out_features, blocks: starts, steps, panels })
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
        begin: Option<Option<&[f32]>>,
        relu: bool,
        rows: Range<usize>,
        panels: Range<usize>,
        rounded: &mut Rounded,
        out: Shared,
    ) {
        let Some(engine) = Engine::new(self.isa) else { return };
        let n = self.out_features;
        // Blocks of sums with rows and channels that are not there are computed aside.
        let mut aside = Sums::ZERO;
        for (i, part) in parts.iter().enumerate() {
            let Some(first_step) = self.first_step(part.block) else { return };
            rounded.round(&engine, part, rows.clone());
            let Rounded { lines: left, steps, .. } = &*rounded;
            assert!(first_step + steps.len() <= self.steps && panels.end * PANEL < n + PANEL);
            let (begin, relu) = (begin.filter(|_| i == 0), relu && i + 1 == parts.len());
            for panel in panels.clone() {
                let channels = panel * PANEL..n.min((panel + 1) * PANEL);
                for first in (0..rows.len()).step_by(BLOCK) {
                    let count = BLOCK.min(rows.len() - first);
                    let whole = count == BLOCK && channels.len() == BLOCK;
                    // SAFETY: `rounded` has a line for each step of each row, whole blocks of them; a panel has its
                    // lines for every step. `out` has these rows and channels, which are the caller's alone.
                    unsafe {
                        let to = out.as_mut_ptr().add((rows.start + first) * n + channels.start);
                        let place = Place { to, stride: n, rows: count, channels: channels.len() };
                        let (sums, stride) =
                            if whole { (to, n) } else { (aside.0.as_flattened_mut().as_mut_ptr(), BLOCK) };
                        if begin.is_none() && !whole {
                            place.copy_to(&mut aside);
                        }
                        let data = left.as_ptr().add(first).cast();
                        let left = Rows { data, stride: STEP, steps };
                        let lines = (panel * self.steps + first_step) * STEP_LINES;
                        engine.multiply(left, self.panels.as_ptr().add(lines), sums, stride, begin.is_some());
                        if !whole {
                            place.copy_from(&aside);
                        }
                        if let Some(Some(bias)) = begin {
                            place.for_each(|channel, sum| *sum += bias[channels.start + channel]);
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

impl Rounded {
    /// Rounds the part of each row.
    fn round(&mut self, engine: &Engine, part: &KPart<'_>, rows: Range<usize>) {
        let KBlock { segments, segment_len, .. } = part.block;
        let (len, padded) = (segments.len() * segment_len, rows.len().next_multiple_of(BLOCK));
        self.steps.clear();
        self.steps.extend((0..len.div_ceil(STEP)).map(|step| step * padded * STEP));
        self.lines.resize(self.lines.len().max(self.steps.len() * padded), Line([0; STEP]));
        // Segments that follow one another are one.
        let contiguous = segments.windows(2).all(|pair| pair[0] + segment_len == pair[1]);
        let first = segments.first().copied().unwrap_or(0);
        for (i, row) in rows.enumerate() {
            let data = &part.data[row * part.stride..];
            let values = if contiguous {
                &data[first..][..len]
            } else {
                self.row.clear();
                segments
                    .iter()
                    .for_each(|&offset| self.row.extend_from_slice(&data[offset..][..*segment_len]));
                &self.row
            };
            for (step, values) in values.chunks(STEP).enumerate() {
                let line = &mut self.lines[step * padded + i];
                // SAFETY: the chunk's values, and a line of 32.
                unsafe { engine.round_step(values.as_ptr(), values.len(), line.0.as_mut_ptr()) };
            }
        }
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
