//! Packed weights: f32, or 16 bits each, which are widened block by block as they are read.
//!
//! ```text
//!   in memory, f16 or bf16    widened          in L1 or L2, f32     product
//!   [K, width] of a panel  ───────────►  some K of the panel  ───────────►  sums
//! ```
//!
//! Half the memory, and half the bandwidth where few rows meet many weights. Sums are those of f32 weights of the same
//! values, bit for bit: widening is exact.

use alloc::vec::Vec;
use core::{mem::MaybeUninit, ops::Range};

use frcnn_core::{bf16_to_f32, f16_to_f32};

use crate::{
    Isa,
    aligned::{AlignedVec, Value},
    simd::{Kernel, MAX_LANES, Vector, run_on},
};

/// A number of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754 binary16: 11 bits of precision, up to 65504.
    F16,
    /// The upper half of an f32: 8 bits of precision, its range.
    Bf16,
}

impl Half {
    /// The f32 of the same value as `bits`.
    #[must_use]
    pub fn widen(self, bits: u16) -> f32 {
        match self {
            Self::F16 => f16_to_f32(bits),
            Self::Bf16 => bf16_to_f32(bits),
        }
    }
}

/// A layer's weights as they come.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    /// Numbers of 16 bits, as their bits.
    Half(Half, &'a [u16]),
}

impl Weights<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(weights) => weights.len(),
            Self::Half(_, bits) => bits.len(),
        }
    }

    pub(crate) fn to_f32(self) -> Vec<f32> {
        match self {
            Self::F32(weights) => weights.to_vec(),
            Self::Half(half, bits) => bits.iter().map(|&bits| half.widen(bits)).collect(),
        }
    }
}

/// In which order a layer's weights are packed, whatever they are.
pub(crate) trait Packing {
    /// Copies weights, as many as the layer has, with zeros where panels have more lanes than there are channels.
    fn pack<T: Value>(&self, weights: &[T]) -> AlignedVec<T>;
}

/// A layer's packed weights.
#[derive(Clone, Debug)]
pub(crate) enum Packed {
    F32(AlignedVec),
    Half(Half, AlignedVec<u16>),
}

impl Packed {
    pub(crate) fn new(weights: Weights<'_>, packing: &impl Packing) -> Self {
        match weights {
            Weights::F32(weights) => Self::F32(packing.pack(weights)),
            Weights::Half(half, bits) => Self::Half(half, packing.pack(bits)),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::F32(weights) => size_of_val(weights.as_slice()),
            Self::Half(_, bits) => size_of_val(bits.as_slice()),
        }
    }

    /// Whether `values` gives the weights where they lie, so that what follows them in memory is what is read next.
    pub(crate) fn in_place(&self) -> bool {
        matches!(self, Self::F32(_))
    }

    /// Some of the weights, in `room` if they have to be widened: it is as long as they are, or longer.
    pub(crate) fn values<'a>(
        &'a self,
        isa: Isa,
        range: Range<usize>,
        room: &'a mut [MaybeUninit<f32>],
    ) -> &'a [f32] {
        match self {
            Self::F32(weights) => &weights.as_slice()[range],
            Self::Half(half, bits) => {
                let from = &bits.as_slice()[range];
                let to = &mut room[..from.len()];
                run_on(isa, Widen { half: *half, from, to: &mut *to });
                // SAFETY: all of them were written.
                unsafe { core::slice::from_raw_parts(to.as_ptr().cast(), to.len()) }
            }
        }
    }
}

/// Widens `from` into `to`, which are of one length.
struct Widen<'a> {
    half: Half,
    from: &'a [u16],
    to: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { half, from, to } = self;
        let (from, from_rest) = from.as_chunks::<MAX_LANES>();
        let (to, to_rest) = to.as_chunks_mut::<MAX_LANES>();
        for (from, to) in from.iter().zip(to) {
            for lane in (0..MAX_LANES).step_by(V::LANES) {
                // SAFETY: the instruction set is the caller's promise; vectors are whole parts of the chunks.
                unsafe {
                    let from = from.as_ptr().add(lane);
                    let values = match half {
                        Half::F16 => V::widen_f16(from),
                        Half::Bf16 => V::widen_bf16(from),
                    };
                    values.store(to.as_mut_ptr().add(lane).cast());
                }
            }
        }
        for (&from, to) in from_rest.iter().zip(to_rest) {
            to.write(half.widen(from));
        }
    }
}

/// Room for a block of a convolution's weights, as many as stay in L1: [`conv_k`](crate::blocking::conv_k) rows of a panel.
#[repr(C, align(64))]
pub(crate) struct BlockRoom([MaybeUninit<f32>; BLOCK_VALUES]);

const BLOCK_VALUES: usize = 128 * 4 * MAX_LANES;

impl BlockRoom {
    pub(crate) fn new() -> Self {
        Self([MaybeUninit::uninit(); BLOCK_VALUES])
    }

    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<f32>] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Every number that there is, on every instruction set, in blocks that are no whole vectors.
    #[test]
    fn widening_is_exact() {
        for half in [Half::F16, Half::Bf16] {
            let mut bits = AlignedVec::<u16>::zeros(1 << 16);
            for (i, bits) in bits.as_mut_slice().iter_mut().enumerate() {
                *bits = i as u16;
            }
            let packed = Packed::Half(half, bits);
            assert_eq!(packed.bytes(), 2 << 16);
            for isa in Isa::available() {
                for range in [0..1 << 16, 17..17, 3..1000, 65_000..65_536] {
                    let mut room = vec![MaybeUninit::uninit(); range.len() + 5];
                    let values = packed.values(isa, range.clone(), &mut room);
                    assert_eq!(values.len(), range.len());
                    for (i, value) in range.zip(values) {
                        let expected = half.widen(i as u16);
                        let same =
                            value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
                        assert!(same, "{half:?} {i:#x} on {isa:?}: {value} for {expected}");
                    }
                }
            }
        }
    }
}
