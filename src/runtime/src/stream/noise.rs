//! How far two frames of a still scene differ.
//!
//! Learned from the differences of cells from one frame to the next, of which most are of still cells. Cells whose bytes
//! are the same say nothing: a decoder repeats them (H.264's skipped blocks) though the camera is noisy. Of the others the
//! median `q50` and the upper quartile `q75` tell where the noise ends, for `q75 - q50` is 0.67 standard deviations of
//! what is Gaussian: at `q50 + 10 (q75 - q50)` are 6.7 of them, for the largest of four means has a longer tail. It is held
//! below 2.5 `q50`, for where leaves stir the upper quartile is no longer noise.

use frcnn_files::{NoMemory, try_reserve};

/// Estimates before which the noise is not known.
const LEAST: usize = 8;
/// Estimates that are kept: the median of them is the noise.
const KEPT: usize = 31;
/// Up to so many distances of the upper quartile from the median beyond it noise reaches.
const SPREADS: f32 = 10.0;
/// And up to so many medians.
const MEDIANS: f32 = 2.5;
/// No camera's noise is more, in grey levels.
const MOST: f32 = 16.0;
/// Where fewer than one cell in so many differs, frames have no noise: a decoder repeats them, or they were rendered.
const FEW: usize = 8;

/// The noise of a camera, kept up to date with estimates of single frames.
#[derive(Debug, Default)]
pub(super) struct Noise {
    /// Of the last frames, in the first places before there are [`KEPT`]; the next one's goes to `seen % KEPT`.
    estimates: [f32; KEPT],
    seen: usize,
    level: f32,
    /// Differences of the frame at hand that are not 0.
    differences: Vec<f32>,
    /// Its cells, with those that do not differ.
    cells: usize,
}

impl Noise {
    /// Grey levels by which a still cell differs from frame to frame at most; 0 as long as it is not known.
    pub(super) fn level(&self) -> f32 {
        self.level
    }

    /// Whether enough frames were seen.
    pub(super) fn is_known(&self) -> bool {
        self.seen >= LEAST
    }

    /// Makes room for a frame's cells.
    pub(super) fn reserve(&mut self, cells: usize) -> Result<(), NoMemory> {
        self.differences.clear();
        self.cells = 0;
        try_reserve(&mut self.differences, cells)
    }

    /// Takes in a row of cells of the frame at hand; `None` for cells that do not differ.
    pub(super) fn add(&mut self, cells: usize, differences: Option<&[f32]>) {
        self.cells += cells;
        self.differences.extend(differences.into_iter().flatten().filter(|&&difference| difference > 0.0));
    }

    /// Ends the frame at hand.
    pub(super) fn end_frame(&mut self) {
        self.estimates[self.seen % KEPT] = estimate(&mut self.differences, self.cells);
        self.seen += 1;
        if self.is_known() {
            let mut sorted = self.estimates;
            let known = &mut sorted[..self.seen.min(KEPT)];
            known.sort_by(f32::total_cmp);
            self.level = known[known.len() / 2];
        }
    }
}

/// Where the noise ends by the differences of one frame's cells, those that differ.
fn estimate(differences: &mut [f32], cells: usize) -> f32 {
    let count = differences.len();
    if count == 0 || count < cells / FEW {
        return 0.0;
    }
    let (_, &mut median, above) = differences.select_nth_unstable_by(count / 2, f32::total_cmp);
    let quartile = match above.len() {
        0 => median,
        some => *above.select_nth_unstable_by(some / 2, f32::total_cmp).1,
    };
    (median + SPREADS * (quartile - median)).min(MEDIANS * median).min(MOST)
}
