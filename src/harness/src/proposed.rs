//! The stages of a region proposal network as reference files lay them out.

use frcnn::{BBox, FeatureMap, ImageBlob, RpnOutput, Session};
use frcnn_bundle::Rpn;
use frcnn_eval::Tensor;

use crate::Error;
use crate::stages::{Inputs, Stages, map_from, of_map};

/// `rpn_logits.L` and `rpn_deltas.L` of the trunk's maps, and `proposals`, as far as the inputs lead to them.
pub(crate) fn proposed(
    session: &Session,
    maps: Option<&[FeatureMap]>,
    inputs: &Inputs,
    reference: &Stages,
) -> Result<Vec<(String, Tensor)>, Error> {
    let mut stages = Vec::new();
    let outputs = match (&inputs.rpn, maps) {
        (Some(outputs), _) => outputs.clone(),
        (None, Some(maps)) => {
            let outputs = run(session, maps)?;
            for (map, RpnOutput { logits, deltas }) in outputs.iter().enumerate() {
                stages.push((format!("rpn_logits.{map}"), of_map(logits)?));
                stages.push((format!("rpn_deltas.{map}"), of_map(deltas)?));
            }
            outputs
        }
        (None, None) => return Ok(stages),
    };
    if let Some(blob) = inputs.blob {
        let boxes = session.filter_proposals(&outputs, blob)?.boxes;
        let boxes = reference.get("proposals").map_or(boxes.clone(), |others| in_order_of(others, boxes));
        stages.push(("proposals".to_string(), tensor(&boxes)));
    }
    Ok(stages)
}

fn run(session: &Session, maps: &[FeatureMap]) -> Result<Vec<RpnOutput>, Error> {
    Ok(maps.iter().map(|map| session.rpn(map)).collect::<Result<_, _>>()?)
}

/// What the network proposes in a blob, in its pixels.
pub(crate) fn proposals_of(session: &Session, blob: &ImageBlob) -> Result<Vec<BBox>, Error> {
    let outputs = run(session, &session.maps(blob)?)?;
    Ok(session.filter_proposals(&outputs, blob)?.boxes)
}

fn tensor(boxes: &[BBox]) -> Tensor {
    let data = boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect();
    Tensor { shape: vec![boxes.len(), 4], data }
}

/// Boxes in the places of those of a reference that they are nearest to: two of nearly the same score may come in either order.
fn in_order_of(reference: &Tensor, mut boxes: Vec<BBox>) -> Vec<BBox> {
    let mut ordered = Vec::with_capacity(boxes.len());
    for other in reference.data.as_chunks::<4>().0 {
        let apart = |b: &BBox| {
            let corners = [b.x1, b.y1, b.x2, b.y2];
            let apart = corners.iter().zip(other).map(|(a, b)| (a - b).abs());
            // A NaN is the largest: such a box is near nothing.
            apart.max_by(f32::total_cmp).unwrap_or(0.0)
        };
        let distances = boxes.iter().map(apart).enumerate();
        if let Some((nearest, _)) = distances.min_by(|(_, a), (_, b)| a.total_cmp(b)) {
            ordered.push(boxes.remove(nearest));
        }
    }
    // More than there are in the reference.
    ordered.extend(boxes);
    ordered
}

/// What the RPN gave of each map, in a reference, if it has all of it.
pub(crate) fn outputs_from(rpn: &Rpn, reference: &Stages) -> Result<Option<Vec<RpnOutput>>, Error> {
    let part = |what: &str, map: usize, channels: usize| {
        let name = format!("rpn_{what}.{map}");
        Some(map_from(&name, reference.get(&name)?, channels))
    };
    let output = |(map, anchors): (usize, usize)| {
        let (logits, deltas) = (part("logits", map, anchors)?, part("deltas", map, 4 * anchors)?);
        Some(logits.and_then(|logits| Ok(RpnOutput { logits, deltas: deltas? })))
    };
    rpn.anchors
        .iter()
        .map(Vec::len)
        .enumerate()
        .map(output)
        .collect::<Option<Result<Vec<_>, Error>>>()
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_take_the_places_of_those_they_are_near_to() {
        let [a, b, c] = [0.0, 10.0, 20.0].map(|x| BBox::new(x, 0.0, x + 5.0, 5.0));
        let near = |b: BBox| BBox { x1: b.x1 + 0.5, ..b };
        let ordered = in_order_of(&tensor(&[a, b]), vec![near(b), near(a), c]);
        assert_eq!(ordered, [near(a), near(b), c]);
        assert_eq!(in_order_of(&tensor(&[a, b, c]), vec![c]), [c], "fewer are told by their number");
        // One that is no box is near nothing, whatever comes first.
        let broken = BBox { x1: f32::NAN, ..b };
        assert_eq!(in_order_of(&tensor(&[a, b]), vec![broken, a])[0], a);
    }
}
