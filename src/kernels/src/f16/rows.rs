//! Rows rounded to f16, in tiles, as `engine` reads them.
//!
//! A row is rounded as it is, and its largest magnitude found meanwhile. Only where that may be too large for sums in f16, or
//! so small that values become subnormal, the row is rounded again, multiplied by a power of two. That is a matter of the row
//! alone: the others of its tile change no bit of its sums.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    engine::{Engine, STEP, TILE},
    scale::{Scales, largest_finite},
    weights::Panels,
};
use crate::{
    k_order::{KBlock, KPart},
    len_of,
};

/// Rows of the same part of `K`.
pub(crate) struct PackedRows<'a> {
    engine: Engine,
    /// Of `K`, in each row.
    steps: usize,
    scales: &'a Scales,
    tiles: Vec<PackedTile>,
    values: &'a mut [u16],
    /// A row in the order of `K`.
    room: Vec<f32>,
}

/// Rows as a product reads them: tile after tile, each `[steps, 2, rows, 8]`.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) tiles: &'a [PackedTile],
    pub(crate) values: &'a [u16],
}

impl Packed<'_> {
    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.tiles.last().map_or(0, |tile| tile.first + tile.rows)
    }
}

/// Where a tile is.
pub(crate) struct PackedTile {
    /// Its first row, counted from the first packed one.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    /// What the sums of each row are multiplied by.
    pub(crate) inverses: [f32; TILE],
}

impl PackedTile {
    /// `m` rows in tiles of [`TILE`] or fewer, as even as can be.
    pub(crate) fn all(m: usize) -> impl Iterator<Item = Self> {
        let count = m.div_ceil(TILE);
        (0..count).map(move |i| {
            let first = i * m / count;
            Self { first, rows: (i + 1) * m / count - first, inverses: [1.0; TILE] }
        })
    }
}

impl<'a> PackedRows<'a> {
    /// Rows to meet a block of `weights`; none at first. `values` has room for [`PackedRows::len`] of them.
    pub(crate) fn new(weights: &'a Panels, block: usize, values: &'a mut [u16]) -> Self {
        let (engine, steps) = (weights.engine(), weights.steps(block));
        Self { engine, steps, scales: weights.scales(), tiles: Vec::new(), values, room: Vec::new() }
    }

    /// Values of `rows` rows of `k` values each; saturates.
    pub(crate) fn len(rows: usize, k: usize) -> usize {
        len_of(&[rows, k.max(1).next_multiple_of(STEP)])
    }

    /// Rounds `rows` of `part`, behind those that are there.
    pub(crate) fn push(&mut self, part: &KPart<'_>, rows: Range<usize>) {
        let row_len = self.steps * STEP;
        let before = self.packed().count();
        self.tiles.reserve(rows.len().div_ceil(TILE));
        let mut rounding = Rounding::new(self.engine, part, self.steps, &mut self.room);
        for mut tile in PackedTile::all(rows.len()) {
            let rows = rows.start + tile.first..rows.start + tile.first + tile.rows;
            tile.first += before;
            let values = &mut self.values[tile.first * row_len..][..tile.rows * row_len];
            let largest = rounding.rows(rows.clone(), 1.0, values, 0);
            let largest = &largest[..tile.rows];
            if !self.scales.all_fit(largest) {
                for (i, (row, &largest)) in rows.zip(largest).enumerate() {
                    let scale = self.scales.scale(largest, || rounding.largest(row));
                    if scale != 1.0 {
                        rounding.rows(row..row + 1, scale, values, i);
                        tile.inverses[i] = 1.0 / scale;
                    }
                }
            }
            self.tiles.push(tile);
        }
    }

    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed { tiles: &self.tiles, values: self.values }
    }
}

/// What rounds rows of a part.
struct Rounding<'a> {
    engine: Engine,
    part: &'a KPart<'a>,
    steps: usize,
    /// Whether segments follow one another: then they are one.
    contiguous: bool,
    room: &'a mut Vec<f32>,
}

impl<'a> Rounding<'a> {
    fn new(engine: Engine, part: &'a KPart<'a>, steps: usize, room: &'a mut Vec<f32>) -> Self {
        let KBlock { segments, segment_len, .. } = part.block;
        let contiguous = segments.windows(2).all(|pair| pair[0] + segment_len == pair[1]);
        Self { engine, part, steps, contiguous, room }
    }

    /// Rounds `rows` times `scale`, to those of a tile from row `first` on; gives the bits of the largest magnitude of each.
    fn rows(&mut self, rows: Range<usize>, scale: f32, tile: &mut [u16], first: usize) -> [u16; TILE] {
        let Self { engine, part, steps, contiguous, .. } = *self;
        let KBlock { segments, segment_len, .. } = part.block;
        let (count, len) = (tile.len() / (steps * STEP), part.block.len());
        assert!(first + rows.len() <= count && count <= TILE && len <= steps * STEP);
        let mut found = [0; TILE];
        for ((row, i), largest) in rows.zip(first..).zip(&mut found) {
            let data = &part.data[row * part.stride..];
            let mut done = 0;
            let mut round = |values: &[f32]| {
                let steps = values.len() / STEP;
                // SAFETY: the values are there. Step `s` of row `i` begins at `s * count * STEP + 8 * i` and ends `count * 8`
                // values on, plus eight: within the tile, as long as all steps are.
                unsafe {
                    let to = tile.as_mut_ptr().add(done * count * STEP + 8 * i);
                    *largest = engine.round(values.as_ptr(), steps, to, count, *largest);
                }
                done += steps;
            };
            match segments.first() {
                Some(&first) if contiguous && len > 0 && scale == 1.0 => {
                    let (whole, rest) = data[first..][..len].split_at(len / STEP * STEP);
                    round(whole);
                    if !rest.is_empty() {
                        let mut last = [0.0; STEP];
                        last[..rest.len()].copy_from_slice(rest);
                        round(&last);
                    }
                }
                Some(_) if segment_len.is_multiple_of(STEP) && len > 0 && scale == 1.0 => {
                    segments.iter().for_each(|&first| round(&data[first..][..*segment_len]));
                }
                _ => {
                    self.room.clear();
                    for &first in segments {
                        self.room.extend_from_slice(&data[first..][..*segment_len]);
                    }
                    self.room.resize(steps * STEP, 0.0);
                    if scale != 1.0 {
                        self.room.iter_mut().for_each(|value| *value *= scale);
                    }
                    round(self.room);
                }
            }
        }
        found
    }

    /// The largest finite magnitude of a row.
    fn largest(&self, row: usize) -> f32 {
        let KBlock { segments, segment_len, .. } = self.part.block;
        let data = &self.part.data[row * self.part.stride..];
        segments.iter().map(|&first| largest_finite(&data[first..][..*segment_len])).fold(0.0, f32::max)
    }
}
