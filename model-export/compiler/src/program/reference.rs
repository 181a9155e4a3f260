//! What a network gives on a made-up picture, by which a program's own test tells whether it computes the same.

use std::sync::Arc;

use frcnn::{BBox, Detector, Frame, Options, Session};
use frcnn_bundle::{Bundle, Precision, Regions, Scores};

use crate::Problem;

/// Columns and rows of the picture.
pub(super) const WIDTH: u32 = 160;
pub(super) const HEIGHT: u32 = 120;
/// Classes of which the best score is kept, at most: so few that no limit of detections leaves one out.
const BEST: usize = 20;

/// What the network gave.
pub(super) struct Reference {
    /// Boxes that were looked at.
    pub(super) boxes: usize,
    /// Stage `cls_prob`.
    pub(super) cls_prob: Vec<f32>,
    /// Stage `bbox_pred`.
    pub(super) bbox_pred: Vec<f32>,
    /// Stage `rpn_logits` of the coarsest map; empty without an RPN.
    pub(super) rpn_logits: Vec<f32>,
    /// Detections among the boxes, whatever their score.
    pub(super) detections: usize,
    /// The best scores of classes, the best first: what non-maximum suppression never takes.
    pub(super) best: Vec<(u16, f32)>,
}

/// The picture's bytes: red, green and blue of each pixel. Templates have the same formula.
fn picture() -> Vec<u8> {
    let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            pixels.extend([x * 3 + y, x + y * 2, x * y / 16].map(|value| value as u8));
        }
    }
    pixels
}

/// The boxes, each within the one before. Templates have the same formula.
fn boxes(count: usize) -> Vec<BBox> {
    let within = |i: usize| {
        let i = i as f32;
        BBox::new(9.0 * i, 5.0 * i, 159.0 - 7.0 * i, 119.0 - 6.0 * i)
    };
    (0..count).map(within).collect()
}

/// A score that every detection has more than.
pub(super) fn lowest_score(scores: Scores) -> f32 {
    match scores {
        Scores::Probabilities => 0.0,
        Scores::Margins => -1e30,
    }
}

/// How far a value may be from the reference, as a share of the stage's largest. f32 results of CPUs differ by the order of sums;
/// those of 16 bits, as CPUs that compute in them also round what layers read; those of int8 by steps of 1/255 of what layers
/// read, where a sum in f32 lies between two.
pub(super) fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::F16 => 1e-2,
        Precision::Bf16 | Precision::Int8 => 5e-2,
    }
}

impl Reference {
    pub(super) fn new(bundle: &Arc<Bundle>) -> Result<Reference, Problem> {
        let contents = bundle.contents();
        // Of an R-CNN the whole network runs on each.
        let count = if let Regions::Warp(_) = contents.regions { 2 } else { 8 };
        let boxes = boxes(count);
        let score_threshold = Some(lowest_score(contents.manifest.scores));
        let max_detections = Some(frcnn::MAX_DETECTIONS);
        let options = Options { score_threshold, max_detections, ..Options::default() };
        let detector = Detector::new(bundle.clone(), &options)?;
        let pixels = picture();
        let frame = Frame::rgb8(&pixels, WIDTH, HEIGHT).map_err(frcnn::Error::from)?;
        let mut session = detector.session();
        let (features, rpn_logits) = features(&mut session, bundle, &frame, &boxes)?;
        let output = session.head(&features)?;
        let detections = session.detect(&frame, &boxes)?;
        let mut best: Vec<(u16, f32)> = Vec::new();
        for detection in &detections {
            if best.len() < BEST && best.iter().all(|(class, _)| *class != detection.class_id) {
                best.push((detection.class_id, detection.score));
            }
        }
        let (cls_prob, bbox_pred) = (output.cls_prob, output.bbox_pred);
        Ok(Reference { boxes: count, cls_prob, bbox_pred, rpn_logits, detections: detections.len(), best })
    }

    /// All tensors one after the other, little-endian.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let values = [&self.cls_prob, &self.bbox_pred, &self.rpn_logits].into_iter().flatten();
        values.flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// What the head reads of the boxes, and what the RPN gives of the coarsest map. Templates do the same.
fn features(
    session: &mut Session,
    bundle: &Bundle,
    frame: &Frame<'_>,
    boxes: &[BBox],
) -> Result<(Vec<f32>, Vec<f32>), Problem> {
    let regions = &bundle.contents().regions;
    let blobs = session.preprocess(frame)?;
    let Some(blob) = blobs.first() else { return Ok((Vec::new(), Vec::new())) };
    if let Regions::Warp(_) = regions {
        let windows = session.project(boxes, &blobs)?;
        let crops = session.warp(blob, &windows.rois)?;
        return Ok((session.trunk_of_crops(&crops)?, Vec::new()));
    }
    let mut maps = Vec::new();
    for blob in &blobs {
        maps.extend(session.maps(blob)?);
    }
    let features = match regions {
        Regions::RoiAlign(_) => session.roi_align(&maps, &session.align_rois(boxes)?.rois)?,
        Regions::RoiPooling(_) | Regions::Warp(_) => {
            session.roi_pool(&maps, &session.project(boxes, &blobs)?.rois)?
        }
    };
    let rpn_logits = match maps.last() {
        Some(map) if bundle.contents().rpn.is_some() => session.rpn(map)?.logits.data()?.to_vec(),
        _ => Vec::new(),
    };
    Ok((features, rpn_logits))
}
