//! A box in image pixels.
//!
//! ```
//! use frcnn_core::BBox;
//! let a = BBox::new(0.0, 0.0, 9.0, 9.0);
//! let b = BBox::new(5.0, 0.0, 14.0, 9.0);
//! assert_eq!(a.width(1.0), 10.0);
//! assert_eq!(a.iou(&b, 1.0), 50.0 / 150.0);
//! ```

/// Corners `(x1, y1)` to `(x2, y2)`, 0-based image pixels.
///
/// Whether the second corner belongs to the box is the business of the `offset` each method takes: 1 when it does
/// (inclusive corners), 0 when the corners are continuous coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct BBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BBox {
    /// The box of these corners, unchecked: see [`BBox::is_valid`].
    #[must_use]
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// All four numbers finite and neither side inverted.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let finite = self.x1.is_finite() && self.y1.is_finite() && self.x2.is_finite() && self.y2.is_finite();
        finite && self.x2 >= self.x1 && self.y2 >= self.y1
    }

    /// `x2 - x1 + offset`; negative for an inverted box.
    #[must_use]
    pub fn width(&self, offset: f32) -> f32 {
        self.x2 - self.x1 + offset
    }

    /// `y2 - y1 + offset`; negative for an inverted box.
    #[must_use]
    pub fn height(&self, offset: f32) -> f32 {
        self.y2 - self.y1 + offset
    }

    /// Width times height, in square pixels.
    #[must_use]
    pub fn area(&self, offset: f32) -> f32 {
        self.width(offset) * self.height(offset)
    }

    /// Intersection over union, in \[0, 1\] for valid boxes.
    ///
    /// Boxes that do not meet, and boxes with a NaN corner, give 0.
    #[must_use]
    pub fn iou(&self, other: &Self, offset: f32) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1) + offset;
        let height = self.y2.min(other.y2) - self.y1.max(other.y1) + offset;
        if !(width > 0.0 && height > 0.0) {
            return 0.0;
        }
        let intersection = width * height;
        let union = self.area(offset) + other.area(offset) - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The box with `distance` added to every coordinate.
    #[must_use]
    pub fn shifted(&self, distance: f32) -> Self {
        Self {
            x1: self.x1 + distance,
            y1: self.y1 + distance,
            x2: self.x2 + distance,
            y2: self.y2 + distance,
        }
    }

    /// The box of continuous corners moved into an image of `width` x `height` pixels: x into \[0, width\], y into
    /// \[0, height\].
    ///
    /// A box wholly outside becomes a line or a point on the border; NaN stays NaN.
    #[must_use]
    pub fn clip_continuous(self, width: u32, height: u32) -> Self {
        let (right, bottom) = (width as f32, height as f32);
        Self {
            x1: self.x1.clamp(0.0, right),
            y1: self.y1.clamp(0.0, bottom),
            x2: self.x2.clamp(0.0, right),
            y2: self.y2.clamp(0.0, bottom),
        }
    }

    /// The box moved into an image of `width` x `height` pixels: x into \[0, width - 1\], y into \[0, height - 1\].
    ///
    /// A box wholly outside becomes a line or a point on the border; NaN stays NaN; an empty image counts as one pixel.
    #[must_use]
    pub fn clip(self, width: u32, height: u32) -> Self {
        let right = width.saturating_sub(1) as f32;
        let bottom = height.saturating_sub(1) as f32;
        Self {
            x1: self.x1.clamp(0.0, right),
            y1: self.y1.clamp(0.0, bottom),
            x2: self.x2.clamp(0.0, right),
            y2: self.y2.clamp(0.0, bottom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_follow_the_offset() {
        let b = BBox::new(2.0, 3.0, 5.0, 9.0);
        assert_eq!((b.width(1.0), b.height(1.0), b.area(1.0)), (4.0, 7.0, 28.0));
        assert_eq!((b.width(0.0), b.height(0.0), b.area(0.0)), (3.0, 6.0, 18.0));
    }

    #[test]
    fn continuous_corners_reach_the_border() {
        let wild = BBox::new(-3.0, 2.5, 640.5, f32::INFINITY);
        assert_eq!(wild.clip_continuous(640, 480), BBox::new(0.0, 2.5, 640.0, 480.0));
        assert_eq!(BBox::new(1.0, 2.0, 3.0, 4.0).clip_continuous(0, 0), BBox::default());
        let nan = BBox::new(f32::NAN, 0.0, 1.0, 1.0).clip_continuous(5, 5);
        assert!(nan.x1.is_nan() && nan.x2 == 1.0);
        assert_eq!(BBox::new(1.0, 2.0, 3.0, 4.5).shifted(10.0), BBox::new(11.0, 12.0, 13.0, 14.5));
    }

    #[test]
    fn validity() {
        assert!(BBox::new(-5.0, 0.0, -5.0, 0.0).is_valid());
        assert!(!BBox::new(1.0, 0.0, 0.5, 3.0).is_valid());
        assert!(!BBox::new(1.0, 4.0, 2.0, 3.0).is_valid());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for i in 0..4 {
                let mut c = [0.0, 0.0, 1.0, 1.0];
                c[i] = bad;
                assert!(!BBox::new(c[0], c[1], c[2], c[3]).is_valid(), "{c:?}");
            }
        }
    }

    #[test]
    fn iou_by_hand() {
        let a = BBox::new(0.0, 0.0, 1.0, 1.0);
        let b = BBox::new(1.0, 1.0, 2.0, 2.0);
        // Inclusive: one shared pixel of 4 + 4 - 1. Continuous: they meet in a point.
        assert_eq!(a.iou(&b, 1.0), 1.0 / 7.0);
        assert_eq!(a.iou(&b, 0.0), 0.0);
        // Inclusive neighbours [0, 1] and [2, 3] share nothing.
        assert_eq!(a.iou(&BBox::new(2.0, 0.0, 3.0, 1.0), 1.0), 0.0);
        assert_eq!(a.iou(&a, 0.0), 1.0);
        // Two equal points: no area with offset 0, one pixel with offset 1.
        let point = BBox::new(3.0, 3.0, 3.0, 3.0);
        assert_eq!(point.iou(&point, 0.0), 0.0);
        assert_eq!(point.iou(&point, 1.0), 1.0);
    }

    #[test]
    fn iou_with_nan_is_zero() {
        // `f32::min` ignores a NaN operand, so a partly NaN box passes the intersection; its area stops it.
        let a = BBox::new(0.0, 0.0, 9.0, 9.0);
        for i in 0..4 {
            let mut c = [0.0, 0.0, 9.0, 9.0];
            c[i] = f32::NAN;
            assert_eq!(a.iou(&BBox::new(c[0], c[1], c[2], c[3]), 1.0), 0.0, "{c:?}");
        }
    }

    #[test]
    fn clip_to_the_image() {
        let b = BBox::new(-3.0, 2.5, 700.0, 500.0).clip(640, 480);
        assert_eq!(b, BBox::new(0.0, 2.5, 639.0, 479.0));
        assert_eq!(
            BBox::new(900.0, 900.0, 950.0, 950.0).clip(640, 480),
            BBox::new(639.0, 479.0, 639.0, 479.0)
        );
        assert_eq!(BBox::new(4.0, 4.0, 5.0, 5.0).clip(0, 0), BBox::default());
        assert!(BBox::new(f32::NAN, 0.0, 1.0, 1.0).clip(10, 10).x1.is_nan());
    }

    fn any_box() -> impl Strategy<Value = BBox> {
        (-50.0f32..50.0, -50.0f32..50.0, 0.0f32..60.0, 0.0f32..60.0)
            .prop_map(|(x, y, w, h)| BBox::new(x, y, x + w, y + h))
    }

    proptest! {
        #[test]
        fn iou_is_symmetric_and_bounded(a in any_box(), b in any_box(), offset in prop::sample::select(&[0.0f32, 1.0])) {
            let iou = a.iou(&b, offset);
            prop_assert_eq!(iou, b.iou(&a, offset));
            // The union is a sum of rounded areas, so the quotient may pass 1 by a few units in the last place.
            prop_assert!((0.0..=1.0 + 1e-5).contains(&iou));
        }
    }
}
