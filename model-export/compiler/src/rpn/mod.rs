//! What becomes of an RPN's outputs: the rules that stand in no layer.

mod head;

use frcnn_bundle::{Graph, Rpn};
use serde::{Deserialize, Serialize};

pub(crate) use head::maps;

/// The fields of [`Rpn`] but its graph. A `manifest.json` has them as `rpn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `anchors`, `pre_nms_top_n` and so on")]
pub struct Rules {
    /// Of each map its base anchors `[x1, y1, x2, y2]`, in blob pixels around a cell's place.
    pub anchors: Vec<Vec<[f32; 4]>>,
    /// By which the deltas are divided.
    #[serde(default = "ones")]
    pub box_weights: [f32; 4],
    /// Anchors of the highest logits that are decoded, of each map.
    pub pre_nms_top_n: u32,
    /// Proposals of an image at most.
    pub post_nms_top_n: u32,
    /// Proposals of one map with a larger IoU are suppressed.
    pub nms_iou: f32,
    /// Proposals narrower or lower are dropped, in blob pixels.
    pub min_side: f32,
    /// Proposals of a lower probability are dropped.
    pub score_threshold: f32,
    /// Of each map the blob pixels between two of its cells, on both axes; what is left out follows from the sizes of blob
    /// and map, as in torchvision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<Vec<u32>>,
}

fn ones() -> [f32; 4] {
    [1.0; 4]
}

impl Rules {
    /// Those of an RPN.
    pub(crate) fn of(rpn: &Rpn) -> Rules {
        let Rpn {
            graph: _,
            anchors,
            strides,
            box_weights,
            pre_nms_top_n,
            post_nms_top_n,
            nms_iou,
            min_side,
            score_threshold,
        } = rpn.clone();
        Rules {
            anchors,
            box_weights,
            pre_nms_top_n,
            post_nms_top_n,
            nms_iou,
            min_side,
            score_threshold,
            strides,
        }
    }

    /// The RPN whose head is `graph`.
    pub(crate) fn with(&self, graph: Graph) -> Rpn {
        let Rules {
            anchors,
            box_weights,
            pre_nms_top_n,
            post_nms_top_n,
            nms_iou,
            min_side,
            score_threshold,
            strides,
        } = self.clone();
        Rpn {
            graph,
            anchors,
            strides,
            box_weights,
            pre_nms_top_n,
            post_nms_top_n,
            nms_iou,
            min_side,
            score_threshold,
        }
    }
}
