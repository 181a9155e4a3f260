//! The images on which a detector does worst.

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
    /// Objects that no detection found.
    pub misses: usize,
    /// Detections that found nothing.
    pub false_positives: usize,
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

/// The images with the most mistakes, worst first, at most `count`, counting only detections with a score of at
/// least `min_score`; VOC's rules at the overlap `iou`. Images without a mistake are left out.
pub fn mistakes(
    dataset: &Dataset,
    detections: &[Detection],
    iou: f64,
    min_score: f64,
    count: usize,
) -> Vec<ImageMistakes> {
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
            image.false_positives += usize::from(kind == MistakeKind::FalsePositive);
            image.marks.push(Mistake {
                kind,
                class: position,
                score: Some(found.score),
                region: found.region,
            });
        }
        for image in &mut images {
            for (truth_position, truth) in truths_of(dataset, class, image.image) {
                if !truth.ignore && !outcomes.contains(&Outcome::Found(truth_position)) {
                    image.misses += 1;
                    let kind = MistakeKind::Missed;
                    image.marks.push(Mistake { kind, class: position, score: None, region: truth.region });
                }
            }
        }
    }
    images.retain(|image| image.misses + image.false_positives > 0);
    images.sort_by_key(|image| std::cmp::Reverse(image.misses + image.false_positives));
    images.truncate(count);
    images
}
