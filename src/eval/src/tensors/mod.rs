//! Tensors of the stages of a network, as reference files hold them.

pub(crate) mod difference;
pub(crate) mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::Error;

/// One tensor of f32 values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, row-major; as many as the dimensions say.
    pub data: Vec<f32>,
}

impl Tensor {
    /// `[N, C, H, W]` as `[N, H, W, C]`; any other number of dimensions stays as it is.
    #[must_use]
    pub fn channels_last(&self) -> Tensor {
        let [n, c, h, w] = self.shape[..] else { return self.clone() };
        Tensor { shape: vec![n, h, w, c], data: transposed(&self.data, c, h * w) }
    }

    /// `[N, H, W, C]` as `[N, C, H, W]`; any other number of dimensions stays as it is.
    #[must_use]
    pub fn channels_first(&self) -> Tensor {
        let [n, h, w, c] = self.shape[..] else { return self.clone() };
        Tensor { shape: vec![n, c, h, w], data: transposed(&self.data, h * w, c) }
    }
}

/// Each `rows x columns` matrix with rows and columns exchanged.
fn transposed(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(data.len());
    for matrix in data.chunks_exact((rows * columns).max(1)) {
        for column in 0..columns {
            out.extend(matrix.iter().skip(column).step_by(columns));
        }
    }
    out
}

/// A safetensors file: `data`, `rois`, `conv`, `pool5`, `fc6` …, and where they come from.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    tensors: HashMap<String, Tensor>,
    /// Such as device, library versions, the model's hash.
    pub metadata: BTreeMap<String, String>,
    /// Of the file, in hexadecimal; empty of tensors that are in no file.
    pub sha256: String,
    /// The widest rounding of its tensors: `F32`, `F16` or `BF16`.
    pub dtype: String,
}

impl TensorFile {
    /// Reads a file of tensors in F32, F64, F16, BF16 or whole numbers, which RoIs may be.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has values of another type.
    pub fn open(path: &Path) -> Result<TensorFile, Error> {
        let bytes = frcnn_files::read_at_most(path, crate::limits::TENSORS)
            .map_err(|error| Error::new(path, error))?;
        let damaged =
            |error| Error::syntax(path, format_args!("not a safetensors file, or damaged: {error}"));
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let mut dtype = "F32";
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            let data = match view.dtype() {
                Dtype::F32 => values(view.data(), f32::from_le_bytes),
                Dtype::F64 => values(view.data(), |v| f64::from_le_bytes(v) as f32),
                Dtype::F16 => values(view.data(), |v| f16::from_le_bytes(v).to_f32()),
                Dtype::BF16 => values(view.data(), |v| bf16::from_le_bytes(v).to_f32()),
                Dtype::I64 => values(view.data(), |v| i64::from_le_bytes(v) as f32),
                Dtype::U64 => values(view.data(), |v| u64::from_le_bytes(v) as f32),
                Dtype::I32 => values(view.data(), |v| i32::from_le_bytes(v) as f32),
                Dtype::U32 => values(view.data(), |v| u32::from_le_bytes(v) as f32),
                Dtype::I16 => values(view.data(), |v| f32::from(i16::from_le_bytes(v))),
                Dtype::U16 => values(view.data(), |v| f32::from(u16::from_le_bytes(v))),
                Dtype::I8 => values(view.data(), |v| f32::from(i8::from_le_bytes(v))),
                Dtype::U8 | Dtype::BOOL => values(view.data(), |v| f32::from(u8::from_le_bytes(v))),
                // A tensor that was left out would count as one that agrees.
                other => {
                    let problem = format!("tensor `{name}` has values of type {other:?}; store it as F32");
                    return Err(Error::syntax(path, problem));
                }
            };
            dtype = match view.dtype() {
                Dtype::BF16 => "BF16",
                Dtype::F16 if dtype != "BF16" => "F16",
                _ => dtype,
            };
            tensors.insert(name.to_string(), Tensor { shape: view.shape().to_vec(), data });
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(TensorFile { tensors, metadata, sha256, dtype: dtype.to_string() })
    }

    /// Tensors that are in memory. `dtype` is the widest rounding of their values: `F32`, `F16` or `BF16`.
    pub fn new(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        metadata: BTreeMap<String, String>,
        dtype: &str,
    ) -> TensorFile {
        let (tensors, sha256) = (tensors.into_iter().collect(), String::new());
        TensorFile { tensors, metadata, sha256, dtype: dtype.to_string() }
    }

    /// A tensor, if the file has it.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The names of its tensors, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

fn values<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};

    #[test]
    fn layouts_are_each_others_inverse() {
        let tensor = Tensor { shape: vec![2, 3, 1, 2], data: (0..12u8).map(f32::from).collect() };
        let last = tensor.channels_last();
        assert_eq!(last.shape, [2, 1, 2, 3]);
        assert_eq!(last.data[..6], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(last.channels_first(), tensor);
        let row = Tensor { shape: vec![12], ..tensor };
        assert_eq!(row.channels_last(), row);
    }

    #[test]
    fn every_float_type_is_read_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.safetensors");
        let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let brain: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let double: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let views = [(Dtype::F16, &half), (Dtype::BF16, &brain), (Dtype::F64, &double)];
        let named = views
            .map(|(dtype, bytes)| (format!("{dtype:?}"), TensorView::new(dtype, vec![2], bytes).unwrap()));
        let metadata = HashMap::from([("device".to_string(), "H200".to_string())]);
        let bytes = serialize(named, Some(metadata)).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.names(), ["BF16", "F16", "F64"]);
        for name in file.names() {
            assert_eq!(file.get(name).unwrap().data, [1.5, -2.0]);
        }
        assert_eq!((file.metadata["device"].as_str(), file.dtype.as_str()), ("H200", "BF16"));
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = TensorFile::open(&path).unwrap_err().to_string();
            assert!(error.contains("r.safetensors: not a safetensors file"), "{error}");
        }
    }

    #[test]
    fn whole_numbers_are_read_and_other_types_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.safetensors");
        let write = |dtype, bytes: &[u8]| {
            let view = TensorView::new(dtype, vec![2], bytes).unwrap();
            std::fs::write(&path, serialize([("rois", view)], None).unwrap()).unwrap();
            TensorFile::open(&path)
        };
        let bytes = |size: usize| -> Vec<u8> {
            [3i64, -1].iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect()
        };
        for (dtype, size) in [(Dtype::I64, 8), (Dtype::I32, 4), (Dtype::I16, 2), (Dtype::I8, 1)] {
            let file = write(dtype, &bytes(size)).unwrap();
            assert_eq!((file.get("rois").unwrap().data.as_slice(), &*file.dtype), (&[3.0, -1.0][..], "F32"));
        }
        for (dtype, size) in [(Dtype::U32, 4), (Dtype::U16, 2), (Dtype::U8, 1)] {
            let file = write(dtype, &bytes(size)).unwrap();
            assert_eq!(file.get("rois").unwrap().data, [3.0, (2f32.powi(8 * size as i32) - 1.0)]);
        }
        assert_eq!(write(Dtype::BOOL, &[1, 0]).unwrap().get("rois").unwrap().data, [1.0, 0.0]);
        let error = write(Dtype::F8_E4M3, &[0, 0]).unwrap_err().to_string();
        assert!(error.contains("r.safetensors: tensor `rois` has values of type F8_E4M3"), "{error}");
    }
}
