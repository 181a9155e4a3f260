//! From which score on detections of a class are best taken.

use serde::Serialize;

use super::voc::Outcome;

/// The threshold with the highest F1 = 2 TP / (2 TP + FP + FN), where TP are objects that are found, FP detections that find none,
/// FN objects that are missed. Of thresholds with one F1 the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BestThreshold {
    /// Detections with at least this score are taken.
    pub score: f64,
    /// In 0..=1.
    pub f1: f64,
    /// TP / (TP + FP).
    pub precision: f64,
    /// TP / (TP + FN).
    pub recall: f64,
}

impl BestThreshold {
    /// Of the scores and outcomes of a class's detections, best first. None where no object is found. Detections whose score is NaN
    /// are above no threshold.
    pub(crate) fn find(
        detections: impl Iterator<Item = (f64, Outcome)>,
        objects: usize,
    ) -> Option<BestThreshold> {
        let (mut found, mut wrong) = (0usize, 0usize);
        let mut best: Option<BestThreshold> = None;
        let mut detections = detections.filter(|(score, _)| !score.is_nan()).peekable();
        while let Some((score, outcome)) = detections.next() {
            match outcome {
                Outcome::Found(_) => found += 1,
                Outcome::Wrong => wrong += 1,
                Outcome::Ignored => {}
            }
            // A threshold takes all detections of one score.
            let is_last = detections.peek().is_none_or(|(next, _)| *next != score);
            if !is_last || found == 0 {
                continue;
            }
            let taken = (found + wrong) as f64;
            let threshold = BestThreshold {
                score,
                // 2 TP + FP + FN = detections taken + objects.
                f1: 2.0 * found as f64 / (taken + objects as f64),
                precision: found as f64 / taken,
                recall: found as f64 / objects as f64,
            };
            if best.is_none_or(|best| threshold.f1 > best.f1) {
                best = Some(threshold);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Outcome = Outcome::Found(0);

    fn best(detections: &[(f64, Outcome)], objects: usize) -> Option<BestThreshold> {
        BestThreshold::find(detections.iter().copied(), objects)
    }

    #[test]
    fn by_hand() {
        // F1 2/4, 2/5, 4/6, 4/7 of three objects.
        let scored = [(0.9, FOUND), (0.8, Outcome::Wrong), (0.7, FOUND), (0.6, Outcome::Wrong)];
        let two_thirds = 2.0 / 3.0;
        let expected =
            BestThreshold { score: 0.7, f1: two_thirds, precision: two_thirds, recall: two_thirds };
        assert_eq!(best(&scored, 3), Some(expected));
        // Difficult objects count neither way.
        let with_difficult = [&scored[..1], &[(0.85, Outcome::Ignored)], &scored[1..]].concat();
        assert_eq!(best(&with_difficult, 3), Some(expected));
    }

    #[test]
    fn equal_scores_are_taken_together_and_equal_f1_high() {
        // Above 0.9 there is nothing but both: F1 2/3, not 1.
        let tied = best(&[(0.9, FOUND), (0.9, Outcome::Wrong)], 1).unwrap();
        assert_eq!((tied.score, tied.f1, tied.precision), (0.9, 2.0 / 3.0, 0.5));
        // 2/3 and 4/6.
        let equal =
            best(&[(0.9, FOUND), (0.5, FOUND), (0.5, Outcome::Wrong), (0.5, Outcome::Wrong)], 2).unwrap();
        assert_eq!(equal.score, 0.9);
    }

    #[test]
    fn there_is_none_without_a_found_object() {
        assert_eq!(best(&[], 3), None);
        assert_eq!(best(&[(0.9, Outcome::Wrong), (0.8, Outcome::Ignored)], 3), None);
        assert_eq!(best(&[(0.9, Outcome::Wrong)], 0), None);
        // NaN is ranked first by total order.
        assert_eq!(best(&[(f64::NAN, Outcome::Wrong), (f64::NAN, FOUND)], 1), None);
        assert_eq!(best(&[(f64::NAN, Outcome::Wrong), (0.5, FOUND)], 1).unwrap().precision, 1.0);
    }
}
