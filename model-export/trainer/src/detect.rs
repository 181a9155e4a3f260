//! Detection with libtorch, as a runtime does it: project, run, decode, clip, threshold, NMS, keep the best.

use std::collections::HashMap;

use frcnn_bundle::Manifest;
use frcnn_core::{BBox, BoxCoder, Detection, NO_ROI, Roi, im_scale, keep_best, nms, project_rois};
use image::RgbImage;
use tch::{Device, Tensor};

use crate::data::Preprocessing;
use crate::network::AnyNetwork;
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
    pub(crate) device: Device,
    /// Whether the regressions are used; without, a detection's box is its proposal.
    pub(crate) bbox: bool,
}

/// What the network gives for each of R distinct RoIs.
#[derive(Debug)]
struct Predictions {
    /// `[R, K+1]`.
    cls_prob: Vec<f32>,
    /// `[R, 4(K+1)]`.
    bbox_pred: Vec<f32>,
}

impl Detector<'_> {
    /// The best detections of an image, by descending score.
    pub(crate) fn detect(&self, image: &RgbImage, boxes: &[BBox]) -> Vec<Detection> {
        let (width, height) = image.dimensions();
        let classes = self.manifest.classes.len();
        let (mut rois, mut index) = (vec![Roi::default(); boxes.len()], vec![NO_ROI; boxes.len()]);
        let scales: Vec<f64> = self
            .manifest
            .scales
            .iter()
            .map(|&short_side| im_scale(height, width, short_side, self.manifest.max_long_side))
            .collect();
        let offset = self.manifest.box_width_offset;
        let spatial_scale = self.network.spatial_scale();
        // The two slices have the length of `boxes`: this cannot fail.
        let distinct =
            project_rois(boxes, &scales, spatial_scale, offset, &mut rois, &mut index).unwrap_or(0);
        rois.truncate(distinct);
        let found = self.predict(image, boxes, &rois, &index, &scales);

        let coder = BoxCoder { width_offset: offset, weights: self.manifest.box_weights };
        let mut best = Vec::new();
        for class in 1..classes {
            let mut candidates = Vec::new();
            for (proposal, (bbox, &roi)) in boxes.iter().zip(&index).enumerate() {
                let row = roi as usize * classes + class;
                let Some(&score) = found.cls_prob.get(row).filter(|_| roi != NO_ROI) else { continue };
                if score <= self.manifest.score_threshold {
                    continue;
                }
                let delta = found.bbox_pred.as_chunks::<4>().0.get(row).copied().unwrap_or_default();
                let decoded = if self.bbox { coder.decode(bbox, delta) } else { *bbox };
                let bbox = decoded.clip(width, height);
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

    /// Runs the network on each level of the pyramid.
    fn predict(
        &self,
        image: &RgbImage,
        boxes: &[BBox],
        rois: &[Roi],
        index: &[u32],
        scales: &[f64],
    ) -> Predictions {
        // A distinct RoI is pooled through any of the boxes that it stands for: all round to the same cells.
        let mut stand_ins: HashMap<u32, &BBox> = HashMap::new();
        for (bbox, &roi) in boxes.iter().zip(index) {
            stand_ins.entry(roi).or_insert(bbox);
        }
        let preprocessing = Preprocessing {
            pixel_means_bgr: self.network.blob_means(self.manifest),
            max_long_side: self.manifest.max_long_side,
        };
        let mut all = Predictions { cls_prob: Vec::new(), bbox_pred: Vec::new() };
        // RoIs are sorted by level, so predictions come in their order.
        for (level, (&short_side, &scale)) in self.manifest.scales.iter().zip(scales).enumerate() {
            let network_rois: Vec<[f32; 5]> = (0u32..)
                .zip(rois)
                .filter(|(_, roi)| usize::from(roi.level) == level)
                .filter_map(|(i, _)| stand_ins.get(&i))
                .map(|bbox| network_roi(bbox, scale))
                .collect();
            if network_rois.is_empty() {
                continue;
            }
            let (data, _) = preprocessing.blob(image, short_side);
            tch::no_grad(|| self.run(&data.to_device(self.device), &network_rois, &mut all));
        }
        all
    }

    fn run(&self, data: &Tensor, rois: &[[f32; 5]], all: &mut Predictions) {
        let map = self.network.feature_map(data);
        for rois in rois.chunks(ROIS_PER_CHUNK) {
            let [cls_prob, bbox_pred] = self.network.predict(&map, rois);
            all.cls_prob.extend(values(&cls_prob));
            all.bbox_pred.extend(values(&bbox_pred));
        }
    }
}

/// A box of the first image of a batch in network pixels.
pub(crate) fn network_roi(bbox: &BBox, scale: f64) -> [f32; 5] {
    let network = |pixel: f32| (f64::from(pixel) * scale) as f32;
    [0.0, network(bbox.x1), network(bbox.y1), network(bbox.x2), network(bbox.y2)]
}
