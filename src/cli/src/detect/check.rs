//! `frcnn compile --check`: what a new bundle finds in a photo, to be looked at. No file says in which channel order a network
//! was trained; who sees the boxes can tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use frcnn::{Detector, Frame, Options, SelectiveSearch};
use frcnn_bundle::Bundle;
use image::RgbImage;

use super::pictures;
use super::report::{ImageReport, Looked};
use crate::error::Error;
use crate::inputs::decode;
use crate::inputs::images::ImageFile;

/// As many as `frcnn detect` takes.
const PROPOSALS: usize = 2000;

/// A photo to look for objects in, and where to draw them.
pub(crate) struct Check {
    image: ImageFile,
    pixels: RgbImage,
    decode: Duration,
    picture: PathBuf,
}

impl Check {
    /// Decodes the photo, so that one that cannot be read stops the work before it begins.
    pub(crate) fn open(photo: &Path, picture: PathBuf) -> Result<Check, Error> {
        let start = Instant::now();
        let pixels = decode::rgb8(photo)?;
        Ok(Check { image: ImageFile::new(photo.to_path_buf()), pixels, decode: start.elapsed(), picture })
    }

    /// Detects, draws, and gives what is found in words.
    pub(crate) fn run(self, bundle: Arc<Bundle>) -> Result<String, Error> {
        let of_image = |error: frcnn::Error| Error::file(&self.image.path, error);
        let detector = Detector::new(bundle, &Options::default()).map_err(of_image)?;
        let size = self.pixels.dimensions();
        let frame = Frame::rgb8(self.pixels.as_raw(), size.0, size.1);
        let frame = frame.map_err(|error| of_image(error.into()))?;
        let mut session = detector.session();
        let (detections, looked) = if detector.has_rpn() {
            let detections = session.detect_frame(&frame).map_err(of_image)?;
            (detections, Looked::learned(&session))
        } else {
            let mut source = SelectiveSearch { threads: detector.threads(), ..SelectiveSearch::default() };
            let (detections, made) = session.detect_with(&frame, &mut source, PROPOSALS).map_err(of_image)?;
            (detections, Looked::made(&made))
        };
        let report =
            ImageReport::new(&self.image, size, &detections, &detector, self.decode, &looked, &session);
        let mut text = report.text(Some(&self.picture));
        if detections.is_empty() {
            text += &format!(
                "\nNothing scores above {}. If this photo shows what the network was trained on, it may read its pixels in \
                 another channel order or scale: see channel_order, pixel_scale, pixel_means and pixel_stds of the manifest.\n",
                detector.manifest().score_threshold
            );
        }
        pictures::save(&self.picture, self.pixels, &detections, &detector)?;
        Ok(text)
    }
}
