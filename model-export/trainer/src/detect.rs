//! Detection with libtorch, as a runtime does it: propose if need be, project, run, decode, clip, threshold, NMS, keep the best.

use std::collections::HashMap;

use frcnn_bundle::{Manifest, Rpn};
use frcnn_core::{BBox, BoxCoder, Detection, NO_ROI, Roi, im_scale, keep_best, nms, project_rois};
use image::RgbImage;
use tch::{Device, Tensor};

use crate::data::Preprocessing;
use crate::network::AnyNetwork;
use crate::rpn::RpnOutput;
use crate::tensors::values;

/// RoIs that the head sees at a time: bounds the memory that VGG16's pooled features take to 0.2 GB.
const ROIS_PER_CHUNK: usize = 2000;
/// No manifest asks for more detections of an image.
const MAX_DETECTIONS: usize = 1000;

/// A network and what its manifest says.
#[derive(Debug)]
pub(crate) struct Detector<'a> {
    pub(crate) network: &'a AnyNetwork,
    pub(crate) manifest: &'a Manifest,
    /// How its proposals are made, if it makes them.
    pub(crate) rpn: Option<&'a Rpn>,
    pub(crate) device: Device,
    /// Whether the regressions are used; without, a detection's box is its proposal.
    pub(crate) bbox: bool,
}

/// The distinct RoIs of some boxes.
#[derive(Debug)]
struct DistinctRois {
    /// The level of the image pyramid of each, ascending, and the RoI in that level's network pixels.
    rois: Vec<(usize, [f32; 5])>,
    /// Of each box the number of its RoI, or [`NO_ROI`].
    index: Vec<u32>,
}

/// What the network gives for each of R distinct RoIs.
#[derive(Debug, Default)]
struct Predictions {
    /// `[R, K+1]`.
    cls_prob: Vec<f32>,
    /// `[R, 4(K+1)]`.
    bbox_pred: Vec<f32>,
}

/// An image as the network proposes in it.
#[derive(Debug)]
pub(crate) struct Proposed {
    /// The proposals in pixels of the image, the best first.
    pub(crate) boxes: Vec<BBox>,
    /// The same in network pixels.
    pub(crate) network_boxes: Vec<BBox>,
    /// What was said of the anchors.
    pub(crate) output: RpnOutput,
    map: Tensor,
}

impl Detector<'_> {
    /// The best detections among `boxes` of an image, by descending score.
    pub(crate) fn detect(&self, image: &RgbImage, boxes: &[BBox]) -> Vec<Detection> {
        let distinct = self.distinct(image, boxes);
        let found = self.predict(image, &distinct, None);
        self.best(image, boxes, &distinct.index, &found)
    }

    /// The same among what was proposed; as many boxes as the rules of proposals take.
    pub(crate) fn detect_proposed(&self, image: &RgbImage, proposed: &Proposed) -> Vec<Detection> {
        let most = self.rpn.map_or(0, |rpn| rpn.post_nms_top_n as usize).min(proposed.boxes.len());
        let boxes = &proposed.boxes[..most];
        let distinct = self.distinct(image, boxes);
        let found = self.predict(image, &distinct, Some(&proposed.map));
        self.best(image, boxes, &distinct.index, &found)
    }

    /// What the network proposes in an image, at most `most` boxes; `exact` as in [`Run`](crate::network::Run). None if it makes
    /// no proposals.
    pub(crate) fn propose(&self, image: &RgbImage, most: u32, exact: bool) -> Option<Proposed> {
        let rules = Rpn { post_nms_top_n: most, ..self.rpn?.clone() };
        let &short_side = self.manifest.scales.first()?;
        let (blob, scale) = self.preprocessing().blob(image, short_side);
        let side = |axis: usize| blob.size().get(axis).map_or(0, |&side| side as u32);
        let size = [side(2), side(3)];
        let blob = blob.to_device(self.device);
        let (map, output) = tch::no_grad(|| {
            let map = self.network.feature_map(&blob, exact);
            let output = self.network.anchors(&map, exact);
            (map, output)
        });
        let grid = output.grid(&rules, &blob);
        let network_boxes = output.proposals(&grid, &[size], &rules).pop().unwrap_or_default();
        let pixel = |corner: f32| (f64::from(corner) / scale) as f32;
        let image_box = |b: &BBox| BBox::new(pixel(b.x1), pixel(b.y1), pixel(b.x2), pixel(b.y2));
        let boxes = network_boxes.iter().map(image_box).collect();
        Some(Proposed { boxes, network_boxes, output, map })
    }

    fn preprocessing(&self) -> Preprocessing {
        Preprocessing {
            pixel_means_bgr: self.network.blob_means(self.manifest),
            max_long_side: self.manifest.max_long_side,
        }
    }

    fn distinct(&self, image: &RgbImage, boxes: &[BBox]) -> DistinctRois {
        let (width, height) = image.dimensions();
        let scale = |&short_side: &u32| im_scale(height, width, short_side, self.manifest.max_long_side);
        let scales: Vec<f64> = self.manifest.scales.iter().map(scale).collect();
        if self.network.aligns() {
            return aligned(boxes, scales.first().copied().unwrap_or(1.0));
        }
        let (mut rois, mut index) = (vec![Roi::default(); boxes.len()], vec![NO_ROI; boxes.len()]);
        let (offset, spatial_scale) = (self.manifest.box_width_offset, self.network.spatial_scale());
        // The two slices have the length of `boxes`: this cannot fail.
        let distinct =
            project_rois(boxes, &scales, spatial_scale, offset, &mut rois, &mut index).unwrap_or(0);
        rois.truncate(distinct);
        // A distinct RoI is pooled through any of the boxes that it stands for: all round to the same cells.
        let mut stand_ins: HashMap<u32, &BBox> = HashMap::new();
        for (bbox, &roi) in boxes.iter().zip(&index) {
            stand_ins.entry(roi).or_insert(bbox);
        }
        let network = |(i, roi): (u32, &Roi)| {
            let level = usize::from(roi.level);
            Some((level, network_roi(stand_ins.get(&i)?, *scales.get(level)?)))
        };
        DistinctRois { rois: (0u32..).zip(&rois).filter_map(network).collect(), index }
    }

    /// Decodes, clips, thresholds, suppresses, and keeps the best.
    fn best(&self, image: &RgbImage, boxes: &[BBox], index: &[u32], found: &Predictions) -> Vec<Detection> {
        let (width, height) = image.dimensions();
        let classes = self.manifest.classes.len();
        let coder =
            BoxCoder { width_offset: self.manifest.box_width_offset, weights: self.manifest.box_weights };
        let mut best = Vec::new();
        for class in 1..classes {
            let mut candidates = Vec::new();
            for (proposal, (bbox, &roi)) in boxes.iter().zip(index).enumerate() {
                let row = roi as usize * classes + class;
                let Some(&score) = found.cls_prob.get(row).filter(|_| roi != NO_ROI) else { continue };
                if score <= self.manifest.score_threshold {
                    continue;
                }
                let delta = found.bbox_pred.as_chunks::<4>().0.get(row).copied().unwrap_or_default();
                let decoded = if self.bbox { coder.decode(bbox, delta) } else { *bbox };
                let bbox = match self.manifest.corners_are_edges() {
                    true => decoded.clip_continuous(width, height),
                    false => decoded.clip(width, height),
                };
                if bbox.is_valid() {
                    candidates.push(Detection {
                        class_id: class as u16,
                        score,
                        bbox,
                        proposal: proposal as u32,
                    });
                }
            }
            let kept = nms(&mut candidates, self.manifest.nms_iou, self.manifest.nms_width_offset);
            candidates.truncate(kept);
            best.append(&mut candidates);
        }
        keep_best::<MAX_DETECTIONS>(&mut best, self.manifest.max_detections as usize).to_vec()
    }

    /// Runs the network on each level of the pyramid. `map` is the first level's feature map, if it is known.
    fn predict(&self, image: &RgbImage, distinct: &DistinctRois, map: Option<&Tensor>) -> Predictions {
        let mut all = Predictions::default();
        // RoIs are sorted by level, so predictions come in their order.
        for (level, &short_side) in self.manifest.scales.iter().enumerate() {
            let of_level = distinct.rois.iter().filter(|(of, _)| *of == level);
            let rois: Vec<[f32; 5]> = of_level.map(|(_, roi)| *roi).collect();
            if rois.is_empty() {
                continue;
            }
            tch::no_grad(|| match map.filter(|_| level == 0) {
                Some(map) => self.run(map, &rois, &mut all),
                None => {
                    let (data, _) = self.preprocessing().blob(image, short_side);
                    self.run(&self.network.feature_map(&data.to_device(self.device), false), &rois, &mut all);
                }
            });
        }
        all
    }

    fn run(&self, map: &Tensor, rois: &[[f32; 5]], all: &mut Predictions) {
        for rois in rois.chunks(ROIS_PER_CHUNK) {
            let [cls_prob, bbox_pred] = self.network.predict(map, rois);
            all.cls_prob.extend(values(&cls_prob));
            all.bbox_pred.extend(values(&bbox_pred));
        }
    }
}

/// Boxes that are sampled between cells: each is an RoI of its own.
fn aligned(boxes: &[BBox], scale: f64) -> DistinctRois {
    let mut rois = Vec::with_capacity(boxes.len());
    let mut number = |bbox: &BBox| {
        if !bbox.is_valid() {
            return NO_ROI;
        }
        rois.push((0, network_roi(bbox, scale)));
        rois.len() as u32 - 1
    };
    let index = boxes.iter().map(&mut number).collect();
    DistinctRois { rois, index }
}

/// A box of the first image of a batch in network pixels.
pub(crate) fn network_roi(bbox: &BBox, scale: f64) -> [f32; 5] {
    let network = |pixel: f32| (f64::from(pixel) * scale) as f32;
    [0.0, network(bbox.x1), network(bbox.y1), network(bbox.x2), network(bbox.y2)]
}
