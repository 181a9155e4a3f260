//! The boxes that a Fast R-CNN judges.

use std::path::{Path, PathBuf};

use frcnn_core::BBox;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::Photo;
use crate::error::Error;
use crate::files;

/// The boxes for every photo.
#[derive(Debug)]
pub(crate) enum Proposals {
    /// The same coarse boxes for all photos of a size.
    Grid,
    /// A safetensors file with a tensor `[N, 4]` for each stem: x1, y1, x2, y2, inclusive pixels that count from 0.
    File { path: PathBuf, header: Metadata, bytes: Vec<u8>, data_start: usize },
}

impl Proposals {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Proposals, Error> {
        Proposals::from_bytes(path, files::read(path)?)
    }

    /// The contents of a file; `path` is for messages.
    pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Proposals, Error> {
        let (header_len, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| Error::file(path, format!("not a safetensors file, or damaged: {error}")))?;
        // Before the header stands its length.
        let data_start = header_len + size_of::<u64>();
        Ok(Proposals::File { path: path.to_path_buf(), header, bytes, data_start })
    }

    /// The boxes of a photo, clipped to it; those without area are left out.
    pub(crate) fn of(&self, photo: &Photo) -> Result<Vec<BBox>, Error> {
        let Photo { stem, width, height, .. } = photo;
        let (width, height) = (*width, *height);
        let Proposals::File { path, header, bytes, data_start } = self else {
            return Ok(frcnn_proposals::grid(width, height));
        };
        let Some(tensor) = header.info(stem) else {
            return Err(Error::file(path, format!("has no boxes for `{stem}` (keys are image stems)")));
        };
        let (from, to) = tensor.data_offsets;
        let bytes = bytes.get(data_start + from..data_start + to).unwrap_or_default();
        let boxes = from_tensor(tensor.dtype, &tensor.shape, bytes)
            .map_err(|problem| Error::file(path, format!("`{stem}` {problem}")))?;
        let inside = boxes.into_iter().filter(BBox::is_valid).map(|b| b.clip(width, height));
        Ok(inside.filter(|b| b.width(1.0) > 1.0 && b.height(1.0) > 1.0).collect())
    }
}

fn from_tensor(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Vec<BBox>, String> {
    if !matches!(shape, [_, 4]) {
        return Err(format!("has shape {shape:?}, not [N, 4]"));
    }
    match dtype {
        Dtype::U16 => Ok(rows(bytes, |v| f32::from(u16::from_le_bytes(v)))),
        Dtype::I32 => Ok(rows(bytes, |v| i32::from_le_bytes(v) as f32)),
        Dtype::I64 => Ok(rows(bytes, |v| i64::from_le_bytes(v) as f32)),
        Dtype::F32 => Ok(rows(bytes, f32::from_le_bytes)),
        other => Err(format!("has values of type {other:?}, not U16, I32, I64 or F32")),
    }
}

/// Four values of `N` bytes each per box.
fn rows<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<BBox> {
    let (values, _) = bytes.as_chunks::<N>();
    let (boxes, _) = values.as_chunks::<4>();
    boxes
        .iter()
        .map(|corners| corners.map(&value))
        .map(|[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};

    fn open(shape: &[usize], values: &[u16]) -> Proposals {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.safetensors");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::U16, shape.to_vec(), &bytes).unwrap();
        std::fs::write(&path, serialize([("a", view)], None).unwrap()).unwrap();
        Proposals::open(&path).unwrap()
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
