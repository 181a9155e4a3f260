//! What each RoI of a photo is to be taught: its class, and the regression that moves it onto its object.
//!
//! An RoI belongs to the object that it overlaps most. Ground-truth boxes are RoIs too and come first.

use frcnn_core::{BBox, BoxCoder};
use rayon::prelude::*;

use super::joint::normalisation;
use crate::data::{DatasetProposals, Object, Photo};
use crate::error::Error;
use crate::network::Normalisation;
use crate::recipe::Recipe;

/// Of boxes that come from outside: corners belong to the box, here and at run time.
pub(crate) const CODER: BoxCoder = BoxCoder { width_offset: 1.0, weights: [1.0; 4] };

/// An RoI and its best object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LabelledRoi {
    pub(crate) bbox: BBox,
    /// With the object that it overlaps most, 0 to 1.
    pub(crate) iou: f32,
    /// The number of that object among those that count.
    pub(crate) object: usize,
    /// Its class, 0 without any.
    pub(crate) class: u16,
    /// From the box to that object's.
    pub(crate) regression: [f32; 4],
}

impl LabelledRoi {
    pub(crate) fn is_foreground(&self, recipe: &Recipe) -> bool {
        self.class > 0 && self.iou >= recipe.fg_iou
    }

    pub(crate) fn is_background(&self, recipe: &Recipe) -> bool {
        self.iou >= recipe.bg_iou_low && self.iou < recipe.bg_iou_high
    }
}

/// The RoIs of a photo: its objects and its proposals. Difficult objects teach nothing.
pub(crate) fn label(objects: &[Object], proposals: &[BBox], coder: BoxCoder) -> Vec<LabelledRoi> {
    let objects: Vec<_> = objects.iter().filter(|object| !object.difficult).collect();
    let boxes = objects.iter().map(|object| object.bbox).chain(proposals.iter().copied());
    let label = |bbox: BBox| {
        let mut best = LabelledRoi { bbox, iou: 0.0, object: 0, class: 0, regression: [0.0; 4] };
        for (number, object) in objects.iter().enumerate() {
            let iou = bbox.iou(&object.bbox, coder.width_offset);
            if iou > best.iou {
                let regression = coder.encode(&bbox, &object.bbox);
                best = LabelledRoi { bbox, iou, object: number, class: object.class, regression };
            }
        }
        best
    };
    boxes.map(label).collect()
}

/// Which photos can be learned from, and how regressions are normalised.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Photos with at least one RoI that is foreground or background.
    pub(crate) usable: Vec<usize>,
    pub(crate) normalisation: Normalisation,
    /// Foreground RoIs of all photos.
    pub(crate) foreground: u64,
}

/// Sums for a mean and a deviation: a count, and for each coordinate its sum and its sum of squares.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    sums: [f64; 4],
    squares: [f64; 4],
}

impl Moments {
    fn add(&mut self, values: [f32; 4], weight: f64) {
        self.count += weight;
        for ((sum, square), value) in self.sums.iter_mut().zip(&mut self.squares).zip(values.map(f64::from)) {
            *sum += weight * value;
            *square += weight * value * value;
        }
    }

    fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        for c in 0..4 {
            self.sums[c] += other.sums[c];
            self.squares[c] += other.squares[c];
        }
    }

    fn mean_and_std(&self) -> ([f32; 4], [f32; 4]) {
        let mean = self.sums.map(|sum| if self.count > 0.0 { sum / self.count } else { 0.0 });
        let std = std::array::from_fn(|c| {
            let variance = self.squares[c] / self.count - mean[c] * mean[c];
            // A class that never varies, or never occurs, is left as it is.
            if variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 }
        });
        (mean.map(|mean| mean as f32), std)
    }
}

/// Looks at every photo once.
pub(crate) fn survey(
    photos: &[Photo],
    proposals: &DatasetProposals,
    classes: usize,
    recipe: &Recipe,
) -> Result<Survey, Error> {
    let of_photo = |photo: &Photo| -> Result<(Vec<Moments>, bool), Error> {
        let mut moments = vec![Moments::default(); classes];
        let mut usable = false;
        for roi in label(&photo.objects, &proposals.of(photo)?, recipe.coder()) {
            usable |= roi.is_foreground(recipe) || roi.is_background(recipe);
            if roi.is_foreground(recipe)
                && let Some(moments) = moments.get_mut(usize::from(roi.class))
            {
                let [tx, ty, tw, th] = roi.regression;
                let flipped = f64::from(recipe.flip_probability);
                moments.add([tx, ty, tw, th], 1.0 - flipped);
                moments.add([-tx, ty, tw, th], flipped);
            }
        }
        Ok((moments, usable))
    };
    let surveyed: Vec<_> = photos.par_iter().map(of_photo).collect::<Result<_, _>>()?;
    let mut sums = vec![Moments::default(); classes];
    let mut usable = Vec::new();
    for (i, (moments, is_usable)) in surveyed.iter().enumerate() {
        for (sum, moments) in sums.iter_mut().zip(moments) {
            sum.merge(moments);
        }
        if *is_usable {
            usable.push(i);
        }
    }
    let (mean, std) = sums.iter().map(Moments::mean_and_std).unzip();
    let foreground = sums.iter().map(|sum| sum.count).sum::<f64>().round() as u64;
    Ok(Survey { usable, normalisation: Normalisation { mean, std }, foreground })
}

/// The same where proposals are learned: photos with an object that counts are learned from.
pub(crate) fn survey_objects(photos: &[Photo], classes: usize) -> Survey {
    let counts = |photo: &Photo| photo.objects.iter().filter(|object| !object.difficult).count();
    Survey {
        usable: (0..photos.len()).filter(|&i| counts(&photos[i]) > 0).collect(),
        normalisation: normalisation(classes),
        foreground: photos.iter().map(|photo| counts(photo) as u64).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Object;

    fn photo() -> Photo {
        let object =
            |class, x: f32, difficult| Object { class, bbox: BBox::new(x, 0.0, x + 9.0, 9.0), difficult };
        Photo {
            stem: "a".into(),
            path: "a.jpg".into(),
            width: 100,
            height: 50,
            objects: vec![object(1, 0.0, false), object(2, 50.0, false), object(2, 80.0, true)],
        }
    }

    #[test]
    fn an_roi_belongs_to_the_object_it_overlaps_most() {
        let proposals = [BBox::new(5.0, 0.0, 14.0, 9.0), BBox::new(80.0, 0.0, 89.0, 9.0)];
        let rois = label(&photo().objects, &proposals, CODER);
        assert_eq!(rois.len(), 4);
        // Objects themselves.
        assert_eq!((rois[0].iou, rois[0].class, rois[0].regression), (1.0, 1, [0.0; 4]));
        assert_eq!((rois[1].iou, rois[1].class), (1.0, 2));
        // Half of it over the first object.
        assert_eq!((rois[2].iou, rois[2].class), (50.0 / 150.0, 1));
        assert_eq!(rois[2].regression, [-0.5, 0.0, 0.0, 0.0]);
        // On the difficult object, which teaches nothing.
        assert_eq!((rois[3].iou, rois[3].class), (0.0, 0));
    }

    #[test]
    fn targets_are_normalised_by_class() {
        let recipe = Recipe { flip_probability: 0.0, fg_iou: 0.3, ..Recipe::default() };
        let mut sums = Moments::default();
        for roi in label(&photo().objects, &[BBox::new(5.0, 0.0, 14.0, 9.0)], CODER) {
            if roi.is_foreground(&recipe) && roi.class == 1 {
                sums.add(roi.regression, 1.0);
            }
        }
        // tx is 0 and -0.5.
        let (mean, std) = sums.mean_and_std();
        assert_eq!((mean, std), ([-0.25, 0.0, 0.0, 0.0], [0.25, 1.0, 1.0, 1.0]));
    }
}
