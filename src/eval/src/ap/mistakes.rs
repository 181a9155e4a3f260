//! The images on which a detector does worst, and best.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde::Serialize;

use super::voc::{Outcome, outcomes};
use super::{by_class, truths_of};
use crate::{Dataset, Detection, Region};

/// What was found, missed and made up in one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageMistakes {
    /// Position of the image.
    pub image: usize,
    /// Objects, misses and false positives of all classes.
    pub marks: Vec<Mistake>,
    /// Objects that were found.
    pub found: usize,
    /// Objects that no detection found.
    pub misses: usize,
    /// Detections that found nothing.
    pub false_positives: usize,
}

impl ImageMistakes {
    fn mistakes(&self) -> usize {
        self.misses + self.false_positives
    }
}

/// One box to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// What it is.
    pub kind: MistakeKind,
    /// Position of its class.
    pub class: usize,
    /// Of a detection.
    pub score: Option<f64>,
    /// Where.
    pub region: Region,
}

/// What a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeKind {
    /// A detection that found an object: no mistake.
    Found,
    /// A detection that found none.
    FalsePositive,
    /// An object that no detection found.
    Missed,
}

/// What became of each image's objects and of its detections with a score of at least `min_score`; VOC's rules at the overlap
/// `iou`. In the data set's order.
pub fn mistakes(dataset: &Dataset, detections: &[Detection], iou: f64, min_score: f64) -> Vec<ImageMistakes> {
    let confident: Vec<Detection> = detections.iter().filter(|d| d.score >= min_score).copied().collect();
    let mut images: Vec<ImageMistakes> =
        (0..dataset.images.len()).map(|image| ImageMistakes { image, ..ImageMistakes::default() }).collect();
    for (position, class) in by_class(dataset, &confident).iter().enumerate() {
        let outcomes = outcomes(dataset, &confident, class, iou);
        let ranked = class.ranked.iter().filter_map(|&position| confident.get(position));
        for (found, outcome) in ranked.zip(&outcomes) {
            let Some(image) = images.get_mut(found.image) else { continue };
            let kind = match outcome {
                Outcome::Found(_) => MistakeKind::Found,
                Outcome::Wrong => MistakeKind::FalsePositive,
                Outcome::Ignored => continue,
            };
            image.found += usize::from(kind == MistakeKind::Found);
            image.false_positives += usize::from(kind == MistakeKind::FalsePositive);
            image.marks.push(Mistake {
                kind,
                class: position,
                score: Some(found.score),
                region: found.region,
            });
        }
        let found: HashSet<usize> = outcomes.iter().filter_map(Outcome::object).collect();
        for image in &mut images {
            for (truth_position, truth) in truths_of(dataset, class, image.image) {
                if !truth.ignore && !found.contains(&truth_position) {
                    image.misses += 1;
                    let kind = MistakeKind::Missed;
                    image.marks.push(Mistake { kind, class: position, score: None, region: truth.region });
                }
            }
        }
    }
    images
}

/// At most `count` images with mistakes, those with the most first.
pub fn worst(images: &[ImageMistakes], count: usize) -> Vec<&ImageMistakes> {
    let mut worst: Vec<&ImageMistakes> = images.iter().filter(|image| image.mistakes() > 0).collect();
    worst.sort_by_key(|image| Reverse(image.mistakes()));
    worst.truncate(count);
    worst
}

/// At most `count` images in which an object was found: those with the fewest mistakes first, and of these those with the most
/// found objects.
pub fn best(images: &[ImageMistakes], count: usize) -> Vec<&ImageMistakes> {
    let mut best: Vec<&ImageMistakes> = images.iter().filter(|image| image.found > 0).collect();
    best.sort_by_key(|image| (image.mistakes(), Reverse(image.found)));
    best.truncate(count);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_mistakes_are_worst_and_the_most_found_without_best() {
        let image = |image, found, misses, false_positives| ImageMistakes {
            image,
            found,
            misses,
            false_positives,
            marks: Vec::new(),
        };
        let images = [
            image(0, 1, 0, 0),
            image(1, 4, 0, 0),
            image(2, 9, 1, 0),
            image(3, 0, 0, 2),
            image(4, 0, 0, 0),
            image(5, 2, 1, 1),
        ];
        let positions =
            |images: Vec<&ImageMistakes>| images.iter().map(|image| image.image).collect::<Vec<_>>();
        assert_eq!(positions(worst(&images, 9)), [3, 5, 2]);
        assert_eq!(positions(best(&images, 9)), [1, 0, 2, 5]);
        assert_eq!((positions(worst(&images, 1)), positions(best(&images, 1))), (vec![3], vec![1]));
        assert!(worst(&[], 9).is_empty() && best(&[], 9).is_empty());
    }
}
