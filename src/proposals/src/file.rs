//! The boxes of many images in one safetensors file, as `frcnn proposals` writes and the trainer reads them.
//!
//! ```text
//! __metadata__   {"made_by": "selective-search fast, seed 0, at most 2000 boxes"}
//! "000004"       [2000, 4] of uint16: x1, y1, x2, y2 of the best box, then of the second ...
//! "000007"       ...
//! ```
//!
//! A tensor is named by its image's stem, the file's name without its extension. Corners are inclusive pixels, counted
//! from 0. Files from elsewhere may have int32, int64 or float32.

use frcnn_core::BBox;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

/// A file in memory; boxes are read when they are asked for.
#[derive(Debug)]
pub struct BoxFile {
    header: Metadata,
    bytes: Vec<u8>,
    data_start: usize,
}

/// Why a file or one of its tensors has no boxes to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoxFileError {
    /// The file's header, or its length.
    #[error("not a safetensors file, or damaged: {0}")]
    Damaged(SafeTensorError),
    /// No tensor has that name.
    #[error("has no boxes for `{0}` (keys are image stems)")]
    Absent(String),
    /// A tensor of another shape than `[N, 4]`.
    #[error("`{stem}` has shape {shape:?}, not [N, 4]")]
    Shape {
        /// Its name.
        stem: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor of another type.
    #[error("`{stem}` has values of type {dtype:?}, not U16, I32, I64 or F32")]
    Type {
        /// Its name.
        stem: String,
        /// Its type.
        dtype: Dtype,
    },
}

impl BoxFile {
    /// Key in the file's metadata of how its boxes were made. A single one, because several would be written in any order,
    /// and equal boxes should give equal files.
    pub const MADE_BY: &str = "made_by";

    /// Reads the header of a file's bytes.
    ///
    /// # Errors
    /// [`BoxFileError::Damaged`].
    pub fn parse(bytes: Vec<u8>) -> Result<BoxFile, BoxFileError> {
        let (header_len, header) = SafeTensors::read_metadata(&bytes).map_err(BoxFileError::Damaged)?;
        // Before the header stands its length.
        Ok(BoxFile { header, bytes, data_start: header_len + size_of::<u64>() })
    }

    /// What made the boxes, where the file says so.
    #[must_use]
    pub fn made_by(&self) -> Option<&str> {
        Some(self.header.metadata().as_ref()?.get(BoxFile::MADE_BY)?.as_str())
    }

    /// Of each image, in the order of the file.
    #[must_use]
    pub fn stems(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// The boxes of an image, as they are: perhaps beyond its border, or empty.
    ///
    /// # Errors
    /// There is no such tensor, or it is of another kind.
    pub fn boxes(&self, stem: &str) -> Result<Vec<BBox>, BoxFileError> {
        let tensor = self.header.info(stem).ok_or_else(|| BoxFileError::Absent(stem.to_string()))?;
        if !matches!(tensor.shape[..], [_, 4]) {
            return Err(BoxFileError::Shape { stem: stem.to_string(), shape: tensor.shape.clone() });
        }
        let (from, to) = tensor.data_offsets;
        let bytes = self.bytes.get(self.data_start + from..self.data_start + to).unwrap_or_default();
        match tensor.dtype {
            Dtype::U16 => Ok(rows(bytes, |v| f32::from(u16::from_le_bytes(v)))),
            Dtype::I32 => Ok(rows(bytes, |v| i32::from_le_bytes(v) as f32)),
            Dtype::I64 => Ok(rows(bytes, |v| i64::from_le_bytes(v) as f32)),
            Dtype::F32 => Ok(rows(bytes, f32::from_le_bytes)),
            dtype => Err(BoxFileError::Type { stem: stem.to_string(), dtype }),
        }
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
    use std::collections::HashMap;

    const EXPECTED: [BBox; 2] = [BBox::new(1.0, 2.0, 3.0, 4.0), BBox::new(5.0, 6.0, 700.0, 8.0)];

    fn file(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
        let tensor = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let metadata = HashMap::from([(BoxFile::MADE_BY.to_string(), "hand".to_string())]);
        serialize([("a", tensor)], Some(metadata)).unwrap()
    }

    fn bytes<T, const N: usize>(to_bytes: fn(T) -> [u8; N], values: [T; 8]) -> Vec<u8> {
        values.into_iter().flat_map(to_bytes).collect()
    }

    #[test]
    fn every_type_of_tensor_gives_the_same_boxes() {
        for (dtype, bytes) in [
            (Dtype::U16, bytes(u16::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::I32, bytes(i32::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::I64, bytes(i64::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::F32, bytes(f32::to_le_bytes, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 700.0, 8.0])),
        ] {
            let file = BoxFile::parse(file(dtype, &[2, 4], &bytes)).unwrap();
            assert_eq!(file.boxes("a").unwrap(), EXPECTED, "{dtype:?}");
            assert_eq!((file.stems(), file.made_by()), (vec!["a".to_string()], Some("hand")));
        }
    }

    #[test]
    fn a_tensor_that_is_absent_or_of_another_kind_is_named() {
        let problem =
            |file: Vec<u8>, stem| BoxFile::parse(file).unwrap().boxes(stem).unwrap_err().to_string();
        let wide = file(Dtype::U16, &[4, 2], &[0; 16]);
        assert!(problem(wide.clone(), "b").contains("no boxes for `b`"));
        assert_eq!(problem(wide, "a"), "`a` has shape [4, 2], not [N, 4]");
        let double = file(Dtype::F64, &[1, 4], &[0; 32]);
        assert_eq!(problem(double, "a"), "`a` has values of type F64, not U16, I32, I64 or F32");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let file = file(Dtype::U16, &[2, 4], &[0; 16]);
        for len in 0..file.len() {
            assert!(BoxFile::parse(file[..len].to_vec()).is_err(), "{len} bytes");
        }
    }
}
