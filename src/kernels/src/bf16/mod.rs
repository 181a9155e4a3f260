//! Layers in reduced precision: bf16 maps and weights, products added up in f32.
//!
//! On CPUs that multiply bf16 values (see [`Bf16Isa`]) such a layer takes a fraction of the time of an f32 one, and half
//! of its memory. Its inputs and weights are rounded to 8 significant bits: outputs err by about 2^-9 of their typical
//! size. Elsewhere widen the weights with [`bf16_to_f32`](frcnn_core::bf16_to_f32) and run the f32 layer.

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
