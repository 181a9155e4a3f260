//! The weights of one section, in memory.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use frcnn_core::bf16_to_f32;
use frcnn_files::try_resize;

use crate::Precision;

/// The weights of one section. Clones share them, and the last one to go frees them.
#[derive(Clone)]
pub enum Weights {
    /// Single precision.
    F32(Arc<Vec<f32>>),
    /// bf16, as bits.
    Bf16(Arc<Vec<u16>>),
}

impl Weights {
    /// Reads the next `bytes` bytes, a whole number of values.
    pub(crate) fn read(file: &mut impl Read, precision: Precision, bytes: usize) -> io::Result<Weights> {
        Ok(match precision {
            Precision::F32 => Weights::F32(Arc::new(read_values(file, bytes / size_of::<f32>())?)),
            Precision::Bf16 => Weights::Bf16(Arc::new(read_values(file, bytes / size_of::<u16>())?)),
        })
    }

    /// Their values, widened where they are bf16.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Weights::F32(values) => Cow::Borrowed(values),
            Weights::Bf16(bits) => Cow::Owned(bits.iter().map(|&bits| bf16_to_f32(bits)).collect()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Weights::F32(values) => bytemuck::cast_slice(values),
            Weights::Bf16(bits) => bytemuck::cast_slice(bits),
        }
    }

    /// How many values are NaN or infinite.
    pub(crate) fn not_finite(&self) -> usize {
        // An exponent of ones. Blocks, whose sums are vectors of as narrow numbers as the values are.
        match self {
            Weights::F32(values) => {
                let count = |block: &[f32]| block.iter().map(|v| u32::from(!v.is_finite())).sum::<u32>();
                values.chunks(1 << 16).map(|block| count(block) as usize).sum()
            }
            Weights::Bf16(bits) => {
                let count = |block: &[u16]| {
                    block.iter().map(|v| u16::from(v & BF16_EXPONENT == BF16_EXPONENT)).sum::<u16>()
                };
                bits.chunks(1 << 15).map(|block| usize::from(count(block))).sum()
            }
        }
    }
}

/// The exponent's bits of a bf16 value.
const BF16_EXPONENT: u16 = 0x7f80;

/// The next `len` values of a file that says how many there are: where they do not fit into memory, that is an error.
fn read_values<T: bytemuck::Pod>(file: &mut impl Read, len: usize) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    try_resize(&mut values, len, T::zeroed())?;
    file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes)", self.bytes().len())
    }
}
