//! How well boxes cover the objects of a data set.

use frcnn::BBox;
use frcnn_eval::{Region, Truth};
use serde::Serialize;

/// Overlaps at which recall is measured.
pub(super) const IOUS: [f64; 3] = [0.5, 0.7, 0.9];
/// Numbers of boxes at which recall is measured, as far as there are so many.
const COUNTS: [usize; 11] = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];

/// Objects with the best overlap that the first boxes reach, by class.
pub(super) struct Coverage {
    classes: Vec<Class>,
    pub(super) images: usize,
    pub(super) boxes: usize,
    most: usize,
    /// Objects that are difficult, or whose box is none.
    pub(super) passed_over: usize,
}

struct Class {
    name: String,
    objects: Vec<Covered>,
}

/// An object: each number of boxes at which its best overlap rises, and that overlap.
struct Covered(Vec<(usize, f64)>);

impl Covered {
    /// The best overlap of the first `boxes` boxes.
    fn best(&self, boxes: usize) -> f64 {
        self.0.iter().take_while(|(count, _)| *count <= boxes).last().map_or(0.0, |&(_, iou)| iou)
    }
}

/// What is said of a class, or of all.
#[derive(Serialize)]
pub(super) struct ClassRecall {
    pub(super) class: String,
    pub(super) objects: usize,
    /// Shares of the objects, at [`IOUS`].
    pub(super) recall: [f64; 3],
    /// Mean over the objects of the best overlap (ABO).
    pub(super) average_best_overlap: f64,
}

/// What is said of a number of boxes.
#[derive(Serialize)]
pub(super) struct Point {
    pub(super) boxes: usize,
    pub(super) recall: [f64; 3],
    /// Mean over the classes of ABO.
    pub(super) mabo: f64,
}

impl Coverage {
    /// Of no image yet; `classes` are those that objects refer to.
    pub(super) fn new(classes: &[String]) -> Coverage {
        let classes = classes.iter().map(|name| Class { name: name.clone(), objects: Vec::new() }).collect();
        Coverage { classes, images: 0, boxes: 0, most: 0, passed_over: 0 }
    }

    /// Takes in an image.
    pub(super) fn add<'a>(&mut self, objects: impl Iterator<Item = &'a Truth>, boxes: &[BBox]) {
        self.images += 1;
        self.boxes += boxes.len();
        self.most = self.most.max(boxes.len());
        let boxes: Vec<Region> = boxes.iter().map(Region::from).collect();
        for object in objects {
            let Region { width, height, .. } = object.region;
            // A single pixel is a mistake, too: its corners are one point.
            let empty = width < 1.0 || height < 1.0 || width * height <= 1.0;
            let class = self.classes.get_mut(object.class).filter(|_| !object.ignore && !empty);
            let Some(class) = class else {
                self.passed_over += 1;
                continue;
            };
            let mut rises = Vec::new();
            let mut best = 0.0;
            for (i, region) in boxes.iter().enumerate() {
                let iou = region.iou(&object.region);
                if iou > best {
                    best = iou;
                    rises.push((i + 1, iou));
                }
            }
            class.objects.push(Covered(rises));
        }
    }

    /// All objects that count.
    fn all(&self) -> impl Iterator<Item = &Covered> + Clone {
        self.classes.iter().flat_map(|class| &class.objects)
    }

    /// How many count.
    pub(super) fn objects(&self) -> usize {
        self.all().count()
    }

    /// Classes of which an object counts.
    fn present(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().filter(|class| !class.objects.is_empty())
    }

    /// Each class, then all objects together.
    pub(super) fn rows(&self) -> Vec<ClassRecall> {
        let classes = self.present().map(|class| row(&class.name, class.objects.iter()));
        classes.chain([row("all", self.all())]).collect()
    }

    /// Mean over the classes of their ABO, with the first `boxes` boxes of each image.
    fn mabo(&self, boxes: usize) -> f64 {
        mean(self.present().map(|class| mean(class.objects.iter().map(|object| object.best(boxes)))))
    }

    /// Recall of all objects together against the number of boxes, up to all.
    pub(super) fn curve(&self) -> Vec<Point> {
        let counts = COUNTS.into_iter().filter(|&count| count < self.most).chain([self.most]);
        counts
            .map(|boxes| Point {
                boxes,
                recall: IOUS.map(|iou| recall(self.all(), boxes, iou)),
                mabo: self.mabo(boxes),
            })
            .collect()
    }
}

fn row<'a>(class: &str, objects: impl Iterator<Item = &'a Covered> + Clone) -> ClassRecall {
    ClassRecall {
        class: class.to_string(),
        objects: objects.clone().count(),
        recall: IOUS.map(|iou| recall(objects.clone(), usize::MAX, iou)),
        average_best_overlap: mean(objects.map(|object| object.best(usize::MAX))),
    }
}

fn recall<'a>(objects: impl Iterator<Item = &'a Covered>, boxes: usize, iou: f64) -> f64 {
    mean(objects.map(|object| if object.best(boxes) >= iou { 1.0 } else { 0.0 }))
}

/// 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(class: usize, bbox: BBox) -> Truth {
        let region = Region::from(&bbox);
        Truth { image: 0, class, region, area: region.area(), ignore: false, crowd: false }
    }

    #[test]
    fn recall_by_hand() {
        let (cat, dog) = (BBox::new(0.0, 0.0, 9.0, 9.0), BBox::new(50.0, 50.0, 59.0, 59.0));
        // IoU with the cat: 0.6, then 1; nothing near the dog but the third, with 0.8.
        let boxes = [BBox::new(0.0, 0.0, 5.0, 9.0), cat, BBox::new(50.0, 50.0, 57.0, 59.0)];
        let mut coverage = Coverage::new(&["bird", "cat", "dog"].map(str::to_string));
        let hard = Truth { ignore: true, ..object(1, dog) };
        let inverted = object(1, BBox::new(5.0, 5.0, 3.0, 9.0));
        let point = object(1, BBox::new(5.0, 5.0, 5.0, 5.0));
        coverage.add([object(1, cat), object(2, dog), hard, inverted, point].iter(), &boxes);
        assert_eq!((coverage.objects(), coverage.passed_over), (2, 3));
        let rows = coverage.rows();
        assert_eq!(rows.iter().map(|r| r.class.as_str()).collect::<Vec<_>>(), ["cat", "dog", "all"]);
        assert_eq!(rows[0].recall, [1.0, 1.0, 1.0]);
        assert_eq!(rows[1].recall, [1.0, 1.0, 0.0]);
        assert_eq!(rows[2].recall, [1.0, 1.0, 0.5]);
        assert!((rows[1].average_best_overlap - 0.8).abs() < 1e-9);
        let curve = coverage.curve();
        assert_eq!(curve.len(), 1);
        assert!((curve[0].mabo - 0.9).abs() < 1e-9);
        assert!((coverage.mabo(1) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn nothing_covers_nothing() {
        let mut coverage = Coverage::new(&["cat".to_string()]);
        assert_eq!(coverage.rows()[0].objects, 0);
        coverage.add([object(0, BBox::new(0.0, 0.0, 9.0, 9.0))].iter(), &[]);
        assert_eq!(coverage.rows()[1].recall, [0.0; 3]);
    }
}
