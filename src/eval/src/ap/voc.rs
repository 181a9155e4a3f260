//! Average precision as VOC defines it, by the rules of py-faster-rcnn's `voc_eval`.
//!
//! Detections of a class over all images, best first. Each goes to the object of its image that it overlaps most, the
//! first of equals, and is
//!
//! | overlap | object | counts as |
//! |---|---|---|
//! | > IoU | difficult | nothing |
//! | > IoU | not found yet | found |
//! | > IoU | found before | false positive |
//! | <= IoU, or none | | false positive |
//!
//! Recall is over the objects that are not difficult. VOC07 averages the best precision at recall >= 0, 0.1 … 1; VOC10+
//! takes the area under the precision made monotone.

use std::collections::HashSet;
use std::ops::Add;

use rayon::prelude::*;
use serde::Serialize;

use super::threshold::BestThreshold;
use super::{OfClass, by_class, mean, truths_of};
use crate::{Dataset, Detection};

/// Scores of all classes.
#[derive(Clone, Debug, Serialize)]
pub struct Voc {
    /// Overlap above which a detection finds an object.
    pub iou: f64,
    /// In the data set's order.
    pub classes: Vec<VocClass>,
    /// Mean of the classes' [`VocClass::ap07`]; none if no class has an object.
    pub map07: Option<f64>,
    /// Mean of the classes' [`VocClass::ap10`].
    pub map10: Option<f64>,
}

/// One class's scores. A class without objects has none: the official program divides by zero there, and COCO's leaves
/// such a class out of the mean, as is done here.
#[derive(Clone, Debug, Serialize)]
pub struct VocClass {
    /// Its name.
    pub name: String,
    /// Objects that are not difficult.
    pub objects: usize,
    /// Detections.
    pub detections: usize,
    /// Average precision over 11 recalls.
    pub ap07: Option<f64>,
    /// Average precision as the area.
    pub ap10: Option<f64>,
    /// From which score on its detections are best taken; none where no object is found.
    pub best_threshold: Option<BestThreshold>,
    /// Recall after each detection, best first.
    #[serde(skip)]
    pub recall: Vec<f64>,
    /// Precision after each detection.
    #[serde(skip)]
    pub precision: Vec<f64>,
}

/// What became of a detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found(usize),
    Wrong,
    Ignored,
}

impl Outcome {
    /// The position of the object that was found.
    pub(crate) fn object(&self) -> Option<usize> {
        match self {
            Outcome::Found(object) => Some(*object),
            Outcome::Wrong | Outcome::Ignored => None,
        }
    }
}

/// Scores `detections` at the overlap `iou`.
pub fn voc(dataset: &Dataset, detections: &[Detection], iou: f64) -> Voc {
    let classes: Vec<VocClass> = by_class(dataset, detections)
        .par_iter()
        .zip(&dataset.classes)
        .map(|(class, name)| score(dataset, detections, class, name, iou))
        .collect();
    let map07 = mean(classes.iter().map(|class| class.ap07));
    let map10 = mean(classes.iter().map(|class| class.ap10));
    Voc { iou, classes, map07, map10 }
}

fn score(dataset: &Dataset, detections: &[Detection], class: &OfClass, name: &str, iou: f64) -> VocClass {
    let objects = class.truths.values().flatten();
    let objects =
        objects.filter(|&&position| dataset.truths.get(position).is_some_and(|t| !t.ignore)).count();
    let (mut found, mut wrong) = (0usize, 0usize);
    let (mut recall, mut precision) = (Vec::new(), Vec::new());
    let outcomes = outcomes(dataset, detections, class, iou);
    for outcome in &outcomes {
        match outcome {
            Outcome::Found(_) => found += 1,
            Outcome::Wrong => wrong += 1,
            Outcome::Ignored => {}
        }
        recall.push(found as f64 / objects as f64);
        precision.push(found as f64 / ((found + wrong) as f64).max(f64::EPSILON));
    }
    let scored = objects > 0;
    let scores = class.ranked.iter().filter_map(|&position| Some(detections.get(position)?.score));
    VocClass {
        name: name.to_string(),
        objects,
        detections: class.ranked.len(),
        ap07: scored.then(|| eleven_points(&recall, &precision)),
        ap10: scored.then(|| area(&recall, &precision)),
        best_threshold: BestThreshold::find(scores.zip(outcomes), objects),
        recall,
        precision,
    }
}

/// In the order of [`OfClass::ranked`].
pub(crate) fn outcomes(
    dataset: &Dataset,
    detections: &[Detection],
    class: &OfClass,
    iou: f64,
) -> Vec<Outcome> {
    let mut taken = HashSet::new();
    let ranked = class.ranked.iter().filter_map(|&position| detections.get(position));
    ranked
        .map(|detection| {
            let mut best = None;
            let mut most = f64::NEG_INFINITY;
            for (position, truth) in truths_of(dataset, class, detection.image) {
                let overlap = detection.region.iou(&truth.region);
                if overlap > most {
                    (best, most) = (Some((position, truth)), overlap);
                }
            }
            match best {
                Some((_, truth)) if most > iou && truth.ignore => Outcome::Ignored,
                Some((position, _)) if most > iou && taken.insert(position) => Outcome::Found(position),
                _ => Outcome::Wrong,
            }
        })
        .collect()
}

fn eleven_points(recall: &[f64], precision: &[f64]) -> f64 {
    // 0.1 * 3 is not 0.3, here as in numpy's arange.
    let thresholds = (0..11).map(|step| f64::from(step) * 0.1);
    let best_from = |threshold: f64| {
        let reached = recall.iter().zip(precision).filter(|(recall, _)| **recall >= threshold);
        reached.map(|(_, precision)| *precision).max_by(f64::total_cmp).unwrap_or(0.0)
    };
    thresholds.map(|threshold| best_from(threshold) / 11.0).fold(0.0, Add::add)
}

fn area(recall: &[f64], precision: &[f64]) -> f64 {
    let mut monotone = precision.to_vec();
    let mut best: f64 = 0.0;
    for value in monotone.iter_mut().rev() {
        best = best.max(*value);
        *value = best;
    }
    let before = std::iter::once(&0.0).chain(recall);
    before
        .zip(recall)
        .zip(&monotone)
        .map(|((before, recall), precision)| (recall - before) * precision)
        .fold(0.0, Add::add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_by_hand() {
        // Found, wrong, found, of two objects.
        let (recall, precision) = ([0.5, 0.5, 1.0], [1.0, 0.5, 2.0 / 3.0]);
        assert!((area(&recall, &precision) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        // Six recalls 0 … 0.5 at precision 1, five at 2/3.
        assert!((eleven_points(&recall, &precision) - (6.0 + 5.0 * 2.0 / 3.0) / 11.0).abs() < 1e-12);
        assert_eq!((area(&[], &[]), eleven_points(&[], &[])), (0.0, 0.0));
    }

    /// VOC10+ of detections `[x, height, score]` that are 10 wide, of objects of 10 x 10 at `[x, difficult]`.
    fn ap(objects: &[(f64, bool)], found: &[(f64, f64, f64)]) -> f64 {
        let region = |x, height| crate::Region { x, y: 0.0, width: 10.0, height };
        let truth = |&(x, ignore): &(f64, bool)| crate::Truth {
            image: 0,
            class: 0,
            region: region(x, 10.0),
            area: 100.0,
            ignore,
            crowd: false,
        };
        let image = crate::Image { stem: "a".to_string(), id: None, path: "a.jpg".into(), size: None };
        let dataset = Dataset {
            images: vec![image],
            classes: vec!["disc".to_string()],
            truths: objects.iter().map(truth).collect(),
            ..Dataset::default()
        };
        let detection =
            |&(x, height, score)| Detection { image: 0, class: 0, score, region: region(x, height) };
        let found: Vec<Detection> = found.iter().map(detection).collect();
        voc(&dataset, &found, 0.5).map10.unwrap()
    }

    #[test]
    fn the_first_of_two_that_overlap_alike_is_meant() {
        assert_eq!(ap(&[(0.0, true), (0.0, false)], &[(0.0, 10.0, 0.9)]), 0.0);
        assert_eq!(ap(&[(0.0, false), (0.0, true)], &[(0.0, 10.0, 0.9)]), 1.0);
    }

    /// Half of an object's height is an overlap of one half.
    #[test]
    fn an_overlap_at_the_threshold_is_too_little() {
        assert_eq!(ap(&[(0.0, false)], &[(0.0, 5.0, 0.9)]), 0.0);
        assert_eq!(ap(&[(0.0, false)], &[(0.0, 5.1, 0.9)]), 1.0);
        // Of a difficult object: then it is wrong, and not left out.
        let other = (50.0, 10.0, 0.8);
        assert_eq!(ap(&[(0.0, true), (50.0, false)], &[(0.0, 5.0, 0.9), other]), 0.5);
        assert_eq!(ap(&[(0.0, true), (50.0, false)], &[(0.0, 5.1, 0.9), other]), 1.0);
    }
}
