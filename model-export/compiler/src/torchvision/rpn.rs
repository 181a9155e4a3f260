//! `RegionProposalNetwork`: its head on each map, its anchors, and which proposals it keeps.

use tract_onnx::pb::NodeProto;

use super::decode::{check_order, coder, joined_convs};
use super::nms::kept;
use crate::constants::floats;
use crate::error::Problem;
use crate::onnx::Attributes;
use crate::rpn::{Rules, maps};
use crate::view::{View, input, not_understood, output};

/// What was read of an RPN.
pub(super) struct Proposals<'a> {
    /// The maps that it reads, in its order.
    pub(super) maps: Vec<&'a str>,
    /// What it makes of the first one.
    pub(super) logits: &'a str,
    pub(super) deltas: &'a str,
    pub(super) rules: Rules,
}

/// Reads what lies behind `proposals`, `[R, 4]`. `pooled` are the maps that regions are pooled from.
pub(super) fn proposals<'a>(
    view: &View<'a>,
    proposals: &'a str,
    pooled: &[&'a str],
) -> Result<Proposals<'a>, Problem> {
    let kept = kept(view, proposals)?;
    let end = view.made_by(proposals, &["Gather"], "the proposals that are kept")?;
    if kept.strict {
        return Err(not_understood(end, "proposals of exactly the least score are dropped"));
    }
    let nodes = view.ancestors(&[kept.boxes, kept.scores], &|node| node.op_type == "Conv");
    let coder = coder(view, &nodes, end)?;
    let mut logits = None;
    let mut deltas = None;
    for &concat in nodes.iter().filter(|node| node.op_type == "Concat") {
        let Some(convs) = joined_convs(view, concat) else { continue };
        check_order(view, concat)?;
        let place = if output(concat) == coder.deltas { &mut deltas } else { &mut logits };
        if place.replace(convs).is_some() {
            return Err(not_understood(concat, "it joins what is neither logits nor box deltas of all maps"));
        }
    }
    let (Some(logits), Some(deltas)) = (logits, deltas) else {
        return Err(not_understood(
            end,
            "no convolutions were found that give logits and box deltas of each map",
        ));
    };
    let anchors = anchors(view, &nodes, end)?;
    if logits.len() != deltas.len() || logits.len() != anchors.len() {
        return Err(not_understood(
            end,
            format!(
                "there are logits of {} maps, deltas of {}, anchors of {}",
                logits.len(),
                deltas.len(),
                anchors.len()
            ),
        ));
    }
    let maps = maps(view, &logits, &deltas, pooled)?;
    let (Some(first_logits), Some(first_deltas)) = (logits.first(), deltas.first()) else {
        return Err(not_understood(end, "it reads no map"));
    };
    Ok(Proposals {
        maps,
        logits: output(first_logits),
        deltas: output(first_deltas),
        rules: Rules {
            anchors,
            box_weights: coder.weights,
            pre_nms_top_n: pre_nms_top_n(view, &nodes, end)?,
            post_nms_top_n: kept.count,
            nms_iou: kept.nms_iou,
            min_side: kept.min_side,
            score_threshold: kept.score_threshold,
            strides: None,
        },
    })
}

/// The base anchors of each map, in order: what is added to the places of its cells.
fn anchors<'a>(
    view: &View<'a>,
    nodes: &[&'a NodeProto],
    end: &'a NodeProto,
) -> Result<Vec<Vec<[f32; 4]>>, Problem> {
    let base = |value: &'a String| -> Option<Vec<[f32; 4]>> {
        let add = view.maker(view.behind(value, &["Reshape", "Cast", "Identity"]))?;
        if add.op_type != "Add" {
            return None;
        }
        let constants = add.input.iter().filter_map(|read| view.constant(read));
        let tensor = constants.into_iter().find(|tensor| tensor.shape().last() == Some(&4))?;
        Some(floats(&tensor)?.chunks_exact(4).filter_map(|anchor| anchor.try_into().ok()).collect())
    };
    let all = nodes
        .iter()
        .filter(|node| node.op_type == "Concat")
        .find_map(|node| node.input.iter().map(base).collect::<Option<Vec<_>>>());
    all.ok_or_else(|| {
        let why = "no anchors were found: constants that are added to the places of cells. A file of one size of image that was \
                   optimised has none any more: compile it as it was before, or export it with dynamic_axes";
        not_understood(end, why)
    })
}

/// How many anchors of each map are decoded: the `k` of each `TopK`, which a small map has less of.
fn pre_nms_top_n<'a>(view: &View<'a>, nodes: &[&'a NodeProto], end: &'a NodeProto) -> Result<u32, Problem> {
    let mut found = None;
    for &top in nodes.iter().filter(|node| node.op_type == "TopK") {
        if Attributes(top).int("largest", 1)? != 1 {
            return Err(not_understood(top, "it takes the lowest logits"));
        }
        let smaller = view.behind(input(top, 1), &["Reshape", "Cast", "Unsqueeze", "Squeeze", "Identity"]);
        let smaller =
            view.made_by(smaller, &["ReduceMin", "Min"], "the smaller one of a number and a map's anchors")?;
        let choices = match view.maker(view.behind(input(smaller, 0), &["Cast"])) {
            Some(concat) if smaller.op_type == "ReduceMin" && concat.op_type == "Concat" => &concat.input,
            _ => &smaller.input,
        };
        let count = choices.iter().find_map(|choice| view.whole(choice));
        let count = count.and_then(|count| u32::try_from(count).ok());
        if count.is_none() || found.is_some() && found != count {
            return Err(not_understood(top, "it does not take one number of anchors of each map"));
        }
        found = count;
    }
    found.ok_or_else(|| not_understood(end, "no TopK was found that picks the anchors of the highest logits"))
}
