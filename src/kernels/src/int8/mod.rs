//! Layers of int8 weights on inputs quantised to `u8`.
//!
//! Sums are exact integers: on every instruction set, with any number of threads and whatever blocks, an output has the same
//! bits. See [`Quantization`] for what an input becomes, and `panels` for what a sum becomes. Quantising also finds what is not
//! finite; outputs that are made of it are NaN, which they become when all else is done.
//!
//! | module | |
//! |---|---|
//! | `quantization` | how numbers become int8 |
//! | `isa` | which instructions the CPU has |
//! | `tile` | the loop over `K`, which is what each of them brings |
//! | `plain`, `x86`, `amx`, `neon`, `dotprod`, `i8mm` | one after the other |
//! | `rows` (`neon_rows`), `panels` | both sides of a product, as they lie in memory |
//! | `product` | tiles of sums, and what makes outputs of them |
//! | `linear` | fully connected layers |
//! | `quantized_map` | maps, quantised as a whole |
//! | `conv`, `gather` | convolution: windows as rows of a product |
//! | `not_finite` | the outputs of a convolution that are NaN |

#[cfg(target_arch = "x86_64")]
mod amx;
mod conv;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod dotprod;
mod gather;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod i8mm;
mod isa;
mod linear;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon_rows;
mod not_finite;
mod panels;
mod plain;
mod product;
mod quantization;
mod quantized_map;
mod rows;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use conv::Int8Conv;
pub use isa::Int8Isa;
pub(crate) use linear::{BYTE_SLAB, Int8Linear};
pub(crate) use product::End;
pub use quantization::{INT8_MAX_K, Int8Weights, Quantization};
pub(crate) use quantized_map::{bytes_mut, quantize_into};
