//! Predictions to detections: decode, clip, threshold and suppress, class by class.

use frcnn_bundle::Manifest;
use frcnn_core::{BBox, BoxCoder, Detection, NO_ROI, keep_best, nms};

use crate::options::Settings;
use crate::{Detections, HeadOutput};

/// Candidates kept from frame to frame.
#[derive(Default)]
pub(crate) struct Postprocessor {
    /// Of the class at hand.
    candidates: Vec<Detection>,
    /// Survivors of all classes so far.
    survivors: Vec<Detection>,
}

impl Postprocessor {
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
        for class_id in 1..scores {
            self.candidates.clear();
            for (position, (proposal, &row)) in proposals.iter().zip(index).enumerate() {
                if row == NO_ROI {
                    continue;
                }
                let row = row as usize;
                if let Some(&score) = output.cls_prob.get(row * scores + class_id)
                    && score > settings.score_threshold
                    && let Some(&delta) = output
                        .bbox_pred
                        .get((row * scores + class_id) * 4..)
                        .and_then(|deltas| deltas.first_chunk::<4>())
                {
                    let bbox = coder.decode(proposal, delta).clip(width, height);
                    let (class_id, proposal) = (class_id as u16, position as u32);
                    self.candidates.push(Detection { class_id, score, bbox, proposal });
                }
            }
            let kept = nms(&mut self.candidates, settings.nms_iou, manifest.nms_width_offset);
            self.survivors.extend(self.candidates.iter().take(kept));
        }
        keep_best(&mut self.survivors, settings.max_detections)
    }
}
