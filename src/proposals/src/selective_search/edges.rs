//! The graph of an image, its edges sorted by weight.
//!
//! ```text
//!           ·
//!          ╱  2     each pixel has an edge to four of its eight neighbours;
//!         •─── 0    the other four have one to it
//!         │╲
//!         1  3
//! ```

use super::colour::Planes;
use super::filter::{Taps, columns, rows};

/// Smoothing before weighing, in pixels.
const SIGMA: f32 = 0.8;
/// Steps of a weight per grey level.
const STEPS: f32 = 64.0;
/// One more than the greatest weight in steps: 255 √3 · 64 < 28268.
const BUCKETS: usize = 28_269;
/// Adding this to a float in 0..2^23 leaves the rounded number in the low bits of the sum.
const ROUND: f32 = 8_388_608.0;

/// Edges by ascending weight; in the order of their pixels where they weigh the same.
///
/// A weight is the Euclidean distance of two pixels' smoothed colours, in 64ths of a grey level. What is below that is
/// noise, and whole numbers can be sorted by counting.
#[derive(Debug)]
pub struct Edges {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `pixel << 2 | direction`.
    sorted: Vec<u32>,
    /// The weights that occur, each with the end of its edges in `sorted`.
    runs: Vec<(f32, u32)>,
}

impl Edges {
    /// Of an image of `width` x `height` pixels: smooths, then weighs and sorts.
    #[must_use]
    pub fn new(planes: &Planes, width: usize, height: usize) -> Edges {
        let mut weights = vec![0u16; 4 * width * height];
        pulp::Arch::new().dispatch(|| {
            let smooth: Vec<Vec<f32>> =
                planes.channels.iter().map(|channel| smoothed(channel, width)).collect();
            weigh(&smooth, width, &mut weights);
        });
        let (sorted, runs) = sort(&weights, width, height);
        Edges { width, height, sorted, runs }
    }

    /// Each weight in grey levels, ascending, with its edges.
    pub(super) fn runs(&self) -> impl Iterator<Item = (f32, &[u32])> {
        let mut start = 0;
        self.runs.iter().map(move |&(weight, end)| {
            let edges = self.sorted.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            (weight, edges)
        })
    }

    /// How far the other pixel lies behind an edge's own, by direction.
    pub(super) fn reach(&self) -> [isize; 4] {
        let width = self.width as isize;
        [1, width, 1 - width, 1 + width]
    }

    /// How many edges there are.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }
}

#[inline(always)]
fn smoothed(channel: &[u8], width: usize) -> Vec<f32> {
    // What lies further than 4 pixels away weighs less than 1e-5.
    let gaussian = Taps::<5>::gaussian(SIGMA);
    let source: Vec<f32> = channel.iter().map(|&v| f32::from(v)).collect();
    let mut across = vec![0.0; source.len()];
    rows(&source, width, &gaussian, &mut across);
    let mut out = source;
    columns(&across, width, &gaussian, &mut out);
    out
}

/// Weights by pixel row, then direction, then column. Where there is no neighbour the weight means nothing.
#[inline(always)]
fn weigh(smooth: &[Vec<f32>], width: usize, weights: &mut [u16]) {
    let height = weights.len() / (4 * width);
    let mut squares = vec![0.0f32; width];
    // A single channel stands for three equal ones, as in the published system.
    let factor = if smooth.len() == 1 { 3.0f32.sqrt() * STEPS } else { STEPS };
    for (y, weights) in weights.chunks_exact_mut(4 * width).enumerate() {
        for (direction, weights) in weights.chunks_exact_mut(width).enumerate() {
            let (dx, other) = match direction {
                0 => (1, Some(y)),
                1 => (0, Some(y + 1)),
                2 => (1, y.checked_sub(1)),
                _ => (1, Some(y + 1)),
            };
            let Some(other) = other.filter(|&other| other < height) else { continue };
            squares.fill(0.0);
            for channel in smooth {
                let (here, there) = (&channel[y * width..][..width], &channel[other * width..][..width]);
                for ((s, a), b) in squares.iter_mut().zip(here).zip(&there[dx..]) {
                    *s += (a - b) * (a - b);
                }
            }
            for (w, s) in weights.iter_mut().zip(&squares) {
                *w = (s.sqrt() * factor + ROUND).to_bits() as u16;
            }
        }
    }
}

/// A counting sort.
fn sort(weights: &[u16], width: usize, height: usize) -> (Vec<u32>, Vec<(f32, u32)>) {
    // The part of a row, by direction, whose pixels have that neighbour.
    let columns = |y: usize, direction: usize| match direction {
        0 => width - 1,
        1 if y + 1 < height => width,
        2 if y > 0 => width - 1,
        3 if y + 1 < height => width - 1,
        _ => 0,
    };
    let mut ends = vec![0u32; BUCKETS];
    for (i, row) in weights.chunks_exact(width).enumerate() {
        for &weight in &row[..columns(i / 4, i % 4)] {
            ends[usize::from(weight)] += 1;
        }
    }
    let mut total = 0;
    let mut runs = Vec::new();
    for (weight, end) in ends.iter_mut().enumerate() {
        let count = std::mem::replace(end, total);
        if count > 0 {
            total += count;
            runs.push((weight as f32 / STEPS, total));
        }
    }
    let mut next = ends;
    let mut sorted = vec![0u32; total as usize];
    for (i, row) in weights.chunks_exact(width).enumerate() {
        let first = ((i / 4 * width) as u32) << 2 | (i % 4) as u32;
        for (x, &weight) in row[..columns(i / 4, i % 4)].iter().enumerate() {
            let place = &mut next[usize::from(weight)];
            sorted[*place as usize] = first + ((x as u32) << 2);
            *place += 1;
        }
    }
    (sorted, runs)
}
