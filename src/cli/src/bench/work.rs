//! What is detected while the clock runs: a frame and boxes, random or from files.

use std::path::Path;
use std::str::FromStr;

use frcnn::{BBox, Frame};
use image::RgbImage;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::error::Error;
use crate::inputs::decode;
use crate::inputs::images::ImageFile;
use crate::inputs::proposals::ProposalFile;

/// Random boxes are no shorter than this on a side, as proposals are, unless the frame is.
const SHORTEST_SIDE: f32 = 16.0;

/// Height and width in pixels, written `600x800`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    height: u32,
    width: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=Frame::MAX_SIDE).contains(side));
        text.split_once('x')
            .and_then(|(height, width)| Some(Size { height: side(height)?, width: side(width)? }))
            .ok_or_else(|| format!("not HEIGHTxWIDTH with sides of 1 to {} pixels", Frame::MAX_SIDE))
    }
}

/// A frame and the boxes to look at.
pub(super) struct Work {
    pub(super) pixels: RgbImage,
    pub(super) boxes: Vec<BBox>,
    pub(super) from: BoxesFrom,
}

/// Where the boxes of a frame come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BoxesFrom {
    /// They are random.
    Random,
    /// A file has them.
    File,
    /// The network's own RPN makes them, while the clock runs.
    Rpn,
}

impl Work {
    /// Noise, and `boxes` boxes in it.
    pub(super) fn random(size: Size, boxes: u32, seed: u64) -> Work {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pixels = RgbImage::new(size.width, size.height);
        rng.fill_bytes(&mut pixels);
        let boxes = random_boxes(&mut rng, &pixels, boxes);
        Work { pixels, boxes, from: BoxesFrom::Random }
    }

    /// A picture, and `boxes` boxes in it.
    pub(super) fn of_pixels(pixels: RgbImage, boxes: u32, seed: u64) -> Work {
        let boxes = random_boxes(&mut ChaCha8Rng::seed_from_u64(seed), &pixels, boxes);
        Work { pixels, boxes, from: BoxesFrom::Random }
    }

    /// A photo with the boxes that a file has for it, or with `boxes` random ones.
    pub(super) fn of_photo(
        image: &Path,
        proposals: Option<&Path>,
        boxes: u32,
        seed: u64,
    ) -> Result<Work, Error> {
        let pixels = decode::rgb8(image)?;
        let Some(path) = proposals else { return Ok(Work::of_pixels(pixels, boxes, seed)) };
        let image = ImageFile::new(image.to_path_buf());
        let boxes = ProposalFile::open(path, 1)?.of(&image)?.into_owned();
        Ok(Work { pixels, boxes, from: BoxesFrom::File })
    }
}

/// Boxes inside the frame. Their sides are log-uniform, so that there are as many of 20 to 40 pixels as of 200 to 400.
fn random_boxes(rng: &mut ChaCha8Rng, frame: &RgbImage, boxes: u32) -> Vec<BBox> {
    let mut span = |len: u32| {
        let len = len as f32;
        let shortest = SHORTEST_SIDE.min(len);
        let side = shortest * (len / shortest).powf(rng.random());
        let start = (len - side) * rng.random::<f32>();
        // Corners are inclusive: a side of one pixel starts and ends on it.
        (start.max(0.0), (start + side - 1.0).clamp(start.max(0.0), len - 1.0))
    };
    (0..boxes)
        .map(|_| {
            let ((x1, x2), (y1, y2)) = (span(frame.width()), span(frame.height()));
            BBox::new(x1, y1, x2, y2)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_height_and_width() {
        assert_eq!("600x800".parse(), Ok(Size { height: 600, width: 800 }));
        for text in ["600", "600x", "x800", "0x800", "600x-1", "600x40000", "600X800", "600x800x3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn boxes_are_valid_and_inside_and_depend_on_the_seed() {
        for (height, width) in [(600, 800), (10, 300), (1, 1)] {
            let size = Size { height, width };
            let work = Work::random(size, 500, 3);
            assert_eq!(work.boxes.len(), 500);
            for b in &work.boxes {
                assert!(b.is_valid() && b.x1 >= 0.0 && b.y1 >= 0.0, "{b:?}");
                assert!(b.x2 <= width as f32 - 1.0 && b.y2 <= height as f32 - 1.0, "{b:?}");
            }
            let again = Work::random(size, 500, 3);
            assert!(again.boxes == work.boxes && again.pixels == work.pixels);
        }
        let size = Size { height: 60, width: 80 };
        let [a, b] = [0, 1].map(|seed| Work::random(size, 5, seed));
        assert!(a.boxes != b.boxes && a.pixels != b.pixels);
    }
}
