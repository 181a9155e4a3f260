//! Predictions to detections: decode, clip, threshold and suppress, class by class.
//!
//! What comes out is what [`Detection`] promises, whatever a network gives and whatever boxes it is asked about: scores and
//! boxes that are not finite are left out and counted. A box with `x2 < x1` or `y2 < y1`, which a network makes where it
//! shrinks a proposal to less than a pixel, holds no pixel and is left out.

use frcnn_bundle::Manifest;
use frcnn_core::{BBox, BoxCoder, Detection, NO_ROI, keep_best, nms};

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

    /// `index[i]` is the row of `output` that proposal `i` reads, or [`NO_ROI`].
    pub(crate) fn run(
        &mut self,
        proposals: &[BBox],
        index: &[u32],
        output: &HeadOutput,
        (width, height): (u32, u32),
        manifest: &Manifest,
        settings: &Settings,
    ) -> Detections {
        let scores = manifest.classes.len();
        let coder = BoxCoder { width_offset: manifest.box_width_offset, weights: manifest.box_weights };
        self.survivors.clear();
        self.not_finite = 0;
        // Only a higher score is among the best: as many with this one or better are known, of classes before.
        let mut lowest = f32::NEG_INFINITY;
        for class_id in 1..scores {
            self.candidates.clear();
            for (position, (proposal, &row)) in proposals.iter().zip(index).enumerate() {
                if row == NO_ROI {
                    continue;
                }
                let place = (row as usize).saturating_mul(scores).saturating_add(class_id);
                let Some(&score) = output.cls_prob.get(place) else { continue };
                if !score.is_finite() {
                    self.not_finite += 1;
                    continue;
                }
                if score > settings.score_threshold
                    && score > lowest
                    && let Some(&delta) = output
                        .bbox_pred
                        .get(place.saturating_mul(4)..)
                        .and_then(|deltas| deltas.first_chunk::<4>())
                {
                    let bbox = coder.decode(proposal, delta);
                    if !is_finite(&bbox) {
                        self.not_finite += 1;
                        continue;
                    }
                    let bbox = bbox.clip(width, height);
                    if bbox.is_valid() {
                        let (class_id, proposal) = (class_id as u16, position as u32);
                        self.candidates.push(Detection { class_id, score, bbox, proposal });
                    }
                }
            }
            let kept = nms(&mut self.candidates, settings.nms_iou, manifest.nms_width_offset);
            // Best first, so those behind as many of the same class are not among the best.
            self.survivors.extend(self.candidates.iter().take(kept.min(settings.max_detections)));
            if self.survivors.len() >= MANY {
                let best: Detections = keep_best(&mut self.survivors, settings.max_detections);
                lowest = best.last().map_or(lowest, |worst| worst.score);
                self.survivors.truncate(best.len());
            }
        }
        keep_best(&mut self.survivors, settings.max_detections)
    }
}

fn is_finite(bbox: &BBox) -> bool {
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|corner| corner.is_finite())
}

#[cfg(test)]
mod tests;
