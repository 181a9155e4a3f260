//! Reference tensors and proposals from safetensors files.

use std::path::Path;

use frcnn::BBox;
use safetensors::{Dtype, SafeTensors};

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

/// A file of proposals in memory.
pub struct Proposals(Vec<u8>);

impl Proposals {
    /// Reads a file.
    pub fn open(path: &Path) -> Proposals {
        Proposals(std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// The u16 boxes `[N, 4]` of an image.
    pub fn boxes(&self, stem: &str) -> Vec<BBox> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(stem).unwrap();
        assert_eq!(tensor.dtype(), Dtype::U16, "{stem}");
        let values: Vec<f32> = tensor
            .data()
            .chunks_exact(2)
            .map(|b| f32::from(u16::from_le_bytes(b.try_into().unwrap())))
            .collect();
        values.chunks_exact(4).map(|b| BBox::new(b[0], b[1], b[2], b[3])).collect()
    }
}
