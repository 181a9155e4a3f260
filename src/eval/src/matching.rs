//! Two detectors' lists for one image, side by side.

use frcnn_core::{BBox, difference};
use serde::Serialize;

/// A detection, whoever made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Class as the network counts: 0 is the background.
    pub class_id: u16,
    /// Its probability.
    pub score: f32,
    /// In image pixels, corners inclusive.
    pub bbox: BBox,
}

/// Two detections of one object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Position in the reference's list.
    pub reference: usize,
    /// Position in the other list.
    pub found: usize,
    /// Overlap of their boxes.
    pub iou: f32,
}

/// How far the pairs of two lists are apart, and what has no pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Drift {
    /// Pairs.
    pub matched: usize,
    /// Only in the reference.
    pub missing: usize,
    /// Only in the other list.
    pub extra: usize,
    /// Largest difference of scores of a pair; infinite if just one of them is a number.
    pub max_score: f32,
    /// Mean difference.
    pub mean_score: f32,
    /// Largest distance between corners of a pair, in pixels.
    pub max_corner: f32,
    /// Smallest overlap of a pair; 1 if there is none.
    pub min_iou: f32,
}

/// Pairs detections of one class that overlap by at least `min_iou`, those with the largest overlap first.
pub fn pair(reference: &[Found], found: &[Found], min_iou: f32) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (r, expected) in reference.iter().enumerate() {
        for (f, other) in found.iter().enumerate().filter(|(_, other)| other.class_id == expected.class_id) {
            let iou = expected.bbox.iou(&other.bbox, 1.0);
            if iou >= min_iou {
                pairs.push(Pair { reference: r, found: f, iou });
            }
        }
    }
    pairs.sort_by(|a, b| b.iou.total_cmp(&a.iou));
    let (mut taken, mut given) = (vec![false; reference.len()], vec![false; found.len()]);
    pairs.retain(|pair| match (taken.get_mut(pair.reference), given.get_mut(pair.found)) {
        (Some(taken), Some(given)) if !*taken && !*given => {
            (*taken, *given) = (true, true);
            true
        }
        _ => false,
    });
    pairs
}

impl Drift {
    /// Of the pairs that [`pair`] gave.
    pub fn new(reference: &[Found], found: &[Found], pairs: &[Pair]) -> Drift {
        let mut drift = Drift {
            matched: pairs.len(),
            missing: reference.len().saturating_sub(pairs.len()),
            extra: found.len().saturating_sub(pairs.len()),
            min_iou: 1.0,
            ..Drift::default()
        };
        for pair in pairs {
            let (Some(a), Some(b)) = (reference.get(pair.reference), found.get(pair.found)) else { continue };
            let score = difference(a.score, b.score) as f32;
            drift.max_score = drift.max_score.max(score);
            drift.mean_score += score / pairs.len() as f32;
            let corners = |bbox: &BBox| [bbox.x1, bbox.y1, bbox.x2, bbox.y2];
            for (a, b) in corners(&a.bbox).into_iter().zip(corners(&b.bbox)) {
                drift.max_corner = drift.max_corner.max(difference(a, b) as f32);
            }
            drift.min_iou = drift.min_iou.min(pair.iou);
        }
        drift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_pairs_and_classes_are_not_mixed() {
        let at = |class_id, x: f32, score| Found { class_id, score, bbox: BBox::new(x, 0.0, x + 9.0, 9.0) };
        let reference = [at(1, 0.0, 0.9), at(1, 3.0, 0.8), at(2, 50.0, 0.7)];
        let found = [at(1, 3.0, 0.75), at(1, 1.0, 0.9), at(1, 50.0, 0.7)];
        let pairs = pair(&reference, &found, 0.5);
        let ids: Vec<_> = pairs.iter().map(|pair| (pair.reference, pair.found)).collect();
        assert_eq!(ids, [(1, 0), (0, 1)]);
        let drift = Drift::new(&reference, &found, &pairs);
        assert_eq!((drift.matched, drift.missing, drift.extra, drift.max_corner), (2, 1, 1, 1.0));
        assert!((drift.max_score - 0.05).abs() < 1e-6 && drift.min_iou == pairs[1].iou);
        let broken = found.map(|found| Found { score: f32::NAN, ..found });
        assert_eq!(Drift::new(&reference, &broken, &pairs).max_score, f32::INFINITY);
    }

    /// Each has one partner at most, and an overlap of just what is asked for is enough.
    #[test]
    fn pairs_are_one_to_one() {
        let at = |x: f32| Found { class_id: 1, score: 0.9, bbox: BBox::new(x, 0.0, x + 9.0, 9.0) };
        assert_eq!(pair(&[at(0.0), at(0.0)], &[at(0.0)], 0.5).len(), 1);
        assert_eq!(pair(&[at(0.0)], &[at(0.0), at(0.0)], 0.5).len(), 1);
        // 8 of 12 columns.
        let iou = at(0.0).bbox.iou(&at(2.0).bbox, 1.0);
        assert_eq!(pair(&[at(0.0)], &[at(2.0)], iou).len(), 1);
        assert!(pair(&[at(0.0)], &[at(2.0)], iou * 1.001).is_empty());
    }
}
