//! What a kernel is prepared for.

use crate::{CacheInfo, Isa};

/// The instruction set and the caches that a layer is prepared for.
///
/// An [`Isa`] alone stands for itself and the caches of this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The instruction set; one that the CPU lacks is run as [`Isa::Scalar`].
    pub isa: Isa,
    /// The caches for which blocks are cut, which changes no result, and algorithms are chosen, which changes last bits.
    pub caches: CacheInfo,
}

impl Cpu {
    /// This CPU.
    #[must_use]
    pub fn detect() -> Self {
        Isa::detect().into()
    }
}

impl From<Isa> for Cpu {
    fn from(isa: Isa) -> Self {
        Self { isa, caches: CacheInfo::detect() }
    }
}
