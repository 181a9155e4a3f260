//! The weights of one section, in memory.

use std::borrow::Cow;
use std::io::{self, Read};

use frcnn_core::{bf16_from_f32, bf16_to_f32, f16_from_f32, f16_to_f32};
use frcnn_files::try_resize;

use crate::{Precision, Values};

/// The weights of one section.
#[derive(Clone)]
pub enum Weights {
    /// Single precision.
    F32(Values<f32>),
    /// bf16, as bits.
    Bf16(Values<u16>),
    /// f16, as bits.
    F16(Values<u16>),
    /// int8, of which the section's [`Int8`](crate::Int8) makes real numbers.
    Int8(Values<i8>),
}

impl Weights {
    /// Reads the next `bytes` bytes, a whole number of values.
    pub(crate) fn read(file: &mut impl Read, precision: Precision, bytes: usize) -> io::Result<Weights> {
        Ok(match precision {
            Precision::F32 => Weights::F32(read_values(file, bytes / size_of::<f32>())?.into()),
            Precision::Bf16 => Weights::Bf16(read_values(file, bytes / size_of::<u16>())?.into()),
            Precision::F16 => Weights::F16(read_values(file, bytes / size_of::<u16>())?.into()),
            Precision::Int8 => Weights::Int8(read_values(file, bytes)?.into()),
        })
    }

    /// The values that lie in `bytes`, where they are aligned as such values must be.
    pub(crate) fn in_place(bytes: &'static [u8], precision: Precision) -> Option<Weights> {
        Some(match precision {
            Precision::F32 => Weights::F32(Values::in_place(bytes)?),
            Precision::Bf16 => Weights::Bf16(Values::in_place(bytes)?),
            Precision::F16 => Weights::F16(Values::in_place(bytes)?),
            Precision::Int8 => Weights::Int8(Values::in_place(bytes)?),
        })
    }

    /// `values`, each rounded to the nearest of that precision; those beyond its largest become infinite, or as int8 the
    /// largest. As int8 they are whole numbers, to be multiplied by a scale.
    pub fn rounded(values: &[f32], precision: Precision) -> Weights {
        match precision {
            Precision::F32 => Weights::F32(values.to_vec().into()),
            Precision::Bf16 => Weights::Bf16(values.iter().map(|&v| bf16_from_f32(v)).collect()),
            Precision::F16 => Weights::F16(values.iter().map(|&v| f16_from_f32(v)).collect()),
            Precision::Int8 => {
                let whole = |v: &f32| v.round_ties_even().clamp(-127.0, 127.0) as i8;
                Weights::Int8(values.iter().map(whole).collect())
            }
        }
    }

    /// What the values are.
    pub fn precision(&self) -> Precision {
        match self {
            Weights::F32(_) => Precision::F32,
            Weights::Bf16(_) => Precision::Bf16,
            Weights::F16(_) => Precision::F16,
            Weights::Int8(_) => Precision::Int8,
        }
    }

    /// Their values, widened where they have 16 bits; int8 ones are not multiplied by a scale.
    pub(crate) fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Weights::F32(values) => Cow::Borrowed(values),
            Weights::Bf16(bits) => Cow::Owned(bits.iter().map(|&bits| bf16_to_f32(bits)).collect()),
            Weights::F16(bits) => Cow::Owned(bits.iter().map(|&bits| f16_to_f32(bits)).collect()),
            Weights::Int8(values) => Cow::Owned(values.iter().map(|&value| f32::from(value)).collect()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Weights::F32(values) => bytemuck::cast_slice(values),
            Weights::Bf16(bits) | Weights::F16(bits) => bytemuck::cast_slice(bits),
            Weights::Int8(values) => bytemuck::cast_slice(values),
        }
    }

    /// How many values are NaN or infinite.
    pub fn not_finite(&self) -> usize {
        // Blocks, whose sums are vectors of as narrow numbers as the values are.
        match self {
            Weights::F32(values) => {
                let count = |block: &[f32]| block.iter().map(|v| u32::from(!v.is_finite())).sum::<u32>();
                values.chunks(1 << 16).map(|block| count(block) as usize).sum()
            }
            Weights::Bf16(bits) => count_of_ones(bits, BF16_EXPONENT),
            Weights::F16(bits) => count_of_ones(bits, F16_EXPONENT),
            Weights::Int8(_) => 0,
        }
    }
}

/// The bits of the exponent, which are all ones in an infinity or NaN.
const BF16_EXPONENT: u16 = 0x7f80;
const F16_EXPONENT: u16 = 0x7c00;

/// How many values have ones wherever `mask` has.
fn count_of_ones(values: &[u16], mask: u16) -> usize {
    let count = |block: &[u16]| block.iter().map(|v| u16::from(v & mask == mask)).sum::<u16>();
    values.chunks(1 << 15).map(|block| usize::from(count(block))).sum()
}

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
