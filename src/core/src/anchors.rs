//! Anchors: the boxes that a region proposal network starts from, around every cell of a feature map.
//!
//! ```
//! use frcnn_core::{BBox, anchor, base_anchor};
//! let base = base_anchor(32.0, 0.5);
//! assert_eq!(base, [-23.0, -11.0, 23.0, 11.0]);
//! assert_eq!(anchor(base, [16, 16], [2, 3]), BBox::new(25.0, 21.0, 71.0, 43.0));
//! ```

use crate::BBox;

/// The base anchor of a size, the side of a square of its area, and of an aspect ratio, height over width: x1, y1, x2 and y2
/// around 0, rounded to whole numbers half to even, as torchvision has it.
#[must_use]
pub fn base_anchor(size: f32, ratio: f32) -> [f32; 4] {
    let down = libm::sqrtf(ratio);
    let (height, width) = (down * size, 1.0 / down * size);
    [-width, -height, width, height].map(|corner| libm::rintf(corner / 2.0))
}

/// The anchor at a cell `[row, column]` of a map whose cells lie `stride` network pixels, down and to the right, from each other.
#[must_use]
pub fn anchor([x1, y1, x2, y2]: [f32; 4], stride: [usize; 2], cell: [usize; 2]) -> BBox {
    let [y, x] = [0, 1].map(|axis| cell[axis].saturating_mul(stride[axis]) as f32);
    BBox::new(x + x1, y + y1, x + x2, y + y2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvisions_base_anchor() {
        // AnchorGenerator(((32,), (512,)), (0.5, 1.0, 2.0)).cell_anchors, torchvision.
        for (size, ratio, expected) in [
            (32.0, 0.5, [-23.0, -11.0, 23.0, 11.0]),
            (32.0, 1.0, [-16.0, -16.0, 16.0, 16.0]),
            (32.0, 2.0, [-11.0, -23.0, 11.0, 23.0]),
            (512.0, 0.5, [-362.0, -181.0, 362.0, 181.0]),
            (512.0, 2.0, [-181.0, -362.0, 181.0, 362.0]),
            // 2.5 is rounded to the even 2.
            (5.0, 1.0, [-2.0, -2.0, 2.0, 2.0]),
        ] {
            assert_eq!(base_anchor(size, ratio), expected, "{size} {ratio}");
        }
    }

    #[test]
    fn cells_lie_at_multiples_of_the_stride() {
        let base = [-1.5, -2.0, 1.5, 2.0];
        assert_eq!(anchor(base, [8, 16], [0, 0]), BBox::new(-1.5, -2.0, 1.5, 2.0));
        assert_eq!(anchor(base, [8, 16], [3, 1]), BBox::new(14.5, 22.0, 17.5, 26.0));
        assert!(anchor(base, [usize::MAX; 2], [2; 2]).x1.is_finite());
    }
}
