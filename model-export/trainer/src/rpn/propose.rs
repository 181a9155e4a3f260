//! From what the network says of anchors to proposals.

use frcnn_bundle::Rpn;
use frcnn_core::{BBox, BoxCoder, Detection, nms_shifted};

use super::AnchorGrid;

/// The proposals of an image in network pixels, the best first.
///
/// `logits` has a number for each anchor of `grid`, `deltas` four; `image` is the part of the blob that is the image, rows and
/// columns. Anchors whose numbers are not finite propose nothing.
pub(super) fn propose(
    grid: &AnchorGrid<'_>,
    logits: &[f32],
    deltas: &[f32],
    image: [u32; 2],
    rules: &Rpn,
) -> Vec<BBox> {
    let coder = BoxCoder { width_offset: 0.0, weights: rules.box_weights };
    let mut candidates = Vec::new();
    for i in best(logits, rules.pre_nms_top_n as usize) {
        let Some(&delta) = deltas.as_chunks::<4>().0.get(i) else { continue };
        let bbox = coder.decode(&grid.at(i), delta);
        if ![bbox.x1, bbox.y1, bbox.x2, bbox.y2].iter().all(|corner| corner.is_finite()) {
            continue;
        }
        let bbox = bbox.clip_continuous(image[1], image[0]);
        let score = 1.0 / (1.0 + (-logits[i]).exp());
        let is_large = bbox.width(0.0) >= rules.min_side && bbox.height(0.0) >= rules.min_side;
        if is_large && score >= rules.score_threshold {
            candidates.push(Detection { class_id: 0, score, bbox, proposal: candidates.len() as u32 });
        }
    }
    let kept = nms_shifted(&mut candidates, rules.nms_iou, 0.0, rules.post_nms_top_n as usize);
    candidates.truncate(kept);
    candidates.into_iter().map(|candidate| candidate.bbox).collect()
}

/// The places of the `most` highest logits, the highest first; of equals those that come first.
fn best(logits: &[f32], most: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..logits.len()).filter(|&i| logits[i].is_finite()).collect();
    let order = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if most < places.len() {
        places.select_nth_unstable_by(most, order);
        places.truncate(most);
    }
    places.sort_unstable_by(order);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpn::RpnRecipe;

    fn rules() -> Rpn {
        RpnRecipe { rpn: true, ..RpnRecipe::default() }.rules(16).unwrap()
    }

    #[test]
    fn the_best_are_moved_clipped_and_thinned_out() {
        let base = [[-8.0, -8.0, 8.0, 8.0]];
        let grid = AnchorGrid { base: &base, stride: [16, 16], cells: [1, 5] };
        // The second is moved onto the first, the third half a width to the right; the fourth is no number, the fifth lies
        // outside of the image.
        let logits = [1.0, 2.0, 3.0, f32::NAN, 9.0];
        let mut deltas = [0.0f32; 20];
        (deltas[4], deltas[8]) = (-1.0, 0.5);
        let found = propose(&grid, &logits, &deltas, [7, 50], &rules());
        assert_eq!(found, [BBox::new(32.0, 0.0, 48.0, 7.0), BBox::new(0.0, 0.0, 8.0, 7.0)]);
        let one = Rpn { post_nms_top_n: 1, ..rules() };
        assert_eq!(propose(&grid, &logits, &deltas, [7, 50], &one), found[..1]);
        // Of the two best only one is large enough.
        let two = Rpn { pre_nms_top_n: 2, ..rules() };
        assert_eq!(propose(&grid, &logits, &deltas, [7, 50], &two), found[..1]);
        let sure = Rpn { score_threshold: 0.99, ..rules() };
        assert!(propose(&grid, &logits, &deltas, [7, 50], &sure).is_empty());
    }
}
