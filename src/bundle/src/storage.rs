//! The weights of one section, in memory.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use frcnn_core::bf16_to_f32;

use crate::Precision;

/// The weights of one section. Clones share them, and the last one to go frees them.
#[derive(Clone)]
pub struct Weights(Arc<Values>);

pub(crate) enum Values {
    F32(Vec<f32>),
    /// As bits.
    Bf16(Vec<u16>),
}

impl Values {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Values::F32(values) => bytemuck::cast_slice(values),
            Values::Bf16(bits) => bytemuck::cast_slice(bits),
        }
    }
}

impl Weights {
    pub(crate) fn new(values: Values) -> Weights {
        Weights(Arc::new(values))
    }

    /// Reads the next `bytes` bytes, a whole number of values.
    pub(crate) fn read(file: &mut impl Read, precision: Precision, bytes: usize) -> io::Result<Weights> {
        let mut values = match precision {
            Precision::F32 => Values::F32(zeros(bytes / size_of::<f32>())?),
            Precision::Bf16 => Values::Bf16(zeros(bytes / size_of::<u16>())?),
        };
        file.read_exact(match &mut values {
            Values::F32(values) => bytemuck::cast_slice_mut(values),
            Values::Bf16(bits) => bytemuck::cast_slice_mut(bits),
        })?;
        Ok(Weights::new(values))
    }

    /// Their values; empty if they are bf16.
    pub fn f32(&self) -> &[f32] {
        match &*self.0 {
            Values::F32(values) => values,
            Values::Bf16(_) => &[],
        }
    }

    /// The bits of bf16 weights; empty if they are f32.
    pub fn bf16(&self) -> &[u16] {
        match &*self.0 {
            Values::F32(_) => &[],
            Values::Bf16(bits) => bits,
        }
    }

    /// Their values, widened where they are bf16.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &*self.0 {
            Values::F32(values) => Cow::Borrowed(values),
            Values::Bf16(bits) => Cow::Owned(bits.iter().map(|&bits| bf16_to_f32(bits)).collect()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// How many values are NaN or infinite.
    pub(crate) fn not_finite(&self) -> usize {
        // An exponent of ones. Blocks, whose sums are vectors of as narrow numbers as the values are.
        match &*self.0 {
            Values::F32(values) => {
                let count = |block: &[f32]| block.iter().map(|v| u32::from(!v.is_finite())).sum::<u32>();
                values.chunks(1 << 16).map(|block| count(block) as usize).sum()
            }
            Values::Bf16(bits) => {
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

/// Zeros of which a file says how many: where they do not fit into memory, that is an error.
fn zeros<T: Clone + Default>(len: usize) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    values.resize(len, T::default());
    Ok(values)
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes)", self.bytes().len())
    }
}
