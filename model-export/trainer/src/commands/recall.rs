//! How many objects some proposal comes near, among the first 100, 300 and 1000 of each photo.

use frcnn_core::BBox;
use serde::Serialize;

use crate::data::Object;

/// Boxes of a photo that are looked at.
pub(super) const BOXES: [usize; 3] = [100, 300, 1000];
/// Overlaps from which on a box comes near an object.
const IOUS: [f32; 2] = [0.5, 0.7];

/// Recall of one source of proposals.
#[derive(Debug, Default)]
pub(super) struct Recall {
    objects: usize,
    /// Objects that are found, by number of boxes and overlap.
    found: [[usize; IOUS.len()]; BOXES.len()],
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// Where the boxes come from.
    pub(super) proposals: String,
    /// Boxes of a photo at most.
    pub(super) boxes: usize,
    pub(super) recall_50: f64,
    pub(super) recall_70: f64,
}

impl Recall {
    /// The objects of a photo, and its proposals, the best first.
    pub(super) fn add(&mut self, objects: &[Object], boxes: &[BBox]) {
        for object in objects.iter().filter(|object| !object.difficult) {
            self.objects += 1;
            let mut best = 0.0f32;
            let mut seen = 0;
            for (of_count, count) in self.found.iter_mut().zip(BOXES) {
                let next = boxes.iter().take(count).skip(seen);
                best = next.fold(best, |best, bbox| best.max(bbox.iou(&object.bbox, 1.0)));
                seen = count;
                for (found, iou) in of_count.iter_mut().zip(IOUS) {
                    *found += usize::from(best >= iou);
                }
            }
        }
    }

    pub(super) fn rows(&self, proposals: &str) -> Vec<Row> {
        let share = |found: usize| found as f64 / self.objects.max(1) as f64;
        let row = |(boxes, found): (usize, &[usize; IOUS.len()])| Row {
            proposals: proposals.to_string(),
            boxes,
            recall_50: share(found[0]),
            recall_70: share(found[1]),
        };
        BOXES.into_iter().zip(&self.found).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_boxes_count() {
        let square = |x: f32| BBox::new(x, 0.0, x + 9.0, 9.0);
        let object = |x: f32, difficult| Object { class: 1, bbox: square(x), difficult };
        let objects = [object(0.0, false), object(200.0, false), object(400.0, true)];
        // Box 99 overlaps the first object by 60 of 140 and box 150 by 80 of 120; box 299 is it. Box 300 is the second.
        let mut boxes = vec![square(900.0); 1200];
        (boxes[99], boxes[150], boxes[299], boxes[300]) =
            (square(4.0), square(2.0), square(0.0), square(200.0));
        let mut recall = Recall::default();
        recall.add(&objects, &boxes[..200]);
        recall.add(&objects, &boxes);
        let rows = recall.rows("grid");
        let found: Vec<_> = rows.iter().map(|row| (row.boxes, row.recall_50, row.recall_70)).collect();
        assert_eq!(found, [(100, 0.0, 0.0), (300, 0.5, 0.25), (1000, 0.75, 0.5)]);
        assert_eq!(Recall::default().rows("grid")[0].recall_50, 0.0);
    }
}
