//! A fixed multi-scale grid of boxes.
//!
//! ```text
//! five sizes  x  three aspects          each tiles the image with half-overlapping boxes
//!   0.1 … 0.66     1:2  1:1  2:1          ┌──┬──┬──┬──┐
//!   of √(W·H)      ▯    ▢    ▭            └──┴──┴──┴──┘
//! ```

use std::collections::HashSet;
use std::time::Instant;

use frcnn_core::{BBox, Frame};

use crate::{ProposalMethod, Proposals, Propose};

/// Side of the square boxes, as a share of the side of a square as large as the image.
const SIZES: [f64; 5] = [0.1, 0.16, 0.256, 0.41, 0.656];
/// Width over height.
const ASPECTS: [f64; 3] = [0.5, 1.0, 2.0];
/// Distance between neighbours at most, as a share of their side.
const STRIDE: f64 = 0.5;

/// [`grid`] as a source of proposals. Its boxes are in no order of merit: a low maximum takes an even selection of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grid;

impl Propose for Grid {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        let start = Instant::now();
        let mut seen = HashSet::new();
        let mut boxes = grid(frame.width(), frame.height());
        // In a tiny image many are equal.
        boxes.retain(|b| seen.insert([b.x1, b.y1, b.x2, b.y2].map(|v| v as u32)));
        let count = boxes.len();
        if count > max {
            boxes = (0..max).filter_map(|i| boxes.get(i * count / max).copied()).collect();
        }
        Proposals { boxes, method: ProposalMethod::Grid, elapsed: start.elapsed(), notice: None }
    }
}

/// About 2000 boxes all over an image of `width` x `height` pixels, and the image itself as the last.
///
/// Corners are inclusive whole pixels inside the image. The grid is coarse: an object between a tenth and two
/// thirds of the image's size overlaps some box by an IoU of 0.3 or more, a smaller one may be missed. It looks at
/// no pixel, so proposals made from the image find more with fewer boxes. An image without pixels has no boxes.
pub fn grid(width: u32, height: u32) -> Vec<BBox> {
    if width == 0 || height == 0 {
        return Vec::new();
    }
    let (image_width, image_height) = (f64::from(width), f64::from(height));
    let unit = (image_width * image_height).sqrt();
    let mut boxes = Vec::new();
    for size in SIZES {
        for aspect in ASPECTS {
            let columns = intervals(size * unit * aspect.sqrt(), image_width);
            for (y1, y2) in intervals(size * unit / aspect.sqrt(), image_height) {
                boxes.extend(columns.iter().map(|&(x1, x2)| BBox::new(x1, y1, x2, y2)));
            }
        }
    }
    boxes.push(BBox::new(0.0, 0.0, (image_width - 1.0) as f32, (image_height - 1.0) as f32));
    boxes
}

/// Intervals of `side` pixels, spread evenly from the first pixel of `extent` to its last, both ends inclusive.
fn intervals(side: f64, extent: f64) -> Vec<(f32, f32)> {
    let side = side.round().clamp(1.0, extent);
    let gaps = ((extent - side) / (side * STRIDE).max(1.0)).ceil();
    (0..=gaps as u32)
        .map(|i| if gaps > 0.0 { (f64::from(i) * (extent - side) / gaps).round() } else { 0.0 })
        .map(|start| (start as f32, (start + side - 1.0) as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_by_hand() {
        // 4 pixels wide, at most 2 apart, over 10: starts 0, 2, 4, 6.
        assert_eq!(intervals(4.0, 10.0), [(0.0, 3.0), (2.0, 5.0), (4.0, 7.0), (6.0, 9.0)]);
        assert_eq!(intervals(40.0, 10.0), [(0.0, 9.0)]);
        assert_eq!(intervals(0.2, 2.0), [(0.0, 0.0), (1.0, 1.0)]);
    }

    #[test]
    fn about_two_thousand_boxes_whatever_the_shape() {
        for (width, height) in [(640, 480), (480, 640), (1000, 1000), (1920, 1080), (4000, 1000), (100, 75)] {
            let count = grid(width, height).len();
            assert!((1600..=2600).contains(&count), "{width} x {height}: {count}");
        }
    }

    #[test]
    fn the_smallest_images() {
        assert!(grid(0, 10).is_empty() && grid(10, 0).is_empty());
        assert!(grid(1, 1).iter().all(|b| *b == BBox::new(0.0, 0.0, 0.0, 0.0)));
        assert_eq!(grid(3, 2).last(), Some(&BBox::new(0.0, 0.0, 2.0, 1.0)));
    }

    proptest! {
        #[test]
        fn boxes_lie_inside_the_image(width in 1u32..3000, height in 1u32..3000) {
            for b in grid(width, height) {
                prop_assert!(b.is_valid() && b == b.clip(width, height), "{b:?}");
            }
        }

        /// The promise of the documentation, on a 4:3 photo.
        #[test]
        fn an_object_is_overlapped(
            size in 0.1f32..0.66, aspect in 0.5f32..2.0, at_x in 0.0f32..1.0, at_y in 0.0f32..1.0,
        ) {
            let unit = (640.0f32 * 480.0).sqrt();
            let (width, height) = (size * unit * aspect.sqrt(), size * unit / aspect.sqrt());
            prop_assume!(width < 640.0 && height < 480.0);
            let (x, y) = (at_x * (640.0 - width), at_y * (480.0 - height));
            let object = BBox::new(x, y, x + width - 1.0, y + height - 1.0);
            prop_assert!(grid(640, 480).iter().any(|b| b.iou(&object, 1.0) >= 0.3), "{object:?}");
        }
    }
}
