//! The region proposal network of a bundle.

use frcnn_bundle::Rpn;
use serde::Serialize;

use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};

/// What proposes regions.
#[derive(Serialize)]
pub(super) struct RpnSummary<'a> {
    /// For each map its base anchors: x1, y1, x2, y2 in pixels of the blob.
    anchors: &'a [Vec<[f32; 4]>],
    /// Pixels of the blob from cell to cell of each map; null: the blob's size over the map's.
    strides: Option<&'a [u32]>,
    box_weights: [f32; 4],
    pre_nms_top_n: u32,
    post_nms_top_n: u32,
    nms_iou: f32,
    min_side: f32,
    score_threshold: f32,
}

impl<'a> RpnSummary<'a> {
    pub(super) fn new(rpn: &'a Rpn) -> RpnSummary<'a> {
        RpnSummary {
            anchors: &rpn.anchors,
            strides: rpn.strides.as_deref(),
            box_weights: rpn.box_weights,
            pre_nms_top_n: rpn.pre_nms_top_n,
            post_nms_top_n: rpn.post_nms_top_n,
            nms_iou: rpn.nms_iou,
            min_side: rpn.min_side,
            score_threshold: rpn.score_threshold,
        }
    }

    pub(super) fn text(&self) -> String {
        let columns = [Words("map"), Numbers("stride"), Words("anchors (width x height)")];
        let rows = self.anchors.iter().enumerate().map(|(position, anchors)| {
            let stride = self.strides.and_then(|strides| strides.get(position));
            let size = |&[x1, y1, x2, y2]: &[f32; 4]| format!("{} x {}", x2 - x1, y2 - y1);
            let sizes: Vec<String> = anchors.iter().map(size).collect();
            let stride = stride.map_or("blob / map".to_string(), u32::to_string);
            vec![position.to_string(), stride, sizes.join(", ")]
        });
        let box_weights: Vec<String> = self.box_weights.iter().map(f32::to_string).collect();
        "RPN\n\n".to_string()
            + &pairs(&[
                ("anchors before NMS", format!("the likeliest {} of each map", self.pre_nms_top_n)),
                ("proposals", format!("{} at most", self.post_nms_top_n)),
                ("NMS IoU", self.nms_iou.to_string()),
                ("score threshold", self.score_threshold.to_string()),
                ("shortest side", format!("{} pixels of the blob", self.min_side)),
                ("box weights", box_weights.join(", ")),
            ])
            + "\n"
            + &table(&columns, rows)
    }
}
