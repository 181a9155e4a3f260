//! What the view looks like when nothing moves.

use crate::Notice;

/// Frames after which the background is known well enough, however far apart they are.
const LEARNED: u32 = 10;
/// A new frame's share in the running means is no more than this, however long after the last it comes: a mean of fewer frames is
/// as noisy as they are.
const MOST: f32 = 1.0 / 8.0;
/// The time constant of the spread where there is foreground, in that of the mean: leaves that begin to stir become background, and
/// one passer-by blinds no cell.
const SPREAD_IS_SLOWER: f32 = 8.0;
/// Foreground departs from the mean by this many times the spread: about five standard deviations of Gaussian noise.
const SPREADS: f32 = 4.0;
/// And by at least this many grey levels: cameras compress, lamps flicker.
const LEAST: f32 = 8.0;
/// The scene is another one where more than this share of the cells is foreground.
const CHANGED: f32 = 0.5;
/// Spread of a cell of which nothing is known yet, in grey levels.
const SPREAD_AT_FIRST: f32 = 2.0;
/// Grey levels into which departures that all cells share are sorted.
const SHIFT_BINS: usize = 511;

/// Time constants of the running means, in seconds: where nothing moves, and where there is foreground.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) background: f32,
    pub(super) foreground: f32,
}

/// A new frame's share in a running mean of this time constant, `seconds` after the last frame: the implicit Euler step, whose
/// few operations are the same on every machine.
fn share(seconds: f32, constant: f32) -> f32 {
    seconds / (constant + seconds)
}

/// Running mean and spread of each cell, and where the last frame departs from them.
#[derive(Debug, Default)]
pub(super) struct Background {
    mean: Vec<[f32; 3]>,
    /// Mean of the departures from the mean.
    spread: Vec<f32>,
    /// Frames since the background was learned anew.
    age: u32,
    /// By cell, of the last frame.
    pub(super) foreground: Vec<bool>,
}

impl Background {
    /// Finds the foreground of a frame that was captured `seconds` after the last one, then learns from the frame.
    pub(super) fn compare(&mut self, colours: &[[f32; 3]], seconds: f32, times: Times) -> Option<Notice> {
        if self.mean.len() != colours.len() {
            self.start(colours);
            return Some(Notice::Learning);
        }
        let shift = common_shift(&self.mean, colours);
        self.foreground.clear();
        self.foreground.extend(
            self.mean
                .iter()
                .zip(&self.spread)
                .zip(colours)
                .map(|((mean, spread), colour)| departure(mean, colour, shift) > LEAST.max(SPREADS * spread)),
        );
        let changed = self.foreground.iter().filter(|&&foreground| foreground).count() as f32;
        if changed > CHANGED * colours.len() as f32 {
            self.start(colours);
            return Some(Notice::SceneChanged);
        }
        self.learn(colours, shift, seconds, times);
        if self.age < LEARNED { Some(Notice::Learning) } else { None }
    }

    fn start(&mut self, colours: &[[f32; 3]]) {
        self.mean = colours.to_vec();
        self.spread = vec![SPREAD_AT_FIRST; colours.len()];
        self.foreground = vec![false; colours.len()];
        self.age = 1;
    }

    fn learn(&mut self, colours: &[[f32; 3]], shift: [f32; 3], seconds: f32, times: Times) {
        self.age = self.age.saturating_add(1);
        // At first the plain mean of all frames: it settles soonest.
        let still = share(seconds, times.background).min(MOST).max(1.0 / self.age as f32);
        let moving = share(seconds, times.foreground).min(MOST);
        let moving_spread = share(seconds, SPREAD_IS_SLOWER * times.foreground).min(MOST);
        let cells = self.mean.iter_mut().zip(&mut self.spread).zip(&self.foreground).zip(colours);
        for (((mean, spread), &foreground), colour) in cells {
            let (rate, spread_rate) = match foreground && self.age > LEARNED {
                true => (moving, moving_spread),
                false => (still, still),
            };
            *spread += spread_rate * (departure(mean, colour, shift) - *spread);
            for ((mean, value), shift) in mean.iter_mut().zip(colour).zip(shift) {
                // The light's change is taken over at once, all else slowly.
                let lit = *mean + shift;
                *mean = lit + rate * (value - lit);
            }
        }
    }
}

/// The greatest difference of a channel.
fn departure(mean: &[f32; 3], colour: &[f32; 3], shift: [f32; 3]) -> f32 {
    let difference = |c: usize| (colour[c] - mean[c] - shift[c]).abs();
    difference(0).max(difference(1)).max(difference(2))
}

/// By how much most cells have become lighter, by channel: the median difference, which objects do not move.
fn common_shift(mean: &[[f32; 3]], colours: &[[f32; 3]]) -> [f32; 3] {
    std::array::from_fn(|channel| {
        let mut counts = [0u32; SHIFT_BINS];
        let mut sums = [0f32; SHIFT_BINS];
        for (mean, colour) in mean.iter().zip(colours) {
            let difference = colour[channel] - mean[channel];
            let bin = ((difference + 255.5) as usize).min(SHIFT_BINS - 1);
            counts[bin] += 1;
            sums[bin] += difference;
        }
        let half = mean.len() as u32 / 2;
        let mut below = 0;
        let median = counts.iter().position(|&count| {
            below += count;
            below > half
        });
        // The mean within the median's bin and its neighbours.
        median.map_or(0.0, |bin| {
            let around = bin.saturating_sub(1)..(bin + 2).min(SHIFT_BINS);
            let (sum, count) = (sums[around.clone()].iter().sum::<f32>(), counts[around].iter().sum::<u32>());
            sum / count.max(1) as f32
        })
    })
}
