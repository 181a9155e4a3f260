//! The boxes of every photo, what each is to be taught, and where its rows of features lie.

use std::ops::Range;

use frcnn_core::BBox;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::data::{DatasetProposals, Object, Photo};
use crate::error::Error;
use crate::recipe::Recipe;
use crate::train::{CODER, LabelledRoi, label};

/// Boxes are regressed from proposals that overlap an object by more.
const REGRESSION_IOU: f32 = 0.6;

/// A photo's boxes: its objects first (difficult ones are none), then its proposals.
#[derive(Debug)]
pub(super) struct PhotoRegions<'a> {
    pub(super) photo: &'a Photo,
    pub(super) boxes: Vec<BBox>,
    pub(super) labelled: Vec<LabelledRoi>,
    /// Rows of the boxes where all photos' rows lie one after the other.
    pub(super) rows: Range<usize>,
}

impl PhotoRegions<'_> {
    /// The boxes of all photos.
    pub(super) fn of_all<'a>(
        photos: &'a [Photo],
        proposals: &DatasetProposals,
    ) -> Result<Vec<PhotoRegions<'a>>, Error> {
        let mut all = Vec::with_capacity(photos.len());
        let mut next = 0;
        for photo in photos {
            let labelled = label(&photo.objects, &proposals.of(photo)?, CODER);
            let boxes: Vec<BBox> = labelled.iter().map(|roi| roi.bbox).collect();
            let rows = next..next + boxes.len();
            next = rows.end;
            all.push(PhotoRegions { photo, boxes, labelled, rows });
        }
        Ok(all)
    }

    /// The objects that the first boxes are.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.photo.objects.iter().filter(|object| !object.difficult)
    }

    /// The proposals that boxes are regressed from, by their index among the boxes.
    pub(super) fn regressed(&self) -> impl Iterator<Item = (usize, &LabelledRoi)> {
        let objects = self.objects().count();
        self.labelled.iter().enumerate().skip(objects).filter(|(_, roi)| roi.iou > REGRESSION_IOU)
    }
}

/// Foreground and background boxes of all photos, to draw mini-batches from.
#[derive(Debug)]
pub(super) struct Pools<T> {
    foreground: Vec<T>,
    background: Vec<T>,
}

impl<T: Copy> Pools<T> {
    /// Of boxes, and whether each is foreground.
    pub(super) fn new(boxes: impl Iterator<Item = (T, bool)>) -> Pools<T> {
        let (foreground, background): (Vec<_>, Vec<_>) = boxes.partition(|&(_, foreground)| foreground);
        let bare = |boxes: Vec<(T, bool)>| boxes.into_iter().map(|(one, _)| one).collect();
        Pools { foreground: bare(foreground), background: bare(background) }
    }

    /// A mini-batch: foreground first, as large a share as the recipe says, drawn from all photos with replacement.
    pub(super) fn draw(&self, recipe: &Recipe, rng: &mut ChaCha8Rng) -> Vec<T> {
        let size = recipe.images_per_batch * recipe.rois_per_image;
        let foreground = (recipe.fg_fraction * size as f32).round() as usize;
        let mut draw = |from: &[T], count: usize| -> Vec<T> {
            if from.is_empty() {
                return Vec::new();
            }
            (0..count).map(|_| from[rng.random_range(0..from.len())]).collect()
        };
        let mut drawn = draw(&self.foreground, foreground);
        drawn.extend(draw(&self.background, size - foreground));
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_quarter_of_a_mini_batch_is_foreground() {
        let pools = Pools::new((0..500).map(|i| (i, i < 2)));
        let drawn = pools.draw(&Recipe::default(), &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(drawn.len(), 128);
        assert!(drawn[..32].iter().all(|&i| i < 2) && drawn[32..].iter().all(|&i| i >= 2));
    }
}
