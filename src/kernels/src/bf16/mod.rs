//! Layers in reduced precision: bf16 maps and weights, products added up in f32.
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
//! | `slab`, `conv` | a convolution's windows as rows of the left-hand side |
//! | `linear` | fully connected layers |
//!
//! Why bf16 and no other type: it has f32's range, so a trained network needs no calibration and no scales, and AMX does
//! 16 times as many products a cycle in it as AVX-512 does in f32. Direct convolution so beats Winograd's algorithm in
//! f32 by a factor of three, while fp16 (AVX512-FP16) would only double f32's speed, and int8 asks for photos to
//! calibrate with. On Arm, instructions for bf16 are not within reach of stable Rust.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod conv;
mod isa;
mod linear;
mod map;
mod slab;
#[cfg(test)]
mod tests;

pub use conv::Bf16Conv;
pub use isa::Bf16Isa;
pub(crate) use linear::{Bf16Weights, PANEL, Rounded};
pub use map::{Map, MapMut};
