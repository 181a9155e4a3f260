//! Boxes of photos for which no file has any.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use frcnn::{BBox, Frame, FrameError, Propose, SelectiveSearch};
use image::RgbImage;

/// Boxes made of an image at most, unless it is said.
pub const MAX_PROPOSALS: usize = 2000;

/// Selective search on one thread, for images that run side by side: at most [`MAX_PROPOSALS`] boxes, best first.
///
/// # Errors
/// A side is longer than [`Frame::MAX_SIDE`].
pub fn selective_search(pixels: &RgbImage) -> Result<Vec<BBox>, FrameError> {
    let frame = Frame::rgb8(pixels.as_raw(), pixels.width(), pixels.height())?;
    let mut source = SelectiveSearch { threads: 1, ..SelectiveSearch::default() };
    Ok(source.propose(&frame, MAX_PROPOSALS).boxes)
}

/// Bytes of boxes that are kept: those of 16,000 photos.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// Boxes of images that are looked at more than once, by the images' paths: selective search makes each one's once.
#[derive(Default)]
pub struct KeptBoxes(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    boxes: HashMap<PathBuf, Vec<BBox>>,
    bytes: usize,
}

impl KeptBoxes {
    /// What [`selective_search`] gives for the image at `path`, which has these pixels.
    ///
    /// # Errors
    /// Those of [`selective_search`].
    pub fn of(&self, path: &Path, pixels: &RgbImage) -> Result<Vec<BBox>, FrameError> {
        if let Some(known) = self.lock().boxes.get(path) {
            return Ok(known.clone());
        }
        let boxes = selective_search(pixels)?;
        let mut kept = self.lock();
        kept.bytes += size_of_val(boxes.as_slice());
        if kept.bytes <= MAX_KEPT_BYTES {
            kept.boxes.insert(path.to_path_buf(), boxes.clone());
        }
        Ok(boxes)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_made_once_where_they_are_kept() {
        let noise = RgbImage::from_fn(80, 60, |x, y| image::Rgb([(x * 37 % 251) as u8, (y * y) as u8, 9]));
        let plain = RgbImage::from_pixel(80, 60, image::Rgb([9; 3]));
        let first = selective_search(&noise).unwrap();
        assert!(first != selective_search(&plain).unwrap());
        let kept = KeptBoxes::default();
        assert_eq!(kept.of(Path::new("a.png"), &noise).unwrap(), first);
        assert_eq!(
            kept.of(Path::new("a.png"), &plain).unwrap(),
            first,
            "the boxes of an image of this path are known"
        );
        assert!(kept.of(Path::new("b.png"), &plain).unwrap() != first);
    }
}
