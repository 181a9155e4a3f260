//! Regions of a picture, whatever their shape, as the squares that R-CNN's network reads.
//!
//! ```text
//!  picture        box, grown by S / (S - 2 * 16)          S x S
//! ┌─────────┐       ┌ ─ ─ ─ ─ ┐                         ┌──────────┐
//! │   ┌──┐  │  ─▶     ┌─────┐           resize ─▶       │ ┌──────┐ │  16 pixels of context on each side;
//! │   └──┘  │       │ └─────┘ │                         │ └──────┘ │  beyond the picture: the mean, 0
//! └─────────┘       └ ─ ─ ─ ─ ┘                         └──────────┘
//! ```
//!
//! The runtime's own functions make them, [`Roi::window`] and [`warp_into`], so that a network is trained on the very crops
//! that it will be shown. They run on the CPU, where the picture was decoded; a GPU gets whole mini-batches of crops.

use frcnn_bundle::Warp;
use frcnn_core::{BBox, Roi};
use frcnn_kernels::{FeatureMap, warp_into};
use image::RgbImage;
use tch::Tensor;

use crate::data::Preprocessing;
use crate::tensors::values;

/// A picture in floating point.
#[derive(Debug)]
pub(super) struct Pixels {
    /// `[H, W, 3]`: blue, green, red, means subtracted.
    data: Vec<f32>,
    height: usize,
    width: usize,
}

impl Pixels {
    pub(super) fn new(image: &RgbImage, preprocessing: &Preprocessing) -> Pixels {
        let (width, height) = image.dimensions();
        let data = values(&preprocessing.pixels(image).permute([1, 2, 0]));
        Pixels { data, height: height as usize, width: width as usize }
    }

    /// The squares `[R, 3, side, side]` of R boxes.
    pub(super) fn warp(&self, boxes: &[BBox], side: u32) -> Tensor {
        let window = |bbox: &BBox| Roi::window(bbox, side, Warp::PUBLISHED_CONTEXT, 1.0);
        let windows: Vec<Roi> = boxes.iter().map(window).collect();
        let mut squares = vec![0.0; boxes.len() * side as usize * side as usize * 3];
        let threads = rayon::current_num_threads();
        let warped = FeatureMap::new(&self.data, self.height, self.width, 3)
            .and_then(|picture| warp_into(picture, &windows, side as usize, threads, &mut squares));
        // The lengths are those of the picture and of the squares: this cannot fail.
        debug_assert!(warped.is_ok());
        let (count, side) = (boxes.len() as i64, i64::from(side));
        Tensor::from_slice(&squares).view([count, side, side, 3]).permute([0, 3, 1, 2]).contiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    /// A picture that is 1 everywhere.
    fn ones(width: u32, height: u32) -> Pixels {
        let preprocessing = Preprocessing { pixel_means_bgr: [0.0; 3], max_long_side: 1000 };
        Pixels::new(&RgbImage::from_pixel(width, height, image::Rgb([1; 3])), &preprocessing)
    }

    #[test]
    fn a_box_in_the_middle_fills_all_but_the_context() {
        // Blue rises by 1 a column. Grown by 64 / 32, the box from 84 to 115 becomes 68 to 132: 65 columns for 64.
        let image = RgbImage::from_fn(200, 200, |x, _| image::Rgb([0, 0, x as u8]));
        let preprocessing = Preprocessing { pixel_means_bgr: [0.0; 3], max_long_side: 1000 };
        let pixels = Pixels::new(&image, &preprocessing);
        let square = pixels.warp(&[BBox::new(84.0, 84.0, 115.0, 115.0)], 64);
        assert_eq!(square.size(), [1, 3, 64, 64]);
        for x in 0..64 {
            let expected = 68.0 + (x as f64 + 0.5) * 65.0 / 64.0 - 0.5;
            assert!((square.double_value(&[0, 0, 30, x]) - expected).abs() < 1e-4, "{x}");
            assert_eq!(square.double_value(&[0, 2, 30, x]), 0.0);
        }
    }

    #[test]
    fn what_lies_beyond_the_picture_is_left_at_zero() {
        // From -16 to 48: a quarter of the square is beyond the edge.
        let square = ones(40, 40).warp(&[BBox::new(0.0, 0.0, 31.0, 31.0)], 64);
        let at = |x, y| square.double_value(&[0, 0, y, x]);
        // The two shares of a pixel add up to one only in exact arithmetic.
        let shown = |value: f64| (value - 1.0).abs() < 1e-6;
        assert!(at(15, 40) == 0.0 && shown(at(16, 40)) && at(40, 15) == 0.0 && shown(at(40, 16)));
        // The picture ends at 40 of 48 on the other side.
        assert_eq!(at(63, 40), 0.0);
    }

    #[test]
    fn one_pixel_boxes_at_corners_have_squares() {
        let boxes =
            [BBox::new(0.0, 0.0, 0.0, 0.0), BBox::new(6.0, 4.0, 6.0, 4.0), BBox::new(0.0, 0.0, 6.0, 4.0)];
        let squares = ones(7, 5).warp(&boxes, 96);
        for (i, bbox) in boxes.iter().enumerate() {
            assert!(squares.get(i as i64).sum(Kind::Float).double_value(&[]) > 0.0, "{bbox:?}");
        }
    }
}
