//! Rectangles of whole pixels.

use frcnn_core::BBox;
use image::{Rgb, RgbImage};

/// Pixels `left..right` x `top..bottom`; empty where the ends cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

impl Rect {
    /// The pixels of a box with inclusive corners.
    pub(super) fn of_box(bbox: &BBox) -> Rect {
        // Far outside every image, and far from overflow. A NaN becomes 0.
        let pixel = |v: f32| v.round().clamp(-1.0e6, 1.0e6) as i32;
        Rect {
            left: pixel(bbox.x1),
            top: pixel(bbox.y1),
            right: pixel(bbox.x2) + 1,
            bottom: pixel(bbox.y2) + 1,
        }
    }

    pub(super) fn width(&self) -> i32 {
        (self.right - self.left).max(0)
    }

    pub(super) fn height(&self) -> i32 {
        (self.bottom - self.top).max(0)
    }

    /// Pixels that both have.
    pub(super) fn overlap(&self, other: &Rect) -> i64 {
        let common = self.clip(other);
        i64::from(common.width()) * i64::from(common.height())
    }

    pub(super) fn fill(&self, image: &mut RgbImage, colour: Rgb<u8>) {
        self.paint(image, |_, _| colour);
    }

    /// Four lines inside the rectangle's edges.
    pub(super) fn outline(&self, image: &mut RgbImage, thickness: i32, colour: Rgb<u8>) {
        let Rect { left, top, right, bottom } = *self;
        for line in [
            Rect { bottom: bottom.min(top + thickness), ..*self },
            Rect { top: top.max(bottom - thickness), ..*self },
            Rect { right: right.min(left + thickness), ..*self },
            Rect { left: left.max(right - thickness), ..*self },
        ] {
            line.fill(image, colour);
        }
    }

    /// Gives every pixel that lies in the image the colour of its place in the rectangle.
    pub(super) fn paint(&self, image: &mut RgbImage, colour: impl Fn(i32, i32) -> Rgb<u8>) {
        let (width, height) = (image.width() as i32, image.height() as i32);
        let visible = self.clip(&Rect { left: 0, top: 0, right: width, bottom: height });
        for y in visible.top..visible.bottom {
            for x in visible.left..visible.right {
                image.put_pixel(x as u32, y as u32, colour(x - self.left, y - self.top));
            }
        }
    }

    fn clip(&self, to: &Rect) -> Rect {
        Rect {
            left: self.left.max(to.left),
            top: self.top.max(to.top),
            right: self.right.min(to.right),
            bottom: self.bottom.min(to.bottom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_by_hand() {
        let a = Rect { left: 0, top: 0, right: 10, bottom: 10 };
        let b = Rect { left: 8, top: 5, right: 20, bottom: 20 };
        assert_eq!((a.overlap(&b), b.overlap(&a), a.overlap(&a)), (10, 10, 100));
        let beside = Rect { left: 10, top: 0, right: 12, bottom: 10 };
        let diagonal = Rect { left: 11, top: 11, right: 12, bottom: 12 };
        assert_eq!((a.overlap(&beside), a.overlap(&diagonal)), (0, 0));
    }

    #[test]
    fn corners_are_inclusive() {
        let rect = Rect::of_box(&BBox::new(2.4, 3.0, 5.6, 3.0));
        assert_eq!(rect, Rect { left: 2, top: 3, right: 7, bottom: 4 });
    }
}
