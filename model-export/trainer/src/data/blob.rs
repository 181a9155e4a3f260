//! Image to blob: blue, green, red, means subtracted, resized bilinearly with half-pixel centres.

use frcnn_core::{blob_size, im_scale};
use image::RgbImage;
use tch::{Kind, Tensor};

/// How a network wants its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preprocessing {
    /// Blue, green, red, 0..255.
    pub(crate) pixel_means_bgr: [f32; 3],
    /// No blob side gets longer, in pixels.
    pub(crate) max_long_side: u32,
}

impl Preprocessing {
    /// The image as it is, `[3, H, W]`: blue, green, red, means subtracted.
    pub(crate) fn pixels(&self, image: &RgbImage) -> Tensor {
        let (width, height) = image.dimensions();
        let bytes = Tensor::from_slice(image.as_raw()).view([i64::from(height), i64::from(width), 3]);
        let means = Tensor::from_slice(&self.pixel_means_bgr).view([3, 1, 1]);
        bytes.flip([2]).permute([2, 0, 1]).to_kind(Kind::Float) - means
    }

    /// The blob `[1, 3, H, W]` of an image whose short side becomes `short_side` pixels, and its im_scale.
    pub(crate) fn blob(&self, image: &RgbImage, short_side: u32) -> (Tensor, f64) {
        let (width, height) = image.dimensions();
        let scale = im_scale(height, width, short_side, self.max_long_side);
        let bgr = self.pixels(image).unsqueeze(0);
        let size = blob_size(height, width, scale);
        if size == (height as usize, width as usize) {
            return (bgr.contiguous(), scale);
        }
        // In f64: in f32 a coordinate of some hundreds is off by 1e-5 pixels, which next to an edge is more than 1e-3
        // grey levels. The scale and not the size decides where a pixel lies, as in OpenCV called with fx = fy = scale.
        let resized = bgr.to_kind(Kind::Double).upsample_bilinear2d(
            [size.0 as i64, size.1 as i64],
            false,
            scale,
            scale,
        );
        (resized.to_kind(Kind::Float), scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(image: &RgbImage, short_side: u32) -> Vec<f32> {
        let how = Preprocessing { pixel_means_bgr: [1.0, 2.0, 3.0], max_long_side: 1000 };
        Vec::try_from(how.blob(image, short_side).0.flatten(0, -1)).unwrap()
    }

    #[test]
    fn channels_are_bgr_and_means_are_subtracted() {
        let image = RgbImage::from_pixel(1, 1, image::Rgb([10, 20, 30]));
        assert_eq!(blob(&image, 1), [29.0, 18.0, 7.0]);
    }

    #[test]
    fn half_pixel_centres() {
        // Two pixels of 0 and 80 become four at source coordinates -0.25, 0.25, 0.75 and 1.25: the first and the last
        // lie outside and repeat the edge.
        let image = RgbImage::from_fn(2, 2, |x, _| image::Rgb([80 * x as u8; 3]));
        let blue: Vec<f32> = blob(&image, 4).iter().take(4).map(|v| v + 1.0).collect();
        assert_eq!(blue, [0.0, 20.0, 60.0, 80.0]);
    }
}
