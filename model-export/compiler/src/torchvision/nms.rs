//! What is kept of scored boxes: thresholds, non-maximum suppression, and how many at most.

use tract_onnx::pb::NodeProto;

use crate::error::Problem;
use crate::onnx::Attributes;
use crate::view::{View, axis, input, not_understood};

/// The steps of `filter_proposals` and of `postprocess_detections`, read backwards from what they keep.
pub(super) struct Kept<'a> {
    /// The boxes before anything was dropped.
    pub(super) boxes: &'a str,
    /// Their scores.
    pub(super) scores: &'a str,
    /// Boxes narrower or lower are dropped.
    pub(super) min_side: f32,
    /// Scores below it are dropped.
    pub(super) score_threshold: f32,
    /// Whether those that equal it are, too.
    pub(super) strict: bool,
    /// Boxes with a larger IoU are suppressed.
    pub(super) nms_iou: f32,
    /// As many are kept.
    pub(super) count: u32,
}

/// What decides which boxes stay.
enum Condition {
    MinSide(f32),
    Score { threshold: f32, strict: bool },
}

/// Reads the steps behind `boxes`, which are picked out of others by what non-maximum suppression keeps.
pub(super) fn kept<'a>(view: &View<'a>, boxes: &'a str) -> Result<Kept<'a>, Problem> {
    let gather = view.made_by(boxes, &["Gather"], "the boxes that non-maximum suppression keeps")?;
    let slice =
        view.made_by(input(gather, 1), &["Slice"], "the first of those that non-maximum suppression keeps")?;
    let count = view.whole(input(slice, 2)).filter(|_| view.whole(input(slice, 1)) == Some(0));
    let count = count.and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or_else(|| not_understood(slice, "it does not take a fixed number of the first"))?;
    let nms = Suppression::of(view, input(slice, 0))?;
    if view.behind(nms.shifted_of, &["Cast"]) != input(gather, 0) {
        return Err(not_understood(gather, "its boxes are not those that non-maximum suppression reads"));
    }
    let (mut boxes, mut scores) = (nms.shifted_of, nms.scores);
    let (mut side, mut score) = (None, None);
    // There are two tests, in either order.
    while let Some((before, condition)) = picked(view, scores)? {
        let picked = view.made_by(boxes, &["Gather"], "boxes that are dropped with their scores")?;
        if input(picked, 1) != input(view.made_by(scores, &["Gather"], "scores")?, 1) {
            return Err(not_understood(picked, "it does not drop the boxes whose scores are dropped"));
        }
        (scores, boxes) = (before, input(picked, 0));
        let twice = match condition {
            Condition::MinSide(least) => side.replace(least).is_some(),
            Condition::Score { threshold, strict } => score.replace((threshold, strict)).is_some(),
        };
        if twice {
            return Err(not_understood(picked, "boxes are dropped twice for the same reason"));
        }
    }
    let (Some(min_side), Some((score_threshold, strict))) = (side, score) else {
        let why = "boxes that are too small, and those of too low a score, were to be dropped before";
        return Err(not_understood(gather, why));
    };
    Ok(Kept { boxes, scores, min_side, score_threshold, strict, nms_iou: nms.iou, count })
}

/// What `value` was picked from, and by which condition; none where it is no such choice.
fn picked<'a>(view: &View<'a>, value: &'a str) -> Result<Option<(&'a str, Condition)>, Problem> {
    let Some(gather) = view.maker(value).filter(|node| node.op_type == "Gather" && axis(node) == 0) else {
        return Ok(None);
    };
    let chosen = view.behind(input(gather, 1), &["Squeeze", "Split", "Transpose", "Reshape", "Cast"]);
    let Some(non_zero) = view.maker(chosen).filter(|node| node.op_type == "NonZero") else {
        return Ok(None);
    };
    let test = view.made_by(
        input(non_zero, 0),
        &["And", "Greater", "GreaterOrEqual", "Not"],
        "a test of boxes or scores",
    )?;
    let number = |node: &'a NodeProto| {
        let found = view.number(input(node, 1));
        found.ok_or_else(|| not_understood(node, "it does not compare with a constant"))
    };
    let condition = if test.op_type == "And" {
        let mut sides = Vec::new();
        for side in &test.input {
            let test = view.made_by(side, &["GreaterOrEqual", "Not"], "a test of a side's length")?;
            sides.push(number(at_least(view, test)?)?);
        }
        match sides[..] {
            [a, b] if a == b => Condition::MinSide(a),
            _ => return Err(not_understood(test, "a box's width and height are held to different lengths")),
        }
    } else {
        Condition::Score { threshold: number(at_least(view, test)?)?, strict: test.op_type == "Greater" }
    };
    Ok(Some((input(gather, 0), condition)))
}

/// The node that compares: `x >= c` is `Not` of `x < c` in operator sets before 12.
fn at_least<'a>(view: &View<'a>, test: &'a NodeProto) -> Result<&'a NodeProto, Problem> {
    match &*test.op_type {
        "Not" => view.made_by(input(test, 0), &["Less"], "a comparison"),
        _ => Ok(test),
    }
}

/// `batched_nms`: boxes of each class, or level, are shifted apart and suppressed in one go.
struct Suppression<'a> {
    shifted_of: &'a str,
    scores: &'a str,
    iou: f32,
}

impl<'a> Suppression<'a> {
    /// What `keep` was chosen by: the output of an `If`, whose other branch is for no boxes at all.
    fn of(view: &View<'a>, keep: &'a str) -> Result<Suppression<'a>, Problem> {
        let choice = view.made_by(keep, &["If", "Squeeze"], "non-maximum suppression")?;
        let inside = choice.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        let mut ends = inside.flat_map(|graph| &graph.output).map(|output| output.name.as_str());
        let keep = if choice.op_type == "If" {
            let squeezed = |name: &&str| view.maker(name).is_some_and(|node| node.op_type != "Constant");
            ends.find(squeezed).ok_or_else(|| not_understood(choice, "no branch of it suppresses boxes"))?
        } else {
            keep
        };
        let chosen = view.behind(keep, &["Squeeze", "Gather", "Slice", "Cast", "Identity"]);
        let nms = view.made_by(chosen, &["NonMaxSuppression"], "non-maximum suppression")?;
        if nms.input.iter().skip(4).any(|read| !read.is_empty())
            || Attributes(nms).int("center_point_box", 0)? != 0
        {
            return Err(not_understood(nms, "it has a threshold of scores, or boxes by their centres"));
        }
        let iou =
            view.number(input(nms, 3)).ok_or_else(|| not_understood(nms, "its IoU is not a constant"))?;
        let shifted = view.behind(input(nms, 0), &["Unsqueeze", "Cast", "Identity"]);
        let shift = view.made_by(shifted, &["Add"], "boxes that are shifted by their class")?;
        let (boxes, shifts) = (input(shift, 0), input(shift, 1));
        check_shift(view, boxes, shifts)?;
        let scores = view.behind(input(nms, 1), &["Unsqueeze", "Cast", "Identity"]);
        Ok(Suppression { shifted_of: boxes, scores, iou })
    }
}

/// Whether boxes are shifted by their class times the largest coordinate and one more.
fn check_shift<'a>(view: &View<'a>, boxes: &'a str, shifts: &'a str) -> Result<(), Problem> {
    let shift = view.behind(shifts, &["Unsqueeze", "Slice", "Cast", "Identity"]);
    let product = view.made_by(shift, &["Mul"], "what boxes of a class are shifted by")?;
    let size = view.made_by(input(product, 1), &["Add"], "the largest coordinate and 1")?;
    let largest = match view.with_number(size) {
        Some((largest, 1.0)) => view.made_by(largest, &["ReduceMax"], "the largest coordinate")?,
        _ => return Err(not_understood(size, "the largest coordinate and 1 were expected there")),
    };
    if input(largest, 0) == boxes {
        Ok(())
    } else {
        Err(not_understood(largest, "it is not of the boxes that are shifted"))
    }
}
