//! Boxes of photos for which no file has any.

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
