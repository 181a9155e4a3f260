//! Predictions to detections: decode, clip, threshold and suppress, class by class.
//!
//! What comes out is what [`Detection`] promises, whatever a network gives and whatever boxes it is asked about: scores and
//! boxes that are not finite are left out and counted. A box with `x2 < x1` or `y2 < y1`, which a network makes where it
//! shrinks a proposal to less than a pixel, holds no pixel and is left out.

use frcnn_bundle::Manifest;
use frcnn_core::{BBox, BoxCoder, Detection, NO_ROI, keep_best, nms, nms_shifted};

use crate::boxes::BoxPixels;
use crate::options::Settings;
use crate::{Detections, HeadOutput, MAX_DETECTIONS};

/// Survivors beyond this many are thinned out: enough that it is seldom done.
const MANY: usize = 8 * MAX_DETECTIONS;

/// Candidates kept from frame to frame.
#[derive(Default)]
pub(crate) struct Postprocessor {
    /// Of the class at hand.
    candidates: Vec<Detection>,
    /// Survivors of the classes so far that may be among the best.
    survivors: Vec<Detection>,
    not_finite: usize,
}

impl Postprocessor {
    /// Predictions of the last run that were left out because they are not finite.
    pub(crate) fn not_finite(&self) -> usize {
        self.not_finite
    }

    /// `proposals` are in the `pixels` that boxes are decoded in; detections are in those of the image. `index[i]` is the row of
    /// `output` that proposal `i` reads, or [`NO_ROI`].
    pub(crate) fn run(
        &mut self,
        proposals: &[BBox],
        index: &[u32],
        output: &HeadOutput,
        pixels: &BoxPixels,
        manifest: &Manifest,
        settings: &Settings,
    ) -> Detections {
        let predictions = Predictions { proposals, index, output, pixels, manifest };
        let classes = 1..manifest.classes.len();
        self.survivors.clear();
        self.not_finite = 0;
        // How far the boxes of one class are moved from those of the one before.
        let apart = if manifest.nms_keeps_equal {
            let mut largest = 0f32;
            for class_id in classes.clone() {
                predictions.of_class(class_id, settings.score_threshold, &mut self.candidates);
                let corners =
                    self.candidates.iter().map(|candidate| candidate.bbox.x2.max(candidate.bbox.y2));
                largest = corners.fold(largest, f32::max);
            }
            largest + 1.0
        } else {
            0.0
        };
        // Only a higher score is among the best: as many with this one or better are known, of classes before.
        let mut lowest = f32::NEG_INFINITY;
        for class_id in classes {
            let above = settings.score_threshold.max(lowest);
            self.not_finite += predictions.of_class(class_id, above, &mut self.candidates);
            let (candidates, iou, most) = (&mut self.candidates, settings.nms_iou, settings.max_detections);
            // Best first, so those behind as many of the same class are not among the best.
            let kept = if manifest.nms_keeps_equal {
                nms_shifted(candidates, iou, class_id as f32 * apart, most)
            } else {
                nms(candidates, iou, manifest.nms_width_offset).min(most)
            };
            self.survivors.extend(self.candidates.iter().take(kept));
            if self.survivors.len() >= MANY {
                let best: Detections = keep_best(&mut self.survivors, settings.max_detections);
                lowest = best.last().map_or(lowest, |worst| worst.score);
                self.survivors.truncate(best.len());
            }
        }
        let mut best: Detections = keep_best(&mut self.survivors, settings.max_detections);
        for detection in &mut best {
            detection.bbox = pixels.to_image(&detection.bbox);
        }
        best
    }
}

/// What the head gave of an image's proposals.
struct Predictions<'a> {
    proposals: &'a [BBox],
    index: &'a [u32],
    output: &'a HeadOutput,
    pixels: &'a BoxPixels,
    manifest: &'a Manifest,
}

impl Predictions<'_> {
    /// Makes `candidates` the boxes of a class with scores above `above`. Gives how many were left out because they are not finite.
    fn of_class(&self, class_id: usize, above: f32, candidates: &mut Vec<Detection>) -> usize {
        let Predictions { output, manifest, .. } = self;
        let scores = manifest.classes.len();
        let coder = BoxCoder { width_offset: manifest.box_width_offset, weights: manifest.box_weights };
        let mut not_finite = 0;
        candidates.clear();
        for (position, (proposal, &row)) in self.proposals.iter().zip(self.index).enumerate() {
            if row == NO_ROI {
                continue;
            }
            let place = (row as usize).saturating_mul(scores).saturating_add(class_id);
            let Some(&score) = output.cls_prob.get(place) else { continue };
            if !score.is_finite() {
                not_finite += 1;
                continue;
            }
            if score > above
                && let Some(&delta) = output
                    .bbox_pred
                    .get(place.saturating_mul(4)..)
                    .and_then(|deltas| deltas.first_chunk::<4>())
            {
                let bbox = coder.decode(proposal, delta);
                if !is_finite(&bbox) {
                    not_finite += 1;
                    continue;
                }
                let bbox = self.pixels.clip(bbox);
                let least = manifest.min_box_side;
                let is_large = bbox.width(0.0) >= least && bbox.height(0.0) >= least;
                if bbox.is_valid() && is_large {
                    let (class_id, proposal) = (class_id as u16, position as u32);
                    candidates.push(Detection { class_id, score, bbox, proposal });
                }
            }
        }
        not_finite
    }
}

fn is_finite(bbox: &BBox) -> bool {
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|corner| corner.is_finite())
}

#[cfg(test)]
mod tests;
