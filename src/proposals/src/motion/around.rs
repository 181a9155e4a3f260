//! Boxes around moving regions, in a few sizes and shapes.

use std::collections::HashSet;

use frcnn_core::BBox;

/// Factors on both sides of a region's box: shadows make it too large, calm parts too small.
const SCALES: [f32; 4] = [1.0, 1.2, 0.85, 1.5];
/// Factors on its width, divided out of its height.
const ASPECTS: [f32; 3] = [1.0, 1.2, 0.85];
/// Regions nearer to each other than this share of the larger one's longer side may be parts of one object.
const NEAR: f32 = 0.5;
/// As many of the largest regions are tried as parts.
const PARTS: usize = 32;

/// Each region's own box, then pairs of near regions, then sizes and shapes around all of them: at most `max` boxes of
/// whole pixels inside a frame of `width` x `height`, none twice.
pub(super) fn boxes(regions: &[BBox], width: u32, height: u32, max: usize) -> Vec<BBox> {
    let parts = regions.get(..PARTS.min(regions.len())).unwrap_or_default();
    let pairs = parts.iter().enumerate().flat_map(|(i, a)| parts[..i].iter().map(move |b| (a, b)));
    let joined =
        pairs.filter(|(a, b)| gap(a, b) <= NEAR * longer(a).max(longer(b))).map(|(a, b)| cover(a, b));
    let bases: Vec<BBox> = regions.iter().copied().chain(joined).collect();
    let mut seen = HashSet::new();
    let shapes = SCALES.iter().flat_map(|&scale| ASPECTS.iter().map(move |&aspect| (scale, aspect)));
    shapes
        .flat_map(|(scale, aspect)| {
            bases.iter().map(move |base| reshape(base, scale * aspect, scale / aspect))
        })
        .map(|b| BBox::new(b.x1.round(), b.y1.round(), b.x2.round(), b.y2.round()).clip(width, height))
        .filter(|b| seen.insert([b.x1, b.y1, b.x2, b.y2].map(|v| v as u32)))
        .take(max)
        .collect()
}

/// The box about the same centre with its sides times these factors.
fn reshape(b: &BBox, width: f32, height: f32) -> BBox {
    let grow = |low: f32, high: f32, factor: f32| {
        let by = (high - low + 1.0) * (factor - 1.0) / 2.0;
        (low - by, high + by)
    };
    let (x1, x2) = grow(b.x1, b.x2, width);
    let (y1, y2) = grow(b.y1, b.y2, height);
    BBox::new(x1, y1, x2.max(x1), y2.max(y1))
}

fn cover(a: &BBox, b: &BBox) -> BBox {
    BBox::new(a.x1.min(b.x1), a.y1.min(b.y1), a.x2.max(b.x2), a.y2.max(b.y2))
}

fn longer(b: &BBox) -> f32 {
    b.width(1.0).max(b.height(1.0))
}

/// Pixels between two boxes along the axis on which they are further apart.
fn gap(a: &BBox, b: &BBox) -> f32 {
    let apart = |low: f32, high: f32| (low - high).max(0.0);
    let x = apart(a.x1.max(b.x1), a.x2.min(b.x2));
    let y = apart(a.y1.max(b.y1), a.y2.min(b.y2));
    x.max(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_itself_comes_first_and_near_ones_are_joined() {
        let (a, b) = (BBox::new(10.0, 10.0, 49.0, 29.0), BBox::new(60.0, 10.0, 99.0, 29.0));
        let far = BBox::new(400.0, 300.0, 420.0, 320.0);
        let boxes = boxes(&[a, b, far], 640, 480, usize::MAX);
        assert_eq!(boxes[..4], [a, b, far, BBox::new(10.0, 10.0, 99.0, 29.0)]);
        assert!(boxes.len() <= 4 * SCALES.len() * ASPECTS.len());
        // 1.2 times 40 pixels: 4 more on either side.
        assert!(boxes.contains(&BBox::new(6.0, 8.0, 53.0, 31.0)), "{boxes:?}");
    }

    #[test]
    fn boxes_at_the_border_stay_inside_and_distinct() {
        let boxes = boxes(&[BBox::new(0.0, 0.0, 3.0, 3.0)], 4, 4, 5);
        assert_eq!(boxes[0], BBox::new(0.0, 0.0, 3.0, 3.0));
        assert!(boxes.len() <= 5 && boxes.iter().all(|b| b.is_valid() && *b == b.clip(4, 4)));
    }
}
