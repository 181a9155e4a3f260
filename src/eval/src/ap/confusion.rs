//! Which class is taken for which.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::by_class;
use super::voc::{Outcome, outcomes};
use crate::{Dataset, Detection};

/// Objects and detections by true and predicted class.
///
/// An object is matched first as VOC's rules have it, by detections of its own class: these are the diagonal, and what its recall
/// counts. Detections and objects that are left over are then matched across classes, one to one, the largest overlap first, where
/// it is above the same threshold. What is left after that is a detection of the background, or an object taken for background.
/// `difficult` and `iscrowd` objects, and detections of such, count nowhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confusion {
    counts: BTreeMap<(Option<usize>, Option<usize>), u64>,
}

impl Confusion {
    /// How often objects of the class `truth` were found as class `predicted`; `None` is the background.
    pub fn count(&self, truth: Option<usize>, predicted: Option<usize>) -> u64 {
        self.counts.get(&(truth, predicted)).copied().unwrap_or(0)
    }

    /// True class, predicted class and count, wherever that is above 0; the background comes first.
    pub fn iter(&self) -> impl Iterator<Item = (Option<usize>, Option<usize>, u64)> {
        self.counts.iter().map(|(&(truth, predicted), &count)| (truth, predicted, count))
    }

    /// The classes that occur on either side, in their order.
    pub fn classes(&self) -> BTreeSet<usize> {
        self.counts.keys().flat_map(|&(truth, predicted)| [truth, predicted]).flatten().collect()
    }
}

/// Counts objects and those detections that have at least `min_score`; an overlap has to be above `iou`.
pub fn confusion(dataset: &Dataset, detections: &[Detection], iou: f64, min_score: f64) -> Confusion {
    let confident: Vec<Detection> = detections.iter().filter(|d| d.score >= min_score).copied().collect();
    let mut confusion = Confusion::default();
    let mut add = |truth: Option<usize>, predicted: Option<usize>| {
        *confusion.counts.entry((truth, predicted)).or_insert(0) += 1;
    };
    let mut found: HashSet<usize> = HashSet::new();
    // By image: positions of what is left over.
    let mut left: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (position, class) in by_class(dataset, &confident).iter().enumerate() {
        for (&detection, outcome) in class.ranked.iter().zip(outcomes(dataset, &confident, class, iou)) {
            match (outcome, confident.get(detection)) {
                (Outcome::Found(truth), _) => {
                    found.insert(truth);
                    add(Some(position), Some(position));
                }
                (Outcome::Wrong, Some(wrong)) => left.entry(wrong.image).or_default().0.push(detection),
                _ => {}
            }
        }
    }
    for (position, truth) in dataset.truths.iter().enumerate() {
        if !truth.ignore && !found.contains(&position) {
            left.entry(truth.image).or_default().1.push(position);
        }
    }
    for (wrong, missed) in left.values() {
        let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
        for &d in wrong {
            for &t in missed {
                let (Some(detection), Some(truth)) = (confident.get(d), dataset.truths.get(t)) else {
                    continue;
                };
                let overlap = detection.region.iou(&truth.region);
                if detection.class != truth.class && overlap > iou {
                    pairs.push((overlap, d, t));
                }
            }
        }
        let score = |d: usize| confident.get(d).map_or(f64::NEG_INFINITY, |detection| detection.score);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(score(b.1).total_cmp(&score(a.1))));
        let (mut given, mut taken) = (HashSet::new(), HashSet::new());
        let class_of = |d: usize| confident.get(d).map(|detection| detection.class);
        let true_class = |t: usize| dataset.truths.get(t).map(|truth| truth.class);
        for (_, d, t) in pairs {
            if !given.contains(&d) && taken.insert(t) {
                given.insert(d);
                add(true_class(t), class_of(d));
            }
        }
        wrong.iter().filter(|d| !given.contains(*d)).for_each(|&d| add(None, class_of(d)));
        missed.iter().filter(|t| !taken.contains(*t)).for_each(|&t| add(true_class(t), None));
    }
    confusion
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Region, Truth, voc};

    fn region(x: f64) -> Region {
        Region { x, y: 0.0, width: 10.0, height: 10.0 }
    }

    /// Objects `[class, x, difficult]` and detections `[class, x, score]` of two images' worth of classes, all in one image.
    fn of(objects: &[(usize, f64, bool)], found: &[(usize, f64, f64)]) -> (Dataset, Vec<Detection>) {
        let truth = |&(class, x, ignore): &(usize, f64, bool)| Truth {
            image: 0,
            class,
            region: region(x),
            area: 100.0,
            ignore,
            crowd: false,
        };
        let dataset = Dataset {
            images: vec![Image { stem: "a".to_string(), id: None, path: "a.jpg".into(), size: None }],
            classes: ["cat", "dog", "cow"].map(str::to_string).to_vec(),
            truths: objects.iter().map(truth).collect(),
            ..Dataset::default()
        };
        let detection =
            |&(class, x, score): &(usize, f64, f64)| Detection { image: 0, class, score, region: region(x) };
        (dataset, found.iter().map(detection).collect())
    }

    #[test]
    fn by_hand() {
        let (cat, dog, cow) = (Some(0), Some(1), Some(2));
        let (dataset, found) = of(
            &[(0, 0.0, false), (0, 50.0, false), (1, 100.0, false), (1, 150.0, false), (2, 200.0, true)],
            &[
                (0, 1.0, 0.9),
                // Found a second time.
                (0, 0.0, 0.8),
                // A cat taken for a dog, twice; the nearer one is meant.
                (1, 52.0, 0.95),
                (1, 51.0, 0.6),
                // A dog that its own class finds, although another is nearer.
                (1, 102.0, 0.7),
                (0, 100.0, 0.99),
                // Below the threshold, NaN, and on a difficult object.
                (1, 150.0, 0.4),
                (1, 150.0, f64::NAN),
                (2, 200.0, 0.9),
            ],
        );
        let confusion = confusion(&dataset, &found, 0.5, 0.5);
        let expected = [
            ((None, cat), 2),
            ((None, dog), 1),
            ((cat, cat), 1),
            ((cat, dog), 1),
            ((dog, None), 1),
            ((dog, dog), 1),
        ];
        assert_eq!(confusion.counts, expected.into());
        assert_eq!(
            (confusion.count(cat, dog), confusion.count(dog, cat), confusion.count(cow, cow)),
            (1, 0, 0)
        );
        assert_eq!(confusion.classes(), [0, 1].into());
    }

    /// The diagonal is what VOC's recall counts, rows are objects, columns detections.
    #[test]
    fn sums_are_those_of_the_scores() {
        // Places and scores without order, from a linear congruence.
        let numbers = |n: usize, seed: u64| {
            let next = |state: &u64| {
                Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
            };
            std::iter::successors(next(&seed), next).take(n).map(|state| (state >> 33) as usize)
        };
        let objects: Vec<_> = numbers(40, 1).map(|n| (n % 3, (n / 3 % 300) as f64, n % 7 == 0)).collect();
        let found: Vec<_> =
            numbers(120, 2).map(|n| (n % 3, (n / 3 % 300) as f64, (n % 101) as f64 / 100.0)).collect();
        let (dataset, detections) = of(&objects, &found);
        let confusion = confusion(&dataset, &detections, 0.3, 0.0);
        let scores = voc(&dataset, &detections, 0.3);
        for (class, score) in scores.classes.iter().enumerate() {
            let all = [None, Some(0), Some(1), Some(2)];
            let row: u64 = all.iter().map(|&predicted| confusion.count(Some(class), predicted)).sum();
            assert_eq!(row as usize, score.objects);
            let recall = confusion.count(Some(class), Some(class)) as f64 / score.objects as f64;
            assert_eq!(recall, *score.recall.last().unwrap());
            let column: u64 = all.iter().map(|&truth| confusion.count(truth, Some(class))).sum();
            assert!(column as usize <= score.detections && column > 0);
        }
        assert!(
            confusion
                .iter()
                .any(|(truth, predicted, _)| truth.is_some() && predicted.is_some() && truth != predicted)
        );
    }

    #[test]
    fn nothing_found_is_all_background() {
        let (dataset, _) = of(&[(0, 0.0, false), (2, 50.0, false), (2, 80.0, true)], &[]);
        let all_missed = confusion(&dataset, &[], 0.5, 0.5);
        assert_eq!(all_missed.iter().collect::<Vec<_>>(), [(Some(0), None, 1), (Some(2), None, 1)]);
        assert_eq!(confusion(&Dataset::default(), &[], 0.5, 0.5), Confusion::default());
    }
}
