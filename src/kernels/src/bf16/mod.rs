//! Layers in reduced precision: bf16 maps and weights, products added up in f32. And f32 products made of bf16 ones.
//!
//! On CPUs that multiply bf16 values (see [`Bf16Isa`]) such a layer takes a fraction of the time of an f32 one, and half
//! of its memory. Its inputs and weights are rounded to 8 significant bits: an output errs by some thousandths of the
//! layer's typical output. Elsewhere the weights are widened with [`bf16_to_f32`](frcnn_core::bf16_to_f32) and the f32
//! layer runs, which loses nothing.
//!
//! | module | |
//! |---|---|
//! | `block` | the product of a block, 32 rows by 32 channels, and the packing of weights for it |
//! | `amx`, `avx512` | that product, rounding, and the way from sums to outputs, in instructions |
//! | `padded`, `conv` | a convolution's windows as rows of the left-hand side |
//! | `linear` | fully connected layers |
//!
//! Why bf16 and no other type: it has f32's range, so a trained network needs no calibration and no scales, and AMX does
//! 16 times as many products a cycle in it as AVX-512 does in f32. Direct convolution so beats Winograd's algorithm in
//! f32 by a factor of three, while fp16 (AVX512-FP16) would only double f32's speed, and int8 asks for photos to
//! calibrate with. On Arm, instructions for bf16 are not within reach of stable Rust.

//!
//! # Halves
//!
//! An f32 value is the sum of two bf16 values, but for 2^-17 of it at most: itself, rounded, and what rounding leaves,
//! rounded. Three products of such halves, high times high, high times low and low times high, leave out 2^-16 of an f32
//! product at most. What they leave out has either sign and evens out over a sum, as f32's own rounding does: of 25088
//! products, VGG16's `fc6`, both miss the exact sum by 2e-6 of the largest (`halves_are_as_exact_as_f32` in `linear`).
//!
//! Up to 12 rows are multiplied by f32 instructions, with weights put together from their halves: a layer then takes as
//! long as its weights take to come from memory, and loading tiles holds them up.
//!
//! Three of AMX's products cost less than one of AVX-512's f32 ones: fully connected layers with f32 weights took 0.5 to
//! 0.85 of the time on a Xeon with neighbours, whose load AMX feels more. Convolution by the definition has no use for
//! it: Winograd's algorithm saves more than it, and would magnify what halves leave out. AVX512-BF16 does twice as many
//! products as f32 instructions, too few for three.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod conv;
mod isa;
mod linear;
mod map;
mod padded;
#[cfg(test)]
mod tests;

pub use conv::Bf16Conv;
pub use isa::Bf16Isa;
pub(crate) use linear::{Bf16Weights, PANEL, Rounded};
pub use map::{Map, MapMut};
