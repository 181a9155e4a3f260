//! Where the boxes of a data set's images come from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use frcnn::BBox;
use frcnn_harness::selective_search;
use image::RgbImage;

use super::images::ImageFile;
use super::proposals::ProposalFile;
use crate::error::Error;

/// Bytes of boxes that are kept: those of 16,000 photos.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// Boxes of a file, or the network's own, or selective search where there is none.
pub(crate) enum BoxSource {
    File(ProposalFile),
    /// With the boxes that are kept.
    SelectiveSearch(Option<Mutex<Kept>>),
    /// By the RPN of the network that looks at them.
    Learned,
}

/// Boxes of images that are looked at more than once, by the images' paths.
#[derive(Default)]
pub(crate) struct Kept {
    boxes: HashMap<PathBuf, Vec<BBox>>,
    bytes: usize,
}

impl Kept {
    fn insert(&mut self, path: &Path, boxes: &[BBox]) {
        self.bytes += size_of_val(boxes);
        if self.bytes <= MAX_KEPT_BYTES {
            self.boxes.insert(path.to_path_buf(), boxes.to_vec());
        }
    }
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
            BoxSource::SelectiveSearch(_) => BoxSource::SelectiveSearch(Some(Mutex::default())),
            other => other,
        }
    }

    /// The boxes of one image; none where the network makes them itself.
    pub(crate) fn of(&self, image: &ImageFile, pixels: &RgbImage) -> Result<Option<Cow<'_, [BBox]>>, Error> {
        match self {
            BoxSource::Learned => Ok(None),
            BoxSource::File(proposals) => proposals.of(image).map(Some),
            BoxSource::SelectiveSearch(kept) => {
                let kept = || kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner));
                if let Some(known) = kept().and_then(|kept| kept.boxes.get(&image.path).cloned()) {
                    return Ok(Some(known.into()));
                }
                let boxes = selective_search(pixels).map_err(|error| Error::file(&image.path, error))?;
                if let Some(mut kept) = kept() {
                    kept.insert(&image.path, &boxes);
                }
                Ok(Some(boxes.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_made_once_where_they_are_kept() {
        let image = ImageFile::new(PathBuf::from("a.png"));
        let noise = RgbImage::from_fn(80, 60, |x, y| image::Rgb([(x * 37 % 251) as u8, (y * y) as u8, 9]));
        let plain = RgbImage::from_pixel(80, 60, image::Rgb([9; 3]));
        let of = |source: &BoxSource, pixels| source.of(&image, pixels).unwrap().unwrap().into_owned();
        let source = BoxSource::open(None, 1).unwrap();
        let (first, second) = (of(&source, &noise), of(&source, &plain));
        assert!(first != second);
        let source = source.keeping();
        assert_eq!(of(&source, &noise), first);
        assert_eq!(of(&source, &plain), first, "the boxes of an image of this name are known");
    }
}
