//! Two detectors' lists for one image, side by side.

use frcnn_core::BBox;
use serde::{Serialize, Serializer};

use crate::tensors::difference::{distance, finite_or_text};

/// A detection, whoever made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Class as the network counts: 0 is the background.
    pub class_id: u16,
    /// Its probability.
    pub score: f32,
    /// In image pixels.
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
    /// Largest difference of scores of a pair; infinite if one of them is NaN or just one is finite. This and what follows is
    /// none where nothing matched.
    #[serde(serialize_with = "serialized")]
    pub max_score: Option<f32>,
    /// Mean difference.
    #[serde(serialize_with = "serialized")]
    pub mean_score: Option<f32>,
    /// Largest distance between corners of a pair, in pixels.
    #[serde(serialize_with = "serialized")]
    pub max_corner: Option<f32>,
    /// Smallest overlap of a pair.
    #[serde(serialize_with = "serialized")]
    pub min_iou: Option<f32>,
}

fn serialized<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => finite_or_text(&f64::from(*value), serializer),
        None => serializer.serialize_none(),
    }
}

/// Pairs detections of one class that overlap by at least `min_iou`, those with the largest overlap first. Boxes are
/// `x2 - x1 + width_offset` wide, by their manifest's `width_offset()`.
pub fn pair(reference: &[Found], found: &[Found], min_iou: f32, width_offset: f32) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (r, expected) in reference.iter().enumerate() {
        for (f, other) in found.iter().enumerate().filter(|(_, other)| other.class_id == expected.class_id) {
            let iou = expected.bbox.iou(&other.bbox, width_offset);
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
            ..Drift::default()
        };
        let largest = |so_far: &mut Option<f32>, value: f32| *so_far = Some(so_far.unwrap_or(0.0).max(value));
        for pair in pairs {
            let (Some(a), Some(b)) = (reference.get(pair.reference), found.get(pair.found)) else { continue };
            let score = distance(a.score, b.score) as f32;
            largest(&mut drift.max_score, score);
            drift.mean_score = Some(drift.mean_score.unwrap_or(0.0) + score / pairs.len() as f32);
            let corners = |bbox: &BBox| [bbox.x1, bbox.y1, bbox.x2, bbox.y2];
            for (a, b) in corners(&a.bbox).into_iter().zip(corners(&b.bbox)) {
                largest(&mut drift.max_corner, distance(a, b) as f32);
            }
            drift.min_iou = Some(drift.min_iou.unwrap_or(1.0).min(pair.iou));
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
        let pairs = pair(&reference, &found, 0.5, 1.0);
        let ids: Vec<_> = pairs.iter().map(|pair| (pair.reference, pair.found)).collect();
        assert_eq!(ids, [(1, 0), (0, 1)]);
        let drift = Drift::new(&reference, &found, &pairs);
        assert_eq!((drift.matched, drift.missing, drift.extra, drift.max_corner), (2, 1, 1, Some(1.0)));
        assert!((drift.max_score.unwrap() - 0.05).abs() < 1e-6 && drift.min_iou == Some(pairs[1].iou));
        let broken = |list: &[Found]| {
            list.iter().map(|found| Found { score: f32::NAN, ..*found }).collect::<Vec<Found>>()
        };
        for expected in [reference.to_vec(), broken(&reference)] {
            let drift = Drift::new(&expected, &broken(&found), &pairs);
            assert_eq!((drift.max_score, drift.mean_score), (Some(f32::INFINITY), Some(f32::INFINITY)));
            assert!(serde_json::to_string(&drift).unwrap().contains(r#""max_score":"inf""#));
        }
    }

    #[test]
    fn what_did_not_match_has_not_drifted_by_nothing() {
        let at = |x: f32| Found { class_id: 1, score: 0.9, bbox: BBox::new(x, 0.0, x + 9.0, 9.0) };
        let (reference, found) = ([at(0.0)], [at(50.0), at(90.0)]);
        let drift = Drift::new(&reference, &found, &pair(&reference, &found, 0.5, 1.0));
        assert_eq!(drift, Drift { missing: 1, extra: 2, ..Drift::default() });
        let json = serde_json::to_value(drift).unwrap();
        for figure in ["max_score", "mean_score", "max_corner", "min_iou"] {
            assert!(json[figure].is_null(), "{json}");
        }
    }

    /// Each has one partner at most, and an overlap of just what is asked for is enough.
    #[test]
    fn pairs_are_one_to_one() {
        let at = |x: f32| Found { class_id: 1, score: 0.9, bbox: BBox::new(x, 0.0, x + 9.0, 9.0) };
        assert_eq!(pair(&[at(0.0), at(0.0)], &[at(0.0)], 0.5, 1.0).len(), 1);
        assert_eq!(pair(&[at(0.0)], &[at(0.0), at(0.0)], 0.5, 1.0).len(), 1);
        // 8 of 12 columns.
        let iou = at(0.0).bbox.iou(&at(2.0).bbox, 1.0);
        assert_eq!(pair(&[at(0.0)], &[at(2.0)], iou, 1.0).len(), 1);
        assert!(pair(&[at(0.0)], &[at(2.0)], iou * 1.001, 1.0).is_empty());
    }

    /// Of four columns three are shared if corners are pixels, and of three two if they are edges.
    #[test]
    fn boxes_are_as_wide_as_their_manifest_says() {
        let at = |x: f32| [Found { class_id: 1, score: 0.9, bbox: BBox::new(x, 0.0, x + 3.0, 9.0) }];
        let of_pixels = pair(&at(0.0), &at(1.0), 0.5, 1.0);
        assert_eq!(of_pixels.first().map(|pair| pair.iou), Some(0.6));
        assert_eq!(pair(&at(0.0), &at(1.0), 0.5, 0.0).first().map(|pair| pair.iou), Some(0.5));
        assert!(pair(&at(0.0), &at(1.0), 0.55, 0.0).is_empty());
    }
}
