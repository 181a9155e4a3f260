//! A linear SVM for each class, with hard-negative mining, as in R-CNN.
//!
//! Positives are the objects of the class, negatives the boxes that overlap every one of them by less than 0.3. Photos
//! are gone through once: the first gives all of its negatives, the others those that lie within the margin of the
//! SVM so far. After every 2000 new ones, and at the end, the SVM is trained again, and negatives that it finds easy leave.

use frcnn_core::BBox;
use rayon::prelude::*;

use super::regions::PhotoRegions;
use super::rows::RowFile;
use super::svm::{Examples, Solver, Svm};
use crate::console;
use crate::error::Error;

/// Negatives overlap every object of the class by less.
const NEGATIVE_IOU: f32 = 0.3;
/// A negative is hard from this score on.
const HARD: f64 = -1.0001;
/// Below this score a negative is easy enough to leave.
const EASY: f64 = -1.2;
/// Hard negatives after which the SVM is trained again.
const RETRAIN: usize = 2000;

/// The SVMs of all object classes, in their order; those of a class without objects score 0 everywhere.
pub(super) fn train(
    photos: &[PhotoRegions<'_>],
    features: &RowFile,
    classes: usize,
) -> Result<Vec<Svm>, Error> {
    let scale = features.scale_to_mean_norm(photos.last().map_or(0, |photo| photo.rows.end))?;
    let mut machines: Vec<Machine> =
        (1..classes).map(|class| Machine::new(class as u16, features.width)).collect();
    for photo in photos {
        let rows = scaled(features, photo, scale)?;
        for (row, object) in rows.chunks_exact(features.width).zip(photo.objects()) {
            if let Some(machine) = machines.get_mut(usize::from(object.class) - 1) {
                machine.examples.push(row, true);
            }
        }
    }
    let bar = console::progress(photos.len() as u64, "mining");
    for (i, photo) in photos.iter().enumerate() {
        let rows = scaled(features, photo, scale)?;
        let last = i + 1 == photos.len();
        machines.par_iter_mut().for_each(|machine| machine.add_photo(photo, &rows, last));
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Folded: the SVMs now read features as the network gives them.
    let finished = |machine: Machine| {
        let mut svm = machine.svm.unwrap_or_else(|| Svm { weight: vec![0.0; features.width], bias: 0.0 });
        svm.weight.iter_mut().for_each(|weight| *weight *= f64::from(scale));
        svm
    };
    Ok(machines.into_iter().map(finished).collect())
}

fn scaled(features: &RowFile, photo: &PhotoRegions<'_>, scale: f32) -> Result<Vec<f32>, Error> {
    let mut rows = features.read(photo.rows.clone())?;
    rows.iter_mut().for_each(|value| *value *= scale);
    Ok(rows)
}

/// One class.
struct Machine {
    class: u16,
    examples: Examples,
    svm: Option<Svm>,
    added: usize,
}

impl Machine {
    fn new(class: u16, width: usize) -> Machine {
        Machine { class, examples: Examples::new(width), svm: None, added: 0 }
    }

    fn add_photo(&mut self, photo: &PhotoRegions<'_>, rows: &[f32], last: bool) {
        if self.examples.len() == 0 {
            // No object of this class anywhere.
            return;
        }
        let width = rows.len() / photo.boxes.len().max(1);
        for (row, bbox) in rows.chunks_exact(width.max(1)).zip(&photo.boxes) {
            let hard = self.svm.as_ref().is_none_or(|svm| svm.score(row) > HARD);
            if hard && overlap(photo, bbox, self.class) < NEGATIVE_IOU {
                self.examples.push(row, false);
                self.added += 1;
            }
        }
        if self.svm.is_none() || self.added > RETRAIN || last {
            let svm = self.examples.solve(&Solver::default());
            self.examples.evict_negatives_below(EASY, &svm);
            self.svm = Some(svm);
            self.added = 0;
        }
    }
}

/// The most that a box overlaps any object of a class, difficult ones included: they are no negatives either.
fn overlap(photo: &PhotoRegions<'_>, bbox: &BBox, class: u16) -> f32 {
    let same = photo.photo.objects.iter().filter(|object| object.class == class);
    same.map(|object| bbox.iou(&object.bbox, 1.0)).max_by(f32::total_cmp).unwrap_or(0.0)
}
