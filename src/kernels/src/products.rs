//! What products a layer computes on this CPU, for people who want to know.

use core::fmt;

use crate::{Bf16Isa, F16Isa, Int8Isa, Isa};

/// What a layer multiplies, and with which instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// f32 values.
    Exact(Isa),
    /// f32 values as three products of bf16 ones: see [`F32Products::Bf16x3`](crate::F32Products::Bf16x3).
    Bf16x3(Bf16Isa),
    /// bf16 values.
    Bf16(Bf16Isa),
    /// f16 values, summed in f16 over short runs.
    F16(F16Isa),
    /// int8 values.
    Int8(Int8Isa),
}

/// Such as `exact f32 (avx512)`.
impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(isa) => write!(f, "exact f32 ({})", isa.name()),
            Self::Bf16x3(isa) => write!(f, "bf16x3 ({})", isa.name()),
            Self::Bf16(isa) => write!(f, "bf16 ({})", isa.name()),
            Self::F16(isa) => write!(f, "f16 ({})", isa.name()),
            Self::Int8(isa) => write!(f, "int8 ({})", isa.name()),
        }
    }
}
