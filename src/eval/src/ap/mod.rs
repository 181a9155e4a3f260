//! Average precision, and where it was lost.

pub(crate) mod coco;
pub(crate) mod confusion;
pub(crate) mod mistakes;
pub(crate) mod threshold;
pub(crate) mod voc;

use std::collections::HashMap;

use crate::detection::by_score;
use crate::{Dataset, Detection, Truth};

/// The objects and detections of one class, image by image.
#[derive(Default)]
pub(crate) struct OfClass {
    /// By image; positions in the data set's truths, in their order.
    pub(crate) truths: HashMap<usize, Vec<usize>>,
    /// Positions, best first over all images.
    pub(crate) ranked: Vec<usize>,
}

/// Sorts everything by class.
pub(crate) fn by_class(dataset: &Dataset, detections: &[Detection]) -> Vec<OfClass> {
    let mut classes: Vec<OfClass> = dataset.classes.iter().map(|_| OfClass::default()).collect();
    for (position, truth) in dataset.truths.iter().enumerate() {
        if let Some(class) = classes.get_mut(truth.class) {
            class.truths.entry(truth.image).or_default().push(position);
        }
    }
    for (position, found) in detections.iter().enumerate() {
        if let Some(class) = classes.get_mut(found.class) {
            class.ranked.push(position);
        }
    }
    for class in &mut classes {
        by_score(&mut class.ranked, detections);
    }
    classes
}

/// The mean of the values that there are, or none.
pub(crate) fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.into_iter().flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The truths of a class in one image.
pub(crate) fn truths_of<'a>(
    dataset: &'a Dataset,
    class: &'a OfClass,
    image: usize,
) -> impl Iterator<Item = (usize, &'a Truth)> {
    let positions = class.truths.get(&image).into_iter().flatten();
    positions.filter_map(|&position| Some((position, dataset.truths.get(position)?)))
}
