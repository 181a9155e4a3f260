//! The order of the boxes, and which are left out.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Boxes with the published priority: their rank in the hierarchy, 1 for the whole image, times a random number, so that
/// the largest are not always first. A lower priority comes first.
pub(super) struct Ranking {
    rng: ChaCha8Rng,
    min: [u16; 2],
    boxes: Vec<(f64, [u16; 4])>,
}

impl Ranking {
    /// Boxes with a side under `min_side` are left out.
    pub(super) fn new(seed: u64, min_side: usize, [width, height]: [usize; 2]) -> Ranking {
        // An image smaller than the least side still has boxes as wide or high as itself.
        let min = [width, height].map(|side| side.min(min_side) as u16);
        Ranking { rng: ChaCha8Rng::seed_from_u64(seed), min, boxes: Vec::new() }
    }

    /// Regions of an initial segmentation: all below the first group.
    pub(super) fn add_initial(&mut self, boxes: &[[u16; 4]]) {
        boxes.iter().for_each(|&b| self.add(boxes.len(), b));
    }

    /// Groups in the order in which they were made.
    pub(super) fn add_grouped(&mut self, boxes: &[[u16; 4]]) {
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
    ///
    /// Near copies of a better box come after all others: strategies agree on what stands out and would fill a short list
    /// with it, and small objects, which few of them find, would fall off its end.
    pub(super) fn finish(mut self, max: usize) -> Vec<[u16; 4]> {
        self.boxes.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut seen = HashSet::with_capacity(self.boxes.len());
        let mut first = Distinct::default();
        let mut copies = Vec::new();
        for b in self.boxes.into_iter().map(|(_, b)| b).filter(|&b| seen.insert(b)) {
            if first.boxes.len() == max {
                break;
            }
            if first.has_near(b) {
                copies.push(b);
            } else {
                first.add(b);
            }
        }
        first.boxes.into_iter().chain(copies).take(max).collect()
    }
}

/// IoU from which one of two boxes is a near copy.
const NEAR: f32 = 0.85;
/// Boxes that are compared at a time.
const STEP: usize = 16;

/// Boxes that are not near copies of each other, by coordinate, so that many are compared at once.
#[derive(Default)]
struct Distinct {
    boxes: Vec<[u16; 4]>,
    /// x1, y1, x2, y2 (one beyond the last pixel) and area of `STEP` boxes each.
    steps: Vec<[[f32; STEP]; 5]>,
}

impl Distinct {
    fn add(&mut self, b: [u16; 4]) {
        let at = self.boxes.len() % STEP;
        if at == 0 {
            self.steps.push([[0.0; STEP]; 5]);
        }
        if let Some(step) = self.steps.last_mut() {
            for (values, value) in step.iter_mut().zip(measures(b)) {
                values[at] = value;
            }
        }
        self.boxes.push(b);
    }

    fn has_near(&self, b: [u16; 4]) -> bool {
        let [x1, y1, x2, y2, area] = measures(b);
        self.steps.iter().any(|[left, top, right, bottom, areas]| {
            let mut near = false;
            for i in 0..STEP {
                let width = right[i].min(x2) - left[i].max(x1);
                let height = bottom[i].min(y2) - top[i].max(y1);
                let common = width.max(0.0) * height.max(0.0);
                // common / (areas - common) >= NEAR, without a division.
                near |= common * (1.0 + NEAR) >= NEAR * (areas[i] + area);
            }
            near
        })
    }
}

fn measures([x1, y1, x2, y2]: [u16; 4]) -> [f32; 5] {
    let [x1, y1, x2, y2] = [f32::from(x1), f32::from(y1), f32::from(x2) + 1.0, f32::from(y2) + 1.0];
    [x1, y1, x2, y2, (x2 - x1) * (y2 - y1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(boxes: &[[u16; 4]], max: usize) -> Vec<[u16; 4]> {
        let mut ranking = Ranking::new(0, 20, [500, 400]);
        // In the order given: the priority is set and not drawn.
        ranking.boxes = boxes.iter().enumerate().map(|(i, &b)| (i as f64, b)).collect();
        ranking.finish(max)
    }

    #[test]
    fn equal_boxes_go_and_near_copies_go_to_the_end() {
        let (a, near_a, b) = ([10, 10, 109, 109], [10, 10, 109, 111], [10, 10, 109, 139]);
        assert_eq!(finish(&[a, near_a, b, a], usize::MAX), [a, b, near_a]);
        assert_eq!(finish(&[a, near_a, b, a], 2), [a, b]);
        assert_eq!(finish(&[near_a, a], usize::MAX), [near_a, a]);
        assert!(finish(&[a], 0).is_empty());
    }

    #[test]
    fn thin_boxes_are_left_out_unless_the_image_is_so() {
        let left = |min_side, width, height| {
            let mut ranking = Ranking::new(0, min_side, [width, height]);
            ranking.add_initial(&[[0, 0, 18, 30], [0, 0, 19, 30], [0, 0, 11, 11]]);
            ranking.finish(usize::MAX).len()
        };
        assert_eq!((left(20, 100, 100), left(20, 12, 12), left(1, 100, 100)), (1, 3, 3));
    }

    #[test]
    fn a_priority_is_a_share_of_the_rank() {
        let mut ranking = Ranking::new(1, 20, [500, 400]);
        ranking.add_grouped(&vec![[0, 0, 99, 99]; 50]);
        // The last group is the whole image: rank 1.
        for (i, (priority, _)) in ranking.boxes.iter().enumerate() {
            assert!((0.0..=(i + 1) as f64).contains(priority), "{i}: {priority}");
        }
    }
}
