//! Learned proposals: a region proposal network in the trunk of a Fast R-CNN.
//!
//! ```text
//! anchors: A boxes at every cell of the feature map
//!    │                ┌ training: which of them are objects, and where they should lie ─▶ two losses
//!    └─▶ logits, deltas
//!                     └ propose: the best, moved, clipped, without those that others cover ─▶ boxes, best first
//! ```
//!
//! Ren et al., *Faster R-CNN*, NIPS 2015. Boxes are continuous, in network pixels, as torchvision has them: a width is
//! `x2 - x1`.

mod anchors;
mod evenly;
mod output;
mod propose;
mod targets;

use clap::Args;
use frcnn_bundle::{Graph, MAX_PROPOSALS, Rpn};
use serde::{Deserialize, Serialize};

pub(crate) use anchors::{AnchorGrid, AnchorShapes};
pub(crate) use evenly::evenly;
pub(crate) use output::RpnOutput;
use propose::propose;
pub(crate) use targets::AnchorTargets;

/// Anchors of the highest logits that are decoded, in training and at test.
const PRE_NMS_TOP_N: u32 = 6000;
/// Proposals of a photo in training, at most.
const POST_NMS_TOP_N_IN_TRAINING: u32 = 2000;
/// Proposals that overlap a better one by more are left out.
const NMS_IOU: f32 = 0.7;
/// Proposals narrower or lower than so many network pixels are left out.
const MIN_SIDE: f32 = 1.0;

/// Whether proposals are learned, and from which boxes.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RpnRecipe {
    /// Learn proposals, too: a region proposal network in the same trunk, trained together with the detector
    #[arg(long)]
    pub(crate) rpn: bool,
    /// Boxes at each cell that proposals are made from: the sides of squares, in pixels of the scaled photo, in every aspect
    /// ratio, height over width
    #[arg(long, default_value_t = AnchorShapes::default(), value_name = "SIZE,…/RATIO,…")]
    pub(crate) anchors: AnchorShapes,
    /// Proposals of a photo at test, at most
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROPOSALS)))]
    pub(crate) rpn_proposals: u32,
}

impl Default for RpnRecipe {
    fn default() -> RpnRecipe {
        RpnRecipe { rpn: false, anchors: AnchorShapes::default(), rpn_proposals: 1000 }
    }
}

impl RpnRecipe {
    /// Anchors of each cell; 0 where proposals are not learned.
    pub(crate) fn anchors_per_cell(&self) -> usize {
        if self.rpn { self.anchors.base().len() } else { 0 }
    }

    /// How proposals are made at test, if they are learned, on a map with `stride` network pixels between cells. The graph is
    /// left empty.
    pub(crate) fn rules(&self, stride: usize) -> Option<Rpn> {
        self.rpn.then(|| Rpn {
            graph: Graph::default(),
            anchors: vec![self.anchors.base()],
            strides: Some(vec![stride as u32]),
            box_weights: [1.0; 4],
            pre_nms_top_n: PRE_NMS_TOP_N,
            post_nms_top_n: self.rpn_proposals,
            nms_iou: NMS_IOU,
            min_side: MIN_SIDE,
            score_threshold: 0.0,
        })
    }

    /// The same in training.
    pub(crate) fn training_rules(&self, stride: usize) -> Option<Rpn> {
        Some(Rpn { post_nms_top_n: POST_NMS_TOP_N_IN_TRAINING, ..self.rules(stride)? })
    }
}

/// The rules as a `manifest.json` has them: the fields of [`Rpn`] but its graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rules {
    anchors: Vec<Vec<[f32; 4]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strides: Option<Vec<u32>>,
    box_weights: [f32; 4],
    pre_nms_top_n: u32,
    post_nms_top_n: u32,
    nms_iou: f32,
    min_side: f32,
    score_threshold: f32,
}

/// The rules without the graph.
pub(crate) fn in_manifest(rpn: Rpn) -> Rules {
    Rules {
        anchors: rpn.anchors,
        strides: rpn.strides,
        box_weights: rpn.box_weights,
        pre_nms_top_n: rpn.pre_nms_top_n,
        post_nms_top_n: rpn.post_nms_top_n,
        nms_iou: rpn.nms_iou,
        min_side: rpn.min_side,
        score_threshold: rpn.score_threshold,
    }
}
