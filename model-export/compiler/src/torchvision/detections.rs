//! `postprocess_detections`: from the head's outputs to the boxes that are found.

use tract_onnx::pb::NodeProto;

use super::decode::{Coder, coder};
use super::nms::{Kept, kept};
use crate::error::Problem;
use crate::view::{View, axis, input, not_understood, output};

/// What was read of a detector's end.
pub(super) struct Detections<'a> {
    pub(super) cls_prob: &'a str,
    pub(super) kept: Kept<'a>,
    end: &'a NodeProto,
}

/// Reads the graph's outputs: boxes, labels and scores in any order.
pub(super) fn detections<'a>(view: &View<'a>) -> Result<Detections<'a>, Problem> {
    let outputs: Vec<&str> = view.graph.output.iter().map(|output| output.name.as_str()).collect();
    let [_, _, _] = outputs[..] else {
        return Err(too_many_or_few(view, &outputs));
    };
    let is_picked = |value: &&&str| view.maker(value).is_some_and(|node| node.op_type == "Gather");
    let scaled = outputs.iter().find(|value| !is_picked(value));
    let boxes = scaled.ok_or_else(|| Problem::Outputs("none of them are boxes".to_string()))?;
    let boxes = in_blob(view, boxes)?;
    let kept = kept(view, boxes)?;
    let end = view.made_by(boxes, &["Gather"], "the detections that are kept")?;
    if !kept.strict {
        return Err(not_understood(end, "detections of exactly the threshold are kept"));
    }
    let softmax = view.behind(kept.scores, &["Reshape", "Slice", "Split", "Squeeze", "Identity", "Cast"]);
    let softmax = view.made_by(softmax, &["Softmax"], "class scores")?;
    check_background(view, kept.scores, softmax)?;
    Ok(Detections { cls_prob: output(softmax), kept, end })
}

impl<'a> Detections<'a> {
    /// How the boxes are decoded from proposals and the head's second output.
    pub(super) fn coder(&self, view: &View<'a>, proposals: &str) -> Result<Coder<'a>, Problem> {
        let stop = |node: &NodeProto| {
            ["Gemm", "MatMul", "Conv"].contains(&&*node.op_type) || output(node) == proposals
        };
        coder(view, &view.ancestors(&[self.kept.boxes], &stop), self.end)
    }
}

/// What a Mask R-CNN and its like give has nodes of its own, of which the first is named.
fn too_many_or_few(view: &View, outputs: &[&str]) -> Problem {
    // Mask R-CNN gives four, Keypoint R-CNN five.
    let images = match outputs.len() {
        count if count > 3 && count.is_multiple_of(3) => {
            format!(", as of {} images: export it with one image", count / 3)
        }
        _ => String::new(),
    };
    let count = outputs.len();
    let why =
        format!("a Faster R-CNN gives boxes, labels and scores; this model gives {count} outputs{images}");
    let pools = view.all("RoiAlign");
    let detections = view.all("NonMaxSuppression");
    // Regions of what was found are pooled behind the suppression that it was found by.
    let last = detections.last().copied();
    let behind = pools.into_iter().find(|pool| {
        let upstream = view.ancestors(&[input(pool, 1)], &|_| false);
        upstream.iter().any(|node| last.is_some_and(|last| std::ptr::eq(*node, last)))
    });
    let node = behind.or_else(|| outputs.last().and_then(|output| view.maker(output)));
    node.map_or_else(|| Problem::Outputs(why.clone()), |node| not_understood(node, why.clone()))
}

/// Boxes before they were scaled to the image: columns that are multiplied and joined again.
fn in_blob<'a>(view: &View<'a>, boxes: &'a str) -> Result<&'a str, Problem> {
    let joined = view.made_by(boxes, &["Concat"], "boxes, scaled to the image")?;
    let mut found = None;
    for column in &joined.input {
        let column = view.behind(column, &["Unsqueeze", "Cast", "Identity"]);
        let product = view.made_by(column, &["Mul"], "a corner, scaled to the image")?;
        let corner = view.behind(input(product, 0), &["Squeeze", "Cast", "Identity"]);
        let boxes =
            input(view.made_by(corner, &["Split"], "the four corners of the boxes that are kept")?, 0);
        if *found.get_or_insert(boxes) != boxes {
            return Err(not_understood(product, "it does not scale a corner of the boxes that are kept"));
        }
    }
    found.ok_or_else(|| not_understood(joined, "it joins nothing"))
}

/// Whether the first class, the background, is left out.
fn check_background<'a>(view: &View<'a>, scores: &'a str, softmax: &'a NodeProto) -> Result<(), Problem> {
    let mut value = scores;
    while let Some(node) = view.maker(value).filter(|node| !std::ptr::eq(*node, softmax)) {
        if node.op_type == "Slice"
            && view.whole(input(node, 1)) == Some(1)
            && view.whole(input(node, 3)) == Some(1)
        {
            return Ok(());
        }
        value = input(node, 0);
    }
    Err(not_understood(softmax, "the first class is not left out as the background"))
}

/// The proposals that `rois` are made of, behind a batch index.
pub(super) fn proposals_of<'a>(view: &View<'a>, rois: &'a str) -> Result<&'a str, Problem> {
    let only = |node: &NodeProto| node.op_type == "Concat" && node.input.len() == 1;
    let mut value = rois;
    if let Some(joined) = view.maker(value).filter(|node| node.op_type == "Concat" && axis(node) == 1) {
        value = input(joined, 1);
    }
    while let Some(node) = view.maker(value).filter(|node| only(node)) {
        value = input(node, 0);
    }
    Ok(value)
}
