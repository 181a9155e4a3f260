//! Reference tensors and proposals from safetensors files.

use std::path::Path;

use frcnn::BBox;
use safetensors::{Dtype, SafeTensors};

/// One f32 tensor.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: Vec<f32>,
}

impl Tensor {
    /// `[N, C, H, W]` as `[N, H, W, C]`.
    pub fn channels_last(&self) -> Tensor {
        let [n, c, h, w] = self.shape[..] else { panic!("shape {:?}", self.shape) };
        let mut data = Vec::with_capacity(self.data.len());
        for image in self.data.chunks_exact(c * h * w).take(n) {
            for pixel in 0..h * w {
                data.extend((0..c).map(|channel| image[channel * h * w + pixel]));
            }
        }
        Tensor { shape: vec![n, h, w, c], data }
    }
}

/// A safetensors file in memory.
pub struct TensorFile(Vec<u8>);

impl TensorFile {
    /// Reads a file.
    pub fn open(path: &Path) -> TensorFile {
        TensorFile(std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// The f32 tensor of a name.
    pub fn f32(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let data = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Tensor { shape: tensor.shape().to_vec(), data: data.collect() }
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
