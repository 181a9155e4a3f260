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
            Precision::F32 => Values::F32(vec![0.0; bytes / size_of::<f32>()]),
            Precision::Bf16 => Values::Bf16(vec![0; bytes / size_of::<u16>()]),
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
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes)", self.bytes().len())
    }
}
