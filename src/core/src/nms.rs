//! Non-maximum suppression and the choice of the best detections.
//!
//! ```
//! use frcnn_core::{BBox, Detection, keep_best, nms};
//! let at = |x: f32, score| Detection { class_id: 1, score, bbox: BBox::new(x, 0.0, x + 9.0, 9.0), proposal: 0 };
//! let mut cats = [at(0.0, 0.6), at(1.0, 0.9), at(40.0, 0.7)];
//! let kept = nms(&mut cats, 0.3, 1.0);
//! let best = keep_best::<100>(&mut cats[..kept], 100);
//! assert_eq!(best.iter().map(|d| d.score).collect::<Vec<_>>(), [0.9, 0.7]);
//! ```

use core::cmp::Ordering;

use crate::{BBox, Detection, Detections};

/// Greedy non-maximum suppression of one class's candidates.
///
/// Takes the candidates by descending score (equal scores: lower `proposal` first) and keeps each whose IoU with
/// every one kept before is below `iou`. The survivors move to the front in that order; returns how many there are;
/// what follows them is unspecified. A NaN score is never kept; a box with a NaN corner overlaps nothing.
///
/// An IoU of exactly `iou` suppresses. Implementations differ here: the published Fast R-CNN detects with its Cython
/// function (`lib/utils/nms.pyx`), which suppresses at the threshold, as this one does. Its version in plain Python
/// (`nms.py`), py-faster-rcnn's CUDA kernel and torchvision keep a box at the threshold.
///
/// Takes O(n log n + n k) time for n candidates and k survivors, and no memory.
#[must_use]
pub fn nms(candidates: &mut [Detection], iou: f32, width_offset: f32) -> usize {
    suppress(candidates, usize::MAX, |survivor, bbox| survivor.iou(bbox, width_offset) >= iou)
}

/// The same as torchvision has it, of continuous boxes: an IoU of exactly `iou` does not suppress, and of the survivors only the
/// first `most` are kept.
///
/// torchvision suppresses the boxes of all classes, or of all levels of a pyramid, in one go, and keeps them apart by adding
/// class times one more than the largest coordinate of all to each coordinate. That rounds, and so do the overlaps that come
/// of it: `shift` is what is added.
///
/// Takes O(n log n + n k) time for n candidates and k survivors, and no memory.
#[must_use]
pub fn nms_shifted(candidates: &mut [Detection], iou: f32, shift: f32, most: usize) -> usize {
    suppress(candidates, most, |survivor, bbox| survivor.shifted(shift).iou(&bbox.shifted(shift), 0.0) > iou)
}

/// Moves the first `most` candidates that no survivor before them `covers` to the front, the best first.
fn suppress(candidates: &mut [Detection], most: usize, covers: impl Fn(&BBox, &BBox) -> bool) -> usize {
    candidates.sort_unstable_by(|a, b| by_score(a, b).then(a.proposal.cmp(&b.proposal)));
    let mut kept = 0;
    for i in 0..candidates.len() {
        let candidate = candidates[i];
        if candidate.score.is_nan() || kept == most {
            break;
        }
        if !candidates[..kept].iter().any(|survivor| covers(&survivor.bbox, &candidate.bbox)) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    kept
}

/// The best `min(max, N)` candidates by descending score (equal scores: lower `class_id`, then lower `proposal` first).
///
/// Reorders `candidates`. A NaN score is never kept.
#[must_use]
pub fn keep_best<const N: usize>(candidates: &mut [Detection], max: usize) -> Detections<N> {
    candidates.sort_unstable_by(|a, b| {
        by_score(a, b).then(a.class_id.cmp(&b.class_id)).then(a.proposal.cmp(&b.proposal))
    });
    let mut best = Detections::new();
    for &candidate in candidates.iter().take_while(|d| !d.score.is_nan()).take(max) {
        if best.push(candidate).is_err() {
            break;
        }
    }
    best
}

/// Descending, NaN last.
fn by_score(a: &Detection, b: &Detection) -> Ordering {
    b.score.partial_cmp(&a.score).unwrap_or_else(|| a.score.is_nan().cmp(&b.score.is_nan()))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn detection(score: f32, proposal: u32, bbox: BBox) -> Detection {
        Detection { class_id: 1, score, bbox, proposal }
    }

    fn square(x: f32) -> BBox {
        BBox::new(x, 0.0, x + 9.0, 9.0)
    }

    #[test]
    fn suppresses_at_the_threshold() {
        // 10 x 10 pixels moved by 5: IoU 50 / 150, exactly representable on both sides of the comparison.
        let pair = [detection(0.9, 0, square(0.0)), detection(0.8, 1, square(5.0))];
        let third = 50.0 / 150.0;
        assert_eq!(nms(&mut pair.clone(), third, 1.0), 1);
        assert_eq!(nms(&mut pair.clone(), f32::from_bits(third.to_bits() + 1), 1.0), 2);
    }

    #[test]
    fn torchvision_keeps_a_box_at_the_threshold() {
        // Continuous squares of 9 x 9, moved by 4.5: IoU 40.5 / 121.5.
        let pair = [detection(0.9, 0, square(0.0)), detection(0.8, 1, square(4.5))];
        let third = 40.5 / 121.5;
        assert_eq!(nms_shifted(&mut pair.clone(), third, 0.0, 9), 2);
        assert_eq!(nms(&mut pair.clone(), third, 0.0), 1);
        assert_eq!(nms_shifted(&mut pair.clone(), f32::from_bits(third.to_bits() - 1), 0.0, 9), 1);
    }

    #[test]
    fn shifts_round() {
        // From 2^24 on, coordinates are even numbers, and the second square becomes the first.
        let at = |x: f32| BBox::new(x, 0.0, x + 10.0, 10.0);
        let pair = [detection(0.9, 0, at(0.0)), detection(0.8, 1, at(0.75))];
        assert_eq!(nms_shifted(&mut pair.clone(), 0.9, 0.0, 9), 2);
        assert_eq!(nms_shifted(&mut pair.clone(), 0.9, 16_777_216.0, 9), 1);
    }

    #[test]
    fn the_first_survivors_are_kept() {
        let mut far = [0, 1, 2, 3].map(|i| detection(i as f32, i, square(50.0 * i as f32)));
        assert_eq!(nms_shifted(&mut far, 0.5, 0.0, 2), 2);
        assert_eq!((far[0].proposal, far[1].proposal), (3, 2));
        assert_eq!(nms_shifted(&mut far, 0.5, 0.0, 0), 0);
        let mut nan =
            [detection(f32::NAN, 0, square(0.0)), detection(0.5, 1, BBox::new(f32::NAN, 0.0, 1.0, 1.0))];
        assert_eq!((nms_shifted(&mut nan, 0.5, 0.0, 9), nan[0].proposal), (1, 1));
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        // a covers b, b covers c, a does not reach c.
        let mut chain =
            [detection(0.9, 0, square(0.0)), detection(0.8, 1, square(4.0)), detection(0.7, 2, square(8.0))];
        assert_eq!(nms(&mut chain, 0.3, 1.0), 2);
        assert_eq!((chain[0].proposal, chain[1].proposal), (0, 2));
    }

    #[test]
    fn ties_and_nan() {
        let mut d = [
            detection(f32::NAN, 0, square(500.0)),
            detection(0.5, 7, square(1.0)),
            detection(0.5, 3, square(0.0)),
            detection(f32::INFINITY, 9, square(100.0)),
            detection(-f32::NAN, 1, square(200.0)),
            detection(f32::NEG_INFINITY, 2, square(300.0)),
        ];
        assert_eq!(nms(&mut d, 0.3, 1.0), 3);
        assert_eq!([d[0].proposal, d[1].proposal, d[2].proposal], [9, 3, 2]);
        assert_eq!(nms(&mut [], 0.3, 1.0), 0);
    }

    #[test]
    fn best_of_all_classes() {
        let at = |class_id, score, proposal| Detection { class_id, score, bbox: square(0.0), proposal };
        let all = [at(2, 0.5, 0), at(1, 0.5, 4), at(1, 0.5, 3), at(3, 0.9, 1), at(1, f32::NAN, 2)];
        let order = |best: &[Detection]| best.iter().map(|d| (d.class_id, d.proposal)).collect::<Vec<_>>();
        assert_eq!(order(&keep_best::<9>(&mut all.clone(), 9)), [(3, 1), (1, 3), (1, 4), (2, 0)]);
        assert_eq!(order(&keep_best::<9>(&mut all.clone(), 2)), [(3, 1), (1, 3)]);
        assert_eq!(order(&keep_best::<1>(&mut all.clone(), 9)), [(3, 1)]);
        assert_eq!(order(&keep_best::<9>(&mut all.clone(), 0)), []);
    }

    /// The obvious one: repeatedly take the best that is left and strike out what it overlaps.
    fn nms_reference(candidates: &[Detection], covers: impl Fn(&BBox, &BBox) -> bool) -> Vec<u32> {
        let mut alive = vec![true; candidates.len()];
        let mut kept = vec![];
        loop {
            let mut best: Option<usize> = None;
            for (i, c) in candidates.iter().enumerate().filter(|(i, c)| alive[*i] && !c.score.is_nan()) {
                let better = best.is_none_or(|b| {
                    let b = candidates[b];
                    c.score > b.score || (c.score == b.score && c.proposal < b.proposal)
                });
                if better {
                    best = Some(i);
                }
            }
            let Some(b) = best else { return kept };
            kept.push(candidates[b].proposal);
            for (i, c) in candidates.iter().enumerate() {
                if i == b || covers(&candidates[b].bbox, &c.bbox) {
                    alive[i] = false;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            boxes in prop::collection::vec((0u8..30, 0u8..30, 0u8..20, 0u8..20, 0u8..12), 0..120),
            iou in prop::sample::select(&[0.05f32, 0.3, 0.5, 1.0]),
            offset in prop::sample::select(&[0.0f32, 1.0]),
        ) {
            // Whole numbers and few scores, so that ties and equal overlaps are common.
            let mut candidates: Vec<_> = boxes.iter().zip(0..).map(|(&(x, y, w, h, score), proposal)| {
                let (x, y) = (f32::from(x), f32::from(y));
                let score = if score == 0 { f32::NAN } else { f32::from(score) / 16.0 };
                detection(score, proposal, BBox::new(x, y, x + f32::from(w), y + f32::from(h)))
            }).collect();
            let ids = |candidates: &[Detection]| candidates.iter().map(|d| d.proposal).collect::<Vec<_>>();
            let mut shifted = candidates.clone();
            let expected = nms_reference(&shifted, |a, b| a.iou(b, 0.0) > iou);
            // Whole numbers below 2^24 are exact, shifted or not.
            let kept = nms_shifted(&mut shifted, iou, 1000.0 * offset, usize::MAX);
            prop_assert_eq!(ids(&shifted[..kept]), expected);
            let expected = nms_reference(&candidates, |a, b| a.iou(b, offset) >= iou);
            let kept = nms(&mut candidates, iou, offset);
            prop_assert_eq!(ids(&candidates[..kept]), expected);
        }
    }
}
