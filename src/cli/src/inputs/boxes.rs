//! Where the boxes of a data set's images come from.

use std::borrow::Cow;
use std::path::Path;

use frcnn::{BBox, Frame, Propose, SelectiveSearch};
use image::RgbImage;

use super::images::ImageFile;
use super::proposals::ProposalFile;
use crate::error::Error;

/// As many as `frcnn detect` takes.
const MAX_PROPOSALS: usize = 2000;

/// Boxes of a file, or selective search where there is none.
pub(crate) enum BoxSource {
    File(ProposalFile),
    SelectiveSearch,
}

impl BoxSource {
    /// `file` is to serve `images` images.
    pub(crate) fn open(file: Option<&Path>, images: usize) -> Result<BoxSource, Error> {
        file.map_or(Ok(BoxSource::SelectiveSearch), |path| {
            ProposalFile::open(path, images).map(BoxSource::File)
        })
    }

    /// The boxes of one image.
    pub(crate) fn of(&self, image: &ImageFile, pixels: &RgbImage) -> Result<Cow<'_, [BBox]>, Error> {
        match self {
            BoxSource::File(proposals) => proposals.of(image),
            BoxSource::SelectiveSearch => {
                let frame = Frame::rgb8(pixels.as_raw(), pixels.width(), pixels.height());
                let frame = frame.map_err(|error| Error::file(&image.path, error))?;
                // One thread: images run side by side.
                let mut source = SelectiveSearch { threads: 1, ..SelectiveSearch::default() };
                Ok(source.propose(&frame, MAX_PROPOSALS).boxes.into())
            }
        }
    }
}
