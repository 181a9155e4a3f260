//! The boxes that a Fast R-CNN judges.

use std::path::{Path, PathBuf};

use frcnn_core::BBox;
use frcnn_proposals::BoxFile;

use super::Photo;
use crate::error::Error;
use crate::files;

/// The boxes for every photo.
#[derive(Debug)]
pub(crate) enum DatasetProposals {
    /// The same coarse boxes for all photos of a size.
    Grid,
    /// A safetensors file with a tensor `[N, 4]` for each stem: x1, y1, x2, y2, inclusive pixels that count from 0.
    File { path: PathBuf, boxes: BoxFile },
}

impl DatasetProposals {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<DatasetProposals, Error> {
        DatasetProposals::from_bytes(path, files::read(path)?)
    }

    /// The contents of a file; `path` is for messages.
    pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<DatasetProposals, Error> {
        let boxes = BoxFile::parse(bytes).map_err(|problem| Error::file(path, problem))?;
        Ok(DatasetProposals::File { path: path.to_path_buf(), boxes })
    }

    /// The boxes of a photo, clipped to it; those without area are left out.
    pub(crate) fn of(&self, photo: &Photo) -> Result<Vec<BBox>, Error> {
        let Photo { stem, width, height, .. } = photo;
        let (width, height) = (*width, *height);
        let DatasetProposals::File { path, boxes } = self else {
            return Ok(frcnn_proposals::grid(width, height));
        };
        let boxes = boxes.boxes(stem).map_err(|problem| Error::file(path, problem))?;
        let inside = boxes.into_iter().filter(BBox::is_valid).map(|b| b.clip(width, height));
        Ok(inside.filter(|b| b.width(1.0) > 1.0 && b.height(1.0) > 1.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype;
    use safetensors::tensor::{TensorView, serialize};

    fn open(shape: &[usize], values: &[u16]) -> DatasetProposals {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.safetensors");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::U16, shape.to_vec(), &bytes).unwrap();
        std::fs::write(&path, serialize([("a", view)], None).unwrap()).unwrap();
        DatasetProposals::open(&path).unwrap()
    }

    fn photo(stem: &str) -> Photo {
        Photo { stem: stem.into(), path: "a.jpg".into(), width: 20, height: 10, objects: Vec::new() }
    }

    #[test]
    fn boxes_are_clipped_and_cleaned() {
        let file = open(&[4, 4], &[1, 2, 30, 4, 5, 5, 5, 9, 9, 5, 5, 9, 0, 0, 3, 3]);
        let boxes = file.of(&photo("a")).unwrap();
        assert_eq!(boxes, [BBox::new(1.0, 2.0, 19.0, 4.0), BBox::new(0.0, 0.0, 3.0, 3.0)]);
        assert!(file.of(&photo("b")).unwrap_err().to_string().contains("no boxes for `b`"));
        let wrong = open(&[2, 3], &[0; 6]).of(&photo("a")).unwrap_err().to_string();
        assert!(wrong.contains("[2, 3]"), "{wrong}");
    }
}
