//! What the RPN gives to proposals: the best anchors of each map, decoded, clipped and suppressed.
//!
//! ```text
//! logits, deltas of each map ── the best pre_nms_top_n by logit ── decode ── clip ── drop the small and unlikely ─┐
//!                 proposals ── the best post_nms_top_n of all maps ── NMS of each map ─────────────────────────────┘
//! ```
//!
//! As torchvision has it, in f32 and with continuous boxes: Ren et al., *Faster R-CNN*, NIPS 2015, and Lin et al., *Feature
//! Pyramid Networks for Object Detection*, CVPR 2017.

use std::cmp::Ordering;

use frcnn_bundle::Rpn;
use frcnn_core::{BBox, BoxCoder, Detection, anchor, nms_shifted};
use frcnn_files::try_reserve;

use crate::Error;
use crate::rpn::RpnOutput;

/// Proposals of one image, the likeliest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RpnProposals {
    /// Pixels of the blob, inside the image.
    pub boxes: Vec<BBox>,
    /// The probability that each is an object, by the RPN.
    pub scores: Vec<f32>,
}

/// What is kept from frame to frame.
#[derive(Default)]
pub(crate) struct Proposer {
    /// Places of the anchors of the map at hand.
    places: Vec<u32>,
    /// Of all maps; the class is the map's position.
    candidates: Vec<Detection>,
    pub(crate) proposals: RpnProposals,
    not_finite: usize,
}

impl Proposer {
    /// Anchors of the last image that were left out because their logit or box is not finite.
    pub(crate) fn not_finite(&self) -> usize {
        self.not_finite
    }

    /// Begins an image.
    pub(crate) fn clear(&mut self) {
        self.candidates.clear();
        self.proposals.boxes.clear();
        self.proposals.scores.clear();
        self.not_finite = 0;
    }

    /// Adds the best anchors of the trunk's map at `position`. The blob and the image in it have these rows and columns.
    pub(crate) fn add(
        &mut self,
        position: usize,
        output: &RpnOutput,
        rpn: &Rpn,
        [blob, image]: [[usize; 2]; 2],
    ) -> Result<(), Error> {
        let anchors = rpn.anchors.get(position).map_or(&[][..], Vec::as_slice);
        output.check(anchors.len())?;
        let (height, width) = (output.logits.height(), output.logits.width());
        let (logits, deltas) = (output.logits.data()?, output.deltas.data()?);
        self.best(logits, rpn.pre_nms_top_n as usize)?;
        let stride = rpn.stride(position, blob, [height, width]);
        let coder = BoxCoder { width_offset: 0.0, weights: rpn.box_weights };
        let [image_height, image_width] = image.map(|side| side as u32);
        let more = self.places.len();
        try_reserve(&mut self.candidates, more).map_err(Error::memory("proposals"))?;
        for &place in &self.places {
            let place = place as usize;
            let (cell, number) = (place / anchors.len(), place % anchors.len());
            let delta = deltas.get(4 * place..).and_then(|deltas| deltas.first_chunk::<4>());
            let (Some(&base), Some(&delta), Some(&logit)) = (anchors.get(number), delta, logits.get(place))
            else {
                continue;
            };
            let at = anchor(base, stride, [cell / width, cell % width]);
            let bbox = coder.decode(&at, delta);
            if ![bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|corner| corner.is_finite()) {
                self.not_finite += 1;
                continue;
            }
            let bbox = bbox.clip_continuous(image_width, image_height);
            let score = 1.0 / (1.0 + (-logit).exp());
            let is_large = bbox.width(0.0) >= rpn.min_side && bbox.height(0.0) >= rpn.min_side;
            if is_large && score >= rpn.score_threshold {
                let (class_id, proposal) = (position as u16, self.candidates.len() as u32);
                self.candidates.push(Detection { class_id, score, bbox, proposal });
            }
        }
        Ok(())
    }

    /// The places of the `most` highest logits, the highest first; of equals those that come first.
    fn best(&mut self, logits: &[f32], most: usize) -> Result<(), Error> {
        self.places.clear();
        try_reserve(&mut self.places, logits.len()).map_err(Error::memory("anchors"))?;
        self.places.extend((0..).zip(logits).filter(|(_, logit)| logit.is_finite()).map(|(place, _)| place));
        self.not_finite += logits.len() - self.places.len();
        let logit = |place: &u32| logits.get(*place as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let order = |a: &u32, b: &u32| descending(logit(a), logit(b)).then(a.cmp(b));
        if most < self.places.len() {
            self.places.select_nth_unstable_by(most, order);
            self.places.truncate(most);
        }
        self.places.sort_unstable_by(order);
        Ok(())
    }

    /// Suppresses, and keeps the best of all maps.
    pub(crate) fn finish(&mut self, rpn: &Rpn) {
        let most = rpn.post_nms_top_n as usize;
        let corners = self.candidates.iter().flat_map(|candidate| {
            let BBox { x1, y1, x2, y2 } = candidate.bbox;
            [x1, y1, x2, y2]
        });
        let apart = corners.fold(0.0, f32::max) + 1.0;
        let mut kept = 0;
        let mut start = 0;
        while let Some(first) = self.candidates.get(start) {
            let level = first.class_id;
            let of_level = self.candidates[start..].partition_point(|candidate| candidate.class_id == level);
            let of_map = &mut self.candidates[start..start + of_level];
            let survivors = nms_shifted(of_map, rpn.nms_iou, f32::from(level) * apart, most);
            self.candidates.copy_within(start..start + survivors, kept);
            kept += survivors;
            start += of_level;
        }
        self.candidates.truncate(kept);
        self.candidates
            .sort_unstable_by(|a, b| descending(a.score, b.score).then(a.proposal.cmp(&b.proposal)));
        self.candidates.truncate(most);
        let RpnProposals { boxes, scores } = &mut self.proposals;
        boxes.extend(self.candidates.iter().map(|candidate| candidate.bbox));
        scores.extend(self.candidates.iter().map(|candidate| candidate.score));
    }
}

/// Of numbers, none of which is NaN.
fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}
