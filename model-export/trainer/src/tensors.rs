//! Safetensors files and libtorch.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use crate::error::Error;
use crate::files;

/// Tensors by name, and the file's metadata.
#[derive(Debug, Default)]
pub(crate) struct TensorFile {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) metadata: HashMap<String, String>,
}

impl TensorFile {
    /// Reads a file of f32, f16 or bf16 tensors, as f32 on the CPU. Tensors of other types (counters, say) are passed
    /// over.
    pub(crate) fn read(path: &Path) -> Result<TensorFile, Error> {
        let file = files::read(path)?;
        let wrong = |error| Error::file(path, format!("not a safetensors file, or damaged: {error}"));
        let parsed = SafeTensors::deserialize(&file).map_err(wrong)?;
        let (_, header) = SafeTensors::read_metadata(&file).map_err(wrong)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.iter() {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float,
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                _ => continue,
            };
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
            tensors.insert(name.to_string(), tensor.to_kind(Kind::Float));
        }
        Ok(TensorFile { tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    /// Writes them as f32; the file appears whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let data: Vec<(&String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let shape = tensor.size().iter().map(|&side| side as usize).collect();
                (name, shape, bytes(tensor))
            })
            .collect();
        let views: Vec<(&String, TensorView<'_>)> = data
            .iter()
            .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|error| Error::file(path, error))?;
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        let file = serialize(views, metadata).map_err(|error| Error::file(path, error))?;
        files::write(path, &file)
    }
}

/// The values of a tensor in row-major order.
pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    let host = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut values = vec![0.0; host.numel()];
    host.copy_data(&mut values, host.numel());
    values
}

/// The same as little-endian bytes.
pub(crate) fn bytes(tensor: &Tensor) -> Vec<u8> {
    values(tensor).into_iter().flat_map(f32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let tensor = Tensor::from_slice(&[1.5f32, -2.0, f32::MIN_POSITIVE]).view([1, 3]);
        let file = TensorFile {
            tensors: [("a".to_string(), tensor.shallow_clone())].into(),
            metadata: [("iteration".to_string(), "7".to_string())].into(),
        };
        file.write(&path).unwrap();
        let back = TensorFile::read(&path).unwrap();
        assert_eq!(back.metadata, file.metadata);
        assert_eq!(back.tensors["a"], tensor);
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(TensorFile::read(&path).unwrap_err().to_string().contains("not a safetensors file"));
    }
}
