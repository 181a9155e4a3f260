//! Where the boxes of a data set's images come from.

use std::borrow::Cow;
use std::path::Path;

use frcnn::BBox;
use frcnn_harness::{KeptBoxes, selective_search};
use image::RgbImage;

use super::images::ImageFile;
use super::proposals::ProposalFile;
use crate::error::Error;

/// Boxes of a file, or the network's own, or selective search where there is none.
pub(crate) enum BoxSource {
    File(ProposalFile),
    /// With the boxes that are kept.
    SelectiveSearch(Option<KeptBoxes>),
    /// By the RPN of the network that looks at them.
    Learned,
}

impl BoxSource {
    /// `file` is to serve `images` images.
    pub(crate) fn open(file: Option<&Path>, images: usize) -> Result<BoxSource, Error> {
        file.map_or(Ok(BoxSource::SelectiveSearch(None)), |path| {
            ProposalFile::open(path, images).map(BoxSource::File)
        })
    }

    /// The same for images that are looked at again and again: selective search makes each one's boxes once.
    pub(crate) fn keeping(self) -> BoxSource {
        match self {
            BoxSource::SelectiveSearch(_) => BoxSource::SelectiveSearch(Some(KeptBoxes::default())),
            other => other,
        }
    }

    /// The boxes of one image; none where the network makes them itself.
    pub(crate) fn of(&self, image: &ImageFile, pixels: &RgbImage) -> Result<Option<Cow<'_, [BBox]>>, Error> {
        match self {
            BoxSource::Learned => Ok(None),
            BoxSource::File(proposals) => proposals.of(image).map(Some),
            BoxSource::SelectiveSearch(kept) => {
                let made = match kept {
                    Some(kept) => kept.of(&image.path, pixels),
                    None => selective_search(pixels),
                };
                let boxes = made.map_err(|error| Error::file(&image.path, error))?;
                Ok(Some(boxes.into()))
            }
        }
    }
}
