//! Layers in reduced precision: bf16 maps and weights, products added up in f32. And split-bf16: f32 products made of bf16
//! ones.
//!
//! On CPUs that multiply bf16 values (see [`Bf16Isa`]) a bf16 layer takes a fraction of the time of an f32 one, and half
//! of its memory. Its inputs and weights are rounded to 8 significant bits: an output errs by some thousandths of the
//! layer's typical output. Elsewhere the weights are widened with [`bf16_to_f32`](frcnn_core::bf16_to_f32) and the f32
//! layer runs, which loses nothing.
//!
//! | module | |
//! |---|---|
//! | `isa` | which instructions the CPU has |
//! | `layout` | how operands lie in memory: panels, rows, sums |
//! | `pack` | weights into panels |
//! | `amx`, `avx512` | a block of products, rounding, and the way from sums to outputs, in instructions |
//! | `engine` | which of the two |
//! | `padded`, `conv` | convolution: windows as rows of the left-hand side |
//! | `linear` | fully connected layers |
//! | `map` | feature maps in either precision |
//!
//! Why bf16 and no other type: it has f32's range, so a trained network needs no calibration and no scales, and AMX does
//! 16 times as many products a cycle in it as AVX-512 does in f32. Direct convolution so beats Winograd's algorithm in
//! f32 by a factor of three, while fp16 (AVX512-FP16) would only double f32's speed, and int8 asks for photos to
//! calibrate with. On Arm, instructions for bf16 are not within reach of stable Rust.
//!
//! # Split-bf16 (bf16x3)
//!
//! An f32 value is the sum of two bf16 values but for 2^-17 of it at most: `hi`, the value rounded, and `lo`, what
//! rounding leaves, rounded. Three of the four products of such halves, hi hi, hi lo and lo hi, make an f32 product but
//! for 2^-16 of it at most (Henry, Tang and Heinecke, *Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations*, ARITH 2019). The errors have either sign and even out over a sum, as f32's own rounding
//! does: of 25088 products, VGG16's `fc6`, both miss the exact sum by 2e-6 of the largest
//! (`bf16x3_is_as_accurate_as_f32` in `linear`).
//!
//! Up to 12 rows are multiplied by FMA instructions in f32, with each weight made of hi and lo again. Such a GEMV-like
//! layer takes as long as its weights take to come from memory, and loads of tiles would hold them up.
//!
//! Three of AMX's products cost less than one of AVX-512's in f32: fully connected layers with f32 weights took 0.5 to
//! 0.85 of the time on a Xeon with neighbours, whose load AMX feels more. Direct convolution has no use for it: Winograd's
//! algorithm saves more than it does, and would magnify its errors. AVX512-BF16 does only twice as many products as f32
//! instructions do, too few for three.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod conv;
mod engine;
mod isa;
mod layout;
mod linear;
mod map;
mod pack;
mod padded;
#[cfg(test)]
mod tests;

pub use conv::Bf16Conv;
pub use isa::Bf16Isa;
pub(crate) use linear::{Bf16Weights, PANEL};
pub use map::{Map, MapMut};
