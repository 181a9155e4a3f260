//! Reference tensors from safetensors files.

use std::path::Path;

pub use frcnn_eval::Tensor;

/// A file of reference tensors.
pub struct Reference(frcnn_eval::TensorFile);

impl Reference {
    /// Reads a file.
    pub fn open(path: &Path) -> Reference {
        Reference(frcnn_eval::TensorFile::open(path).unwrap())
    }

    /// The tensor of a name.
    pub fn f32(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor `{name}`")).clone()
    }
}
