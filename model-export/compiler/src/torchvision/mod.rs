//! Faster R-CNN as torchvision exports it: one file from the image to the boxes that are found.
//!
//! Beside the network such a file has some 1,500 nodes of arithmetic: sizes, anchors, the decoding of boxes, thresholds. None of
//! that is interpreted. It is read backwards from the outputs, step by step as torchvision takes them, for the numbers in it
//! and for where the network's parts begin and end; what is not as it is expected is an error that names the node. The parts
//! are then compiled as those of any other model, and what lies between them is the runtime's.
//!
//! ```text
//! image ─[image]─► blob ─trunk─► maps ─rpn's head─► logits, deltas ─[rpn, decode, nms]─► proposals
//!                                  └────────────[roi_align]────────────────────────────────┘ │
//!         boxes, labels, scores ◄─[detections, decode, nms]─ cls_prob, bbox_pred ◄─head─ pooled ◄┘
//! ```

mod cut;
mod decode;
mod detections;
mod image;
mod nms;
mod rpn;

use frcnn_bundle::{ChannelOrder, Manifest, Resize, RoiAlign, Scores};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::error::Problem;
use crate::prepare::check_size;
use crate::roi_align::{Pooling, pooling};
use crate::rpn::Rules;
use crate::view::{View, not_understood};
use cut::cut;

/// A Faster R-CNN, taken apart: the names of the values that lie between its parts, and the numbers of what does not become
/// layers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Detector {
    /// What the trunk reads: a normalised image, `[1, 3, H, W]`.
    pub(crate) blob: String,
    /// The trunk's maps: those that regions are pooled from first, the finest before the others.
    pub(crate) maps: Vec<String>,
    /// What the RPN makes of the first map.
    pub(crate) logits: String,
    pub(crate) deltas: String,
    /// What the head reads.
    pub(crate) pooled: String,
    /// The head's outputs.
    pub(crate) cls_prob: String,
    pub(crate) bbox_pred: String,
    pub(crate) align: RoiAlign,
    pub(crate) rules: Rules,
    numbers: Numbers,
}

/// What goes into the manifest.
#[derive(Clone, Debug, PartialEq)]
struct Numbers {
    means: [f32; 3],
    stds: [f32; 3],
    min_size: u32,
    max_size: u32,
    pad_multiple: u32,
    box_weights: [f32; 4],
    score_threshold: f32,
    min_box_side: f32,
    nms_iou: f32,
    max_detections: u32,
}

/// Reads a detector that was exported whole, and leaves of `model` its parts; of any other model, nothing.
pub(crate) fn take_apart(model: &mut ModelProto) -> Result<Option<Detector>, Problem> {
    let Some(graph) = &model.graph else { return Ok(None) };
    if let Some(node) = nodes(graph).find(|node| node.domain == "torchvision") {
        let why = "it is an operator of the domain `torchvision`, not ONNX's own: an exporter has left it as it was";
        return Err(not_understood(node, why));
    }
    // Whole detectors suppress boxes.
    if !nodes(graph).any(|node| node.op_type == "NonMaxSuppression") {
        return Ok(None);
    }
    check_size(graph)?;
    let detector = Detector::find(model, graph)?;
    cut(model, &detector);
    Ok(Some(detector))
}

/// The nodes of a graph, and of the branches of its `If`s.
fn nodes(graph: &GraphProto) -> impl Iterator<Item = &NodeProto> {
    graph.node.iter().flat_map(|node| {
        let branches =
            node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
        branches.flat_map(|graph| &graph.node).chain([node])
    })
}

impl Detector {
    /// Reads a graph that suppresses boxes.
    fn find(model: &ModelProto, graph: &GraphProto) -> Result<Detector, Problem> {
        let view = View::new(model, graph);
        let roi_aligns = view.all("RoiAlign");
        let Some(&first_align) = roi_aligns.first() else {
            let node = view.all("NonMaxSuppression").into_iter().next();
            let why = "boxes are suppressed, but no regions were pooled before: it is a one-stage detector (RetinaNet, FCOS, \
                       SSD), not a Faster R-CNN";
            return Err(node.map_or(Problem::NoRoiPool, |node| not_understood(node, why)));
        };
        let found = detections::detections(&view)?;
        let used = view.ancestors(&[found.cls_prob], &|_| false);
        let (used, others): (Vec<_>, Vec<_>) =
            roi_aligns.into_iter().partition(|align| used.iter().any(|node| std::ptr::eq(*node, *align)));
        if let Some(other) = others.first() {
            return Err(not_understood(other, "it pools regions for something else than boxes"));
        }
        if used.is_empty() {
            return Err(not_understood(first_align, "the scores do not depend on it"));
        }
        let Pooling { align, maps: pooled_maps, pooled, rois } = pooling(&view, &used)?;
        let proposals = detections::proposals_of(&view, rois)?;
        let coder = found.coder(&view, proposals)?;
        let rpn = rpn::proposals(&view, proposals, &pooled_maps)?;
        let blob = image::blob(&view, &rpn.maps)?;
        let image = image::Image::of(&view, blob)?;
        // The device's trunk gives the pooled maps first.
        if rpn.maps.get(..pooled_maps.len()) != Some(&pooled_maps[..]) {
            return Err(not_understood(
                first_align,
                "regions are not pooled from the first of the maps that the RPN reads, one after the other",
            ));
        }
        let owned = str::to_string;
        Ok(Detector {
            blob: owned(blob),
            maps: rpn.maps.into_iter().map(owned).collect(),
            logits: owned(rpn.logits),
            deltas: owned(rpn.deltas),
            pooled: owned(pooled),
            cls_prob: owned(found.cls_prob),
            bbox_pred: owned(coder.deltas),
            align,
            rules: rpn.rules,
            numbers: Numbers {
                means: image.means,
                stds: image.stds,
                min_size: image.min_size,
                max_size: image.max_size,
                pad_multiple: image.pad_multiple,
                box_weights: coder.weights,
                score_threshold: found.kept.score_threshold,
                min_box_side: found.kept.min_side,
                nms_iou: found.kept.nms_iou,
                max_detections: found.kept.count,
            },
        })
    }

    /// The manifest of this file: its own numbers, and classes of these names.
    pub(crate) fn manifest(&self, name: String, classes: Vec<String>) -> Manifest {
        let n = &self.numbers;
        Manifest {
            name,
            channel_order: ChannelOrder::Rgb,
            pixel_scale: 1.0,
            pixel_means: n.means,
            pixel_stds: n.stds,
            scales: vec![n.min_size],
            max_long_side: n.max_size,
            resize: Resize::Torchvision,
            pad_multiple: n.pad_multiple,
            box_width_offset: 0.0,
            nms_width_offset: 0.0,
            box_weights: n.box_weights,
            scores: Scores::Probabilities,
            score_threshold: n.score_threshold,
            nms_iou: n.nms_iou,
            nms_keeps_equal: true,
            min_box_side: n.min_box_side,
            max_detections: n.max_detections,
            ..Manifest::new(classes)
        }
    }
}
