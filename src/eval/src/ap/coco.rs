//! Average precision as COCO defines it, by the rules of pycocotools' `COCOeval` for boxes.
//!
//! For each class, area range and IoU `t` of .50:.05:.95: the 100 best detections of an image, best first, each take
//! the free object that they overlap most, by at least `t`; among equals the later one; an ignored object only if no
//! other is left. Ignored are crowds, and objects outside the area range. A crowd takes any number of detections, and
//! its overlap is the share of the detection that it covers. What takes an ignored object, and what takes none and lies
//! outside the area range, counts for nothing. Precision is made monotone and read at 101 recalls.
//!
//! One rule is not followed, because it is an oversight: pycocotools takes an object with annotation id 0 for none.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{OfClass, by_class, mean, truths_of};
use crate::{Dataset, Detection};

/// IoU thresholds.
const IOUS: usize = 10;
/// Recalls at which precision is read.
const RECALLS: usize = 101;
/// Detections of an image and class that count for recall; for precision the last.
const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
/// All, small, medium and large objects, in square pixels, ends included.
const AREAS: [(f64, f64); 4] = [(0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10)];

/// Scores of all classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coco {
    /// The twelve numbers.
    pub summary: CocoSummary,
    /// In the data set's order.
    pub classes: Vec<CocoClass>,
}

/// COCO's twelve numbers, in 0..=1. None where no class has an object of that size: pycocotools prints -1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CocoSummary {
    /// Mean over the IoU thresholds.
    pub ap: Option<f64>,
    /// At IoU 0.5.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// Objects below 32 x 32 pixels.
    pub ap_small: Option<f64>,
    /// Objects of 32 x 32 to 96 x 96.
    pub ap_medium: Option<f64>,
    /// Larger objects.
    pub ap_large: Option<f64>,
    /// Recall with 1 detection per image and class.
    pub ar1: Option<f64>,
    /// With 10.
    pub ar10: Option<f64>,
    /// With 100.
    pub ar100: Option<f64>,
    /// Recall of small objects, with 100.
    pub ar_small: Option<f64>,
    /// Of medium objects.
    pub ar_medium: Option<f64>,
    /// Of large objects.
    pub ar_large: Option<f64>,
}

/// One class's scores; none if it has no object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CocoClass {
    /// Its name.
    pub name: String,
    /// Mean over the IoU thresholds.
    pub ap: Option<f64>,
    /// At IoU 0.5.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
}

/// Scores `detections`.
pub fn coco(dataset: &Dataset, detections: &[Detection]) -> Coco {
    let ious = ious();
    let scores: Vec<[Option<Scores>; 4]> = by_class(dataset, detections)
        .par_iter()
        .map(|class| {
            let images = images(dataset, detections, class);
            AREAS.map(|area| {
                let assigned = images.iter().map(|image| image.assign(area, &ious)).collect::<Vec<_>>();
                accumulate(&assigned).map(|curves| curves.scores())
            })
        })
        .collect();
    let at = |area: usize, value: fn(&Scores) -> f64| {
        mean(scores.iter().map(|areas| areas.get(area)?.as_ref().map(value)))
    };
    let summary = CocoSummary {
        ap: at(0, |scores| scores.ap),
        ap50: at(0, |scores| scores.ap50),
        ap75: at(0, |scores| scores.ap75),
        ap_small: at(1, |scores| scores.ap),
        ap_medium: at(2, |scores| scores.ap),
        ap_large: at(3, |scores| scores.ap),
        ar1: at(0, |scores| scores.ar[0]),
        ar10: at(0, |scores| scores.ar[1]),
        ar100: at(0, |scores| scores.ar[2]),
        ar_small: at(1, |scores| scores.ar[2]),
        ar_medium: at(2, |scores| scores.ar[2]),
        ar_large: at(3, |scores| scores.ar[2]),
    };
    let class = |(name, [all, ..]): (&String, &[Option<Scores>; 4])| CocoClass {
        name: name.clone(),
        ap: all.as_ref().map(|scores| scores.ap),
        ap50: all.as_ref().map(|scores| scores.ap50),
        ap75: all.as_ref().map(|scores| scores.ap75),
    };
    let classes = dataset.classes.iter().zip(&scores).map(class).collect();
    Coco { summary, classes }
}

/// The doubles that numpy's `linspace(.5, .95, 10)` gives.
fn ious() -> [f64; IOUS] {
    let mut ious = [0.0; IOUS];
    let step = (0.95 - 0.5) / 9.0;
    for (iou, i) in ious.iter_mut().zip(0..) {
        *iou = if i == 9 { 0.95 } else { f64::from(i) * step + 0.5 };
    }
    ious
}

/// One image's objects and best detections of a class.
struct ImageOfClass {
    /// Best first.
    scores: Vec<f64>,
    areas: Vec<f64>,
    truths: Vec<TruthOfClass>,
    /// `[detection][truth]`.
    overlaps: Vec<f64>,
}

struct TruthOfClass {
    area: f64,
    ignore: bool,
    crowd: bool,
}

fn images(dataset: &Dataset, detections: &[Detection], class: &OfClass) -> Vec<ImageOfClass> {
    let mut ranked: HashMap<usize, Vec<&Detection>> = HashMap::new();
    for found in class.ranked.iter().filter_map(|&position| detections.get(position)) {
        let of_image = ranked.entry(found.image).or_default();
        if of_image.len() < MAX_DETECTIONS[2] {
            of_image.push(found);
        }
    }
    let mut order: Vec<usize> = ranked.keys().chain(class.truths.keys()).copied().collect();
    order.sort_unstable();
    order.dedup();
    order
        .into_iter()
        .map(|image| {
            let found = ranked.get(&image).map(Vec::as_slice).unwrap_or_default();
            let truths: Vec<_> = truths_of(dataset, class, image).map(|(_, truth)| truth).collect();
            let overlap = |found: &Detection| {
                let region = found.region;
                let truths = truths.iter().map(move |truth| {
                    if truth.crowd { region.covered_by(&truth.region) } else { region.iou(&truth.region) }
                });
                truths.collect::<Vec<f64>>()
            };
            let overlaps = found.iter().flat_map(|found| overlap(found)).collect();
            let truth = |truth: &&crate::Truth| TruthOfClass {
                area: truth.area,
                ignore: truth.ignore,
                crowd: truth.crowd,
            };
            ImageOfClass {
                scores: found.iter().map(|found| found.score).collect(),
                areas: found.iter().map(|found| found.region.area()).collect(),
                truths: truths.iter().map(truth).collect(),
                overlaps,
            }
        })
        .collect()
}

/// What became of one image's detections in one area range.
struct Assigned<'a> {
    scores: &'a [f64],
    /// `[iou][detection]`.
    outcomes: Vec<Outcome>,
    /// Objects that are not ignored.
    objects: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Found,
    Wrong,
    Ignored,
}

impl ImageOfClass {
    fn assign(&self, (low, high): (f64, f64), ious: &[f64; IOUS]) -> Assigned<'_> {
        let outside = |area: f64| area < low || area > high;
        let ignored: Vec<bool> = self.truths.iter().map(|t| t.ignore || outside(t.area)).collect();
        // Those that count first, otherwise in their order.
        let mut order: Vec<usize> = (0..ignored.len()).collect();
        order.sort_by_key(|&truth| ignored.get(truth).copied());
        let mut outcomes = Vec::with_capacity(IOUS * self.scores.len());
        for &threshold in ious {
            let mut taken = vec![false; self.truths.len()];
            for (detection, &area) in self.areas.iter().enumerate() {
                let outcome = match self.take(detection, threshold, &order, &ignored, &taken) {
                    Some(truth) => {
                        if let Some(taken) = taken.get_mut(truth) {
                            *taken = true;
                        }
                        if ignored.get(truth) == Some(&true) { Outcome::Ignored } else { Outcome::Found }
                    }
                    None if outside(area) => Outcome::Ignored,
                    None => Outcome::Wrong,
                };
                outcomes.push(outcome);
            }
        }
        let objects = ignored.iter().filter(|ignored| !**ignored).count();
        Assigned { scores: &self.scores, outcomes, objects }
    }

    /// The truth that a detection takes.
    fn take(
        &self,
        detection: usize,
        threshold: f64,
        order: &[usize],
        ignored: &[bool],
        taken: &[bool],
    ) -> Option<usize> {
        let overlaps = self.overlaps.get(detection * self.truths.len()..)?;
        let mut most = threshold.min(1.0 - 1e-10);
        let mut best: Option<usize> = None;
        for &truth in order {
            if taken.get(truth) == Some(&true) && !self.truths.get(truth)?.crowd {
                continue;
            }
            let counts = |truth: usize| ignored.get(truth) == Some(&false);
            if best.is_some_and(counts) && !counts(truth) {
                break;
            }
            let overlap = *overlaps.get(truth)?;
            if overlap >= most {
                (best, most) = (Some(truth), overlap);
            }
        }
        best
    }
}

/// Precision and recall of a class in one area range.
struct Curves {
    /// `[iou][recall]`.
    precision: Vec<f64>,
    /// `[maximum of detections][iou]`.
    recall: Vec<f64>,
}

/// What is kept of a class's curves in one area range: there may be tens of thousands of classes.
struct Scores {
    ap: f64,
    ap50: f64,
    ap75: f64,
    ar: [f64; 3],
}

impl Curves {
    fn scores(&self) -> Scores {
        let ar = std::array::from_fn(|maximum| self.ar(maximum));
        Scores { ap: self.ap(), ap50: self.ap_at(0), ap75: self.ap_at(5), ar }
    }

    fn ap(&self) -> f64 {
        self.precision.iter().sum::<f64>() / self.precision.len() as f64
    }

    fn ap_at(&self, iou: usize) -> f64 {
        let of_iou = self.precision.chunks_exact(RECALLS).nth(iou).unwrap_or_default();
        of_iou.iter().sum::<f64>() / RECALLS as f64
    }

    fn ar(&self, maximum: usize) -> f64 {
        let of_maximum = self.recall.chunks_exact(IOUS).nth(maximum).unwrap_or_default();
        of_maximum.iter().sum::<f64>() / IOUS as f64
    }
}

/// None if no object counts.
fn accumulate(images: &[Assigned]) -> Option<Curves> {
    let objects: usize = images.iter().map(|image| image.objects).sum();
    if objects == 0 {
        return None;
    }
    let mut curves = Curves { precision: Vec::new(), recall: Vec::new() };
    for maximum in MAX_DETECTIONS {
        let mut ranked: Vec<(f64, &Assigned, usize)> = images
            .iter()
            .flat_map(|image| {
                image.scores.iter().take(maximum).zip(0..).map(move |(s, rank)| (*s, image, rank))
            })
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        for iou in 0..IOUS {
            let outcomes = ranked
                .iter()
                .filter_map(|(_, image, rank)| image.outcomes.get(iou * image.scores.len() + rank).copied());
            let (recall, precision) = curve(outcomes, objects);
            curves.recall.push(recall.last().copied().unwrap_or(0.0));
            if maximum == MAX_DETECTIONS[2] {
                curves.precision.extend(at_recalls(&recall, precision));
            }
        }
    }
    Some(curves)
}

fn curve(outcomes: impl Iterator<Item = Outcome>, objects: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut found, mut wrong) = (0u32, 0u32);
    outcomes
        .map(|outcome| {
            found += u32::from(outcome == Outcome::Found);
            wrong += u32::from(outcome == Outcome::Wrong);
            let (found, all) = (f64::from(found), f64::from(found + wrong));
            (found / objects as f64, found / (all + f64::EPSILON))
        })
        .unzip()
}

/// The best precision at each of the recalls 0, 0.01 … 1 or a higher one.
fn at_recalls(recall: &[f64], mut precision: Vec<f64>) -> impl Iterator<Item = f64> {
    let mut best: f64 = 0.0;
    for value in precision.iter_mut().rev() {
        best = best.max(*value);
        *value = best;
    }
    (0..RECALLS).map(move |step| {
        let wanted = if step == RECALLS - 1 { 1.0 } else { step as f64 * 0.01 };
        let first = recall.partition_point(|&recall| recall < wanted);
        precision.get(first).copied().unwrap_or(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in pycocotools, an object of 32 x 32 pixels is small and medium, one of 96 x 96 medium and large.
    #[test]
    fn sides_of_an_area_range_belong_to_it() {
        for (side, [small, medium, large]) in
            [(31.0, [1, 0, 0]), (32.0, [1, 1, 0]), (33.0, [0, 1, 0]), (96.0, [0, 1, 1]), (97.0, [0, 0, 1])]
        {
            let region = crate::Region { x: 0.0, y: 0.0, width: side, height: side };
            let area = region.area();
            let truth = crate::Truth { image: 0, class: 0, region, area, ignore: false, crowd: false };
            let dataset = Dataset {
                images: vec![crate::Image {
                    stem: "a".to_string(),
                    id: None,
                    path: "a.jpg".into(),
                    size: None,
                }],
                classes: vec!["disc".to_string()],
                truths: vec![truth],
                ..Dataset::default()
            };
            let found = Detection { image: 0, class: 0, score: 0.9, region };
            let summary = coco(&dataset, &[found]).summary;
            let ranges = [summary.ap_small, summary.ap_medium, summary.ap_large];
            // Precision is over a count to which pycocotools adds the least step above 1.
            let found = ranges.map(|ap| ap.map_or(0, |ap| i32::from((ap - 1.0).abs() < 1e-12)));
            assert_eq!(found, [small, medium, large], "{side} pixels: {ranges:?}");
        }
    }
}
