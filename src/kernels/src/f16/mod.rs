//! Layers in f16: values and weights of 16 bits, sums in f16 over short runs of `K`, and in f32 from run to run.
//!
//! Arm CPUs with FEAT_FP16 (Cortex-A55, A76, A78AE and later) add eight products to a vector of sums with one instruction, x86
//! CPUs with AVX512-FP16 (Sapphire Rapids and later) 32: twice as many as in f32. A layer of f16 weights then rounds what it reads
//! to f16, too. Elsewhere its weights are widened and the f32 layer runs: see `packed`.
//!
//! ```text
//!   for each run of K, at most 128 values:
//!     s = 0;  s = s + a w, rounded to f16, for each k        eight or 32 columns an instruction
//!     out = out + s / scale, rounded to f32
//! ```
//!
//! # What that costs in accuracy
//!
//! Let u = 2^-11, the largest relative error of a rounding to f16. A run of n additions errs by n u / (1 - n u) of the sum of
//! the products' magnitudes at most (Higham, *Accuracy and Stability of Numerical Algorithms*, 2002, section 3.1): 0.067
//! for n = 128, and u more for the rounded values. That is reached where all products have one sign and all roundings, too.
//! Roundings of either sign even out: of random products a sum of n has an error of some 0.25 u sqrt(n) of its own size,
//! 1.4e-3 for n = 128, a little less than products of bf16 values have (`as_accurate_as_bf16`). More runs do not add to that.
//! Winograd's algorithm magnifies it, and has shorter runs: see `conv::winograd::f16`.
//!
//! # Nothing overflows
//!
//! f16 ends at 65504. A row is multiplied by a power of two before it is rounded, and its sums by the inverse when they are
//! widened, which is exact. It is chosen so that the largest magnitude of the row times the largest sum of magnitudes of a
//! run's weights stays below 2^15: no partial sum can be larger (`scale`). It is 1 unless values are very large or small. Each
//! row has its own, so that its sums do not depend on other rows.
//!
//! | module | |
//! |---|---|
//! | `isa` | whether the CPU has the instructions; in tests also the same arithmetic without them |
//! | `engine` | what computes |
//! | `neon`, `avx512` | a tile of products, and rounding, in instructions |
//! | `rows`, `weights` | both sides of a product as `engine` reads them |
//! | `scale` | what rows are multiplied by |
//! | `product` | packed rows and a panel: what sums start from, the products, ReLU |
//! | `linear` | fully connected layers; convolutions are in `conv` |

#![cfg_attr(
    not(any(test, target_arch = "aarch64", target_arch = "x86_64")),
    allow(
        dead_code,
        unreachable_code,
        unused_mut,
        unused_unsafe,
        unused_variables,
        reason = "there is no engine"
    )
)]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod engine;
mod isa;
mod linear;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod plain;
mod product;
mod rows;
mod scale;
#[cfg(test)]
mod tests;
mod weights;

pub(crate) use engine::{PANEL, RUN_STEPS, STEP, TILE};
pub use isa::F16Isa;
pub(crate) use linear::F16Linear;
pub(crate) use product::{Output, Product};
pub(crate) use rows::{Packed, PackedRows, PackedTile};
pub(crate) use scale::largest_finite;
pub(crate) use weights::Panels;
