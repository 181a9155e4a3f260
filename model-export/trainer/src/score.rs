//! Average precision as PASCAL VOC defines it, at an IoU of 0.5.
//!
//! Detections of a class are taken by descending score. Each is held against the object of its photo and class that it
//! overlaps most: the first to reach it is right, any further one wrong. Objects marked difficult count neither way.
//!
//! ```text
//! precision                  VOC07: mean over recall 0, 0.1, … 1 of the best precision at that recall or beyond
//!   1 ┤──┐                   VOC10+: area under the curve made monotone
//!     │  └──┐__
//!     └────────┴── recall
//! ```

use std::collections::HashMap;

use frcnn_core::{BBox, Detection};

use crate::data::Photo;

/// A detection is right from this overlap on.
const MIN_IOU: f32 = 0.5;

/// Both averages for one class; NaN when the split has none of its objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AveragePrecision {
    pub(crate) voc07: f64,
    pub(crate) voc10: f64,
    /// Objects that count.
    pub(crate) objects: usize,
}

/// The average precision of class `class`; `found` has the detections of each photo.
pub(crate) fn average_precision(photos: &[Photo], found: &[Vec<Detection>], class: u16) -> AveragePrecision {
    let of_class = |photo: &Photo| -> Vec<(BBox, bool)> {
        photo.objects.iter().filter(|o| o.class == class).map(|o| (o.bbox, o.difficult)).collect()
    };
    let truth: Vec<Vec<(BBox, bool)>> = photos.iter().map(of_class).collect();
    let objects = truth.iter().flatten().filter(|(_, difficult)| !difficult).count();
    let mut detections: Vec<(usize, &Detection)> = found
        .iter()
        .enumerate()
        .flat_map(|(photo, found)| found.iter().map(move |d| (photo, d)))
        .filter(|(_, d)| d.class_id == class)
        .collect();
    detections.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));

    let mut taken: HashMap<(usize, usize), ()> = HashMap::new();
    let (mut right, mut wrong) = (0usize, 0usize);
    let mut curve = Vec::new();
    for (photo, detection) in detections {
        let best = truth
            .get(photo)
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(i, (bbox, difficult))| (detection.bbox.iou(bbox, 1.0), i, *difficult))
            .fold(None, |best: Option<(f32, usize, bool)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            });
        match best {
            Some((iou, _, true)) if iou >= MIN_IOU => continue,
            Some((iou, i, false)) if iou >= MIN_IOU && taken.insert((photo, i), ()).is_none() => right += 1,
            _ => wrong += 1,
        }
        curve.push((right as f64 / objects as f64, right as f64 / (right + wrong) as f64));
    }
    if objects == 0 {
        return AveragePrecision { voc07: f64::NAN, voc10: f64::NAN, objects };
    }
    AveragePrecision { voc07: eleven_points(&curve), voc10: area(&curve), objects }
}

/// The mean of the classes that occur.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.filter(|v| !v.is_nan()).fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
    sum / count as f64
}

/// `curve` has recall and precision after each detection.
fn eleven_points(curve: &[(f64, f64)]) -> f64 {
    let best_from = |recall: f64| {
        // Recalls are quotients of whole numbers: 3/10 must count as 0.3.
        curve.iter().filter(|(r, _)| *r >= recall - 1e-12).fold(0.0, |best: f64, (_, p)| best.max(*p))
    };
    (0..=10).map(|i| best_from(f64::from(i) / 10.0)).sum::<f64>() / 11.0
}

fn area(curve: &[(f64, f64)]) -> f64 {
    let mut best = 0.0f64;
    let mut area = 0.0;
    for (i, &(recall, precision)) in curve.iter().enumerate().rev() {
        best = best.max(precision);
        let before = if i == 0 { 0.0 } else { curve[i - 1].0 };
        area += (recall - before) * best;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Object;

    fn photo(objects: &[(f32, bool)]) -> Photo {
        let object = |&(x, difficult): &(f32, bool)| Object { class: 1, bbox: at(x), difficult };
        Photo {
            stem: String::new(),
            path: "a.jpg".into(),
            width: 500,
            height: 50,
            objects: objects.iter().map(object).collect(),
        }
    }

    fn at(x: f32) -> BBox {
        BBox::new(x, 0.0, x + 9.0, 9.0)
    }

    fn detection(x: f32, score: f32) -> Detection {
        Detection { class_id: 1, score, bbox: at(x), proposal: 0 }
    }

    #[test]
    fn by_hand() {
        // Two objects. Right, wrong (a double), wrong, right: precision 1, 1/2, 1/3, 1/2 at recall 1/2, 1/2, 1/2, 1.
        let photos = [photo(&[(0.0, false), (100.0, false)])];
        let found =
            [vec![detection(0.0, 0.9), detection(1.0, 0.8), detection(300.0, 0.7), detection(100.0, 0.6)]];
        let ap = average_precision(&photos, &found, 1);
        assert_eq!(ap.objects, 2);
        assert!((ap.voc10 - 0.75).abs() < 1e-12);
        // Recalls 0 to 0.5 give 1, the other five 1/2.
        assert!((ap.voc07 - (6.0 + 2.5) / 11.0).abs() < 1e-12);
    }

    #[test]
    fn difficult_objects_count_neither_way() {
        let photos = [photo(&[(0.0, true), (100.0, false)])];
        let found = [vec![detection(0.0, 0.9), detection(1.0, 0.8), detection(100.0, 0.6)]];
        let ap = average_precision(&photos, &found, 1);
        assert_eq!((ap.objects, ap.voc10, ap.voc07), (1, 1.0, 1.0));
    }

    #[test]
    fn a_class_that_does_not_occur_has_no_average() {
        let photos = [photo(&[(0.0, false)])];
        assert!(average_precision(&photos, &[vec![]], 2).voc10.is_nan());
        assert_eq!(average_precision(&photos, &[vec![]], 1).voc10, 0.0);
        assert_eq!(mean([1.0, f64::NAN, 0.5].into_iter()), 0.75);
    }
}
