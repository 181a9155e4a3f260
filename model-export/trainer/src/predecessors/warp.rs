//! A region of a picture, whatever its shape, as the square that R-CNN's network reads.
//!
//! ```text
//!  picture        box, grown by S / (S - 2 * 16)          S x S
//! ┌─────────┐       ┌ ─ ─ ─ ─ ┐                         ┌──────────┐
//! │   ┌──┐  │  ─▶     ┌─────┐           resize ─▶       │ ┌──────┐ │  16 pixels of context on each side;
//! │   └──┘  │       │ └─────┘ │                         │ └──────┘ │  beyond the picture: the mean, 0
//! └─────────┘       └ ─ ─ ─ ─ ┘                         └──────────┘
//! ```
//!
//! As the published R-CNN does it (`rcnn_im_crop.m`, crop mode `warp`), rounding included.

use frcnn_core::BBox;
use tch::{Kind, Tensor};

/// Pixels of the square, on each of its sides, that show what is around the box.
const CONTEXT: f64 = 16.0;

/// Where a side of the box goes: pixels of the picture, and the pixels of the square that they become.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    from: i64,
    len: i64,
    to: i64,
    to_len: i64,
}

/// Along one axis: a box from `first` to `last`, both its own, in a picture of `extent` pixels.
fn span(first: f32, last: f32, extent: i64, side: i64) -> Span {
    let (first, last) = (f64::from(first), f64::from(last));
    let half = (last - first + 1.0) / 2.0;
    let centre = first + half;
    let grown = half * side as f64 / (side as f64 - 2.0 * CONTEXT);
    let (low, high) = ((centre - grown).round() as i64, (centre + grown).round() as i64);
    let scale = side as f64 / (high - low + 1) as f64;
    let from = low.clamp(0, extent - 1);
    let len = high.clamp(from, extent - 1) - from + 1;
    let to = (((from - low) as f64 * scale).round() as i64).clamp(0, side - 1);
    let to_len = ((len as f64 * scale).round() as i64).clamp(1, side - to);
    Span { from, len, to, to_len }
}

/// The square `[3, side, side]` of a box; `pixels` is the picture `[3, H, W]`, means subtracted.
pub(super) fn warp(pixels: &Tensor, bbox: &BBox, side: u32) -> Tensor {
    let [_, height, width] = pixels.size()[..] else { return Tensor::new() };
    let side = i64::from(side);
    let (x, y) = (span(bbox.x1, bbox.x2, width, side), span(bbox.y1, bbox.y2, height, side));
    let window = pixels.narrow(1, y.from, y.len).narrow(2, x.from, x.len).unsqueeze(0);
    let resized = window.upsample_bilinear2d([y.to_len, x.to_len], false, None, None).squeeze_dim(0);
    let square = Tensor::zeros([3, side, side], (Kind::Float, pixels.device()));
    square.narrow(1, y.to, y.to_len).narrow(2, x.to, x.to_len).copy_(&resized);
    square
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_box_in_the_middle_fills_all_but_the_context() {
        // Grown by 64 / 32: from 100 - 32 = 68 to 132.
        assert_eq!(span(84.0, 115.0, 1000, 64), Span { from: 68, len: 65, to: 0, to_len: 64 });
    }

    #[test]
    fn what_lies_beyond_the_picture_is_left_at_zero() {
        // From -16 to 48: a quarter of the square is beyond the edge.
        let beyond = span(0.0, 31.0, 1000, 64);
        assert_eq!((beyond.from, beyond.len, beyond.to, beyond.to_len), (0, 49, 16, 48));
        let pixels = Tensor::ones([3, 40, 40], (Kind::Float, Device::Cpu));
        let square = warp(&pixels, &BBox::new(0.0, 0.0, 31.0, 31.0), 64);
        assert_eq!(square.size(), [3, 64, 64]);
        let at = |x, y| square.double_value(&[0, y, x]);
        assert_eq!((at(15, 40), at(16, 40), at(40, 15), at(40, 16)), (0.0, 1.0, 0.0, 1.0));
        // The picture ends at 40 of 48 on the other side.
        assert_eq!(at(63, 40), 0.0);
    }

    #[test]
    fn one_pixel_boxes_at_corners_have_squares() {
        let pixels = Tensor::ones([3, 5, 7], (Kind::Float, Device::Cpu));
        for bbox in
            [BBox::new(0.0, 0.0, 0.0, 0.0), BBox::new(6.0, 4.0, 6.0, 4.0), BBox::new(0.0, 0.0, 6.0, 4.0)]
        {
            let square = warp(&pixels, &bbox, 96);
            assert!(square.sum(Kind::Float).double_value(&[]) > 0.0, "{bbox:?}");
        }
    }
}
