//! The order of the boxes, and which are left out.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Boxes with a side under this many working pixels are left out.
const MIN_SIDE: u16 = 20;

/// Boxes with the published priority: their rank in the hierarchy, 1 for the whole image, times a random number, so that
/// the largest are not always first. A lower priority comes first.
pub(crate) struct Ranking {
    rng: ChaCha8Rng,
    min: [u16; 2],
    boxes: Vec<(f64, [u16; 4])>,
}

impl Ranking {
    pub(crate) fn new(seed: u64, width: usize, height: usize) -> Ranking {
        // An image smaller than the least side still has boxes as wide or high as itself.
        let min = [width, height].map(|side| side.min(usize::from(MIN_SIDE)) as u16);
        Ranking { rng: ChaCha8Rng::seed_from_u64(seed), min, boxes: Vec::new() }
    }

    /// Regions of an initial segmentation: all below the first group.
    pub(crate) fn add_initial(&mut self, boxes: &[[u16; 4]]) {
        boxes.iter().for_each(|&b| self.add(boxes.len(), b));
    }

    /// Groups in the order in which they were made.
    pub(crate) fn add_grouped(&mut self, boxes: &[[u16; 4]]) {
        boxes.iter().rev().enumerate().for_each(|(i, &b)| self.add(i + 1, b));
    }

    fn add(&mut self, rank: usize, b: [u16; 4]) {
        // Drawn for boxes that are left out as well.
        let priority = rank as f64 * self.rng.random::<f64>();
        let [width, height] = [b[2] - b[0] + 1, b[3] - b[1] + 1];
        if width >= self.min[0] && height >= self.min[1] {
            self.boxes.push((priority, b));
        }
    }

    /// The first `max` distinct boxes.
    pub(crate) fn finish(mut self, max: usize) -> Vec<[u16; 4]> {
        self.boxes.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut seen = HashSet::with_capacity(self.boxes.len());
        let distinct = self.boxes.into_iter().map(|(_, b)| b).filter(|&b| seen.insert(b));
        distinct.take(max).collect()
    }
}
