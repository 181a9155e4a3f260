//! The arithmetic of Fast R-CNN on a CPU: RoI max pooling, RoIAlign, products, convolution, LRN, pooling; and the warping of
//! regions with which R-CNN begins.
//!
//! Letters used everywhere: `N` images, `H x W` a map, `C` (`Ci` in, `Co` out) its channels, `Kh x Kw` a kernel
//! window, `R` RoIs, `Ph x Pw` pooled bins. Every tensor is a row-major `f32` slice, and every feature map is
//! **channels last**, `[N, H, W, C]`: what a kernel does to one cell it does to a contiguous run of channels.
//!
//! Each function checks the lengths it is given and returns a [`ShapeError`] instead of panicking, writes into the
//! caller's buffer, and gives the same bits for every `threads`. `threads > 1` uses up to that many threads of the
//! current rayon pool (feature `std`; without it everything runs on the calling thread).
//!
//! Work is cut into blocks for the caches of this CPU, which [`CacheInfo`] tells.
//!
//! The SIMD of this workspace and its `unsafe` live in this crate and nowhere else. [`Isa`] says which instruction
//! set is used; products go through the `gemm` crate, which detects the CPU by itself.
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(unsafe_code, reason = "this crate is the home of SIMD; each block says why it is sound")]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

mod aligned;
mod amx;
mod bf16;
mod blocking;
mod cache;
mod conv;
mod cpu;
mod f16;
mod gemm;
mod init;
mod int8;
mod isa;
mod k_order;
mod linear;
mod linear_units;
mod lrn;
mod maps;
mod packed;
mod pages;
mod pool;
mod pooled;
mod product;
mod products;
mod roi_align;
mod roi_pool;
mod simd;
mod strips;
mod sync_ptr;
mod tasks;
#[cfg(feature = "std")]
mod team;
#[cfg(test)]
mod test_random;
mod type_cost;
mod warp;
mod window;

pub use bf16::{Bf16Conv, Bf16Isa, Map, MapMut};
pub use cache::{CacheInfo, SharedCache};
pub use conv::{
    ChannelRange, ConvAlgorithm, ConvArgs, ConvCandidate, ConvShape, ConvWeights, ConvWindow, PreparedConv,
    conv2d_into, conv2d_reference,
};
pub use cpu::Cpu;
pub use f16::F16Isa;
pub use frcnn_core::ShapeError;
pub use gemm::{linear_into, matmul_into};
pub use int8::{INT8_MAX_K, Int8Conv, Int8Isa, Int8Weights, Quantization};
pub use isa::Isa;
pub use k_order::KOrder;
pub use linear::{F32Products, PreparedLinear};
pub use lrn::{Lrn, lrn_into};
pub use maps::{
    Pointwise, add_in_place, add_upsampled_in_place, global_average_into, pointwise_in_place,
    scale_channels_in_place, upsample_into, upsampled_from,
};
pub use packed::Half;
pub use pages::{give_back_free_pages, prefer_huge_pages};
pub use pool::{PoolShape, average_pool_into, max_pool_into};
pub use pooled::{PooledIn, PooledLayer, Step};
pub use products::Products;
pub use roi_align::{
    AlignedRoi, RoiAlign, ScaledMap, roi_align_into, roi_align_linear_into, roi_align_linear_scratch_len,
    roi_align_reference, roi_align_with,
};
pub use roi_pool::{
    FeatureMap, roi_pool_bin, roi_pool_into, roi_pool_linear_into, roi_pool_linear_scratch_len,
    roi_pool_reference, roi_pool_scratch_len, roi_pool_with,
};
pub use strips::{
    FusedLayer, FusedShape, StripScratch, run_strips, strip_rows, strip_rows_seen, strip_scratch_lens,
};
#[cfg(feature = "std")]
pub use team::with_team;
pub use type_cost::{TypeCosts, TypeModel};
pub use warp::warp_into;

/// Product of dimensions. One that overflows saturates, and so matches the length of no slice.
fn len_of(dimensions: &[usize]) -> usize {
    dimensions.iter().fold(1usize, |product, &d| product.saturating_mul(d))
}

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
