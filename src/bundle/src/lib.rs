//! The `.frcnn` file: everything that the device needs to run one trained detector: a Fast R-CNN,
//! or one of its predecessors, SPPnet and R-CNN.
//!
//! The compiler writes a bundle, the runtime reads it, and this crate is the only place where either
//! happens. A bundle is wholly validated before anything of it is used: [`Bundle::from_bytes`] either
//! gives a bundle whose every count, shape, reference and checksum holds, or an [`Error`] that says
//! which check failed.
//!
//! # Format
//!
//! All integers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `89 46 52 43 4e 4e 0d 0a` (`\x89FRCNN\r\n`) |
//! | 8 | 4 | format version, [`FORMAT_VERSION`]; 2 to 5 are read as well |
//! | 12 | 4 | zero |
//! | 16 | 8 | length of the contents record in bytes |
//! | 24 | 8 | length of the whole file in bytes |
//! | 32 | 16 | xxh3-128 of the contents record |
//! | 48 | 16 | zero |
//! | 64 | … | contents: a [`Contents`] in [postcard](https://postcard.jamesmunns.com)'s wire format |
//! | … | … | zeros up to the next multiple of 64 |
//! | … | … | weight sections, each of f32, bf16, f16 or int8, each starting at a multiple of 64, zeros between |
//!
//! The sections' offsets are in the contents record. Because they are aligned within the file, the
//! weights can be used in place wherever the file itself is aligned: [`Bundle::from_static`] does so with one that is part
//! of the program. [`Bundle::open`] reads each section into memory of its own, so that who has laid its weights out in
//! another way can let go of it.
//! The hashes find damage; they are no defence against somebody who means harm, which is why shapes and
//! references are checked as well.
//!
//! # Weight layouts
//!
//! Every product of the network is `rows × weights` with row-major weights `[in, out]`, so a section can
//! be streamed by a GEMM as it lies: convolutions are `[Kh, Kw, Ci/group, Co]`, fully connected layers
//! `[in, out]`. Feature maps are channels last.
//!
//! The weights of ungrouped convolutions and of fully connected layers may be bf16 or f16, half as long, or int8, a quarter;
//! biases and all others are f32. A [`Section`] says what its values are, and of int8 ones what makes real numbers of them
//! ([`Int8`]). None of them is NaN or infinite.
//!
//! # Versions
//!
//! | format | what its contents record has that the one before has not |
//! |---|---|
//! | 2 | the oldest that is read |
//! | 3 | how the network reads pixels (channel order, scale, deviations), and the box coder's weights |
//! | 4 | what the values of each section are, which its length told before; f16 |
//! | 5 | int8, with scales and the rounding of what layers read; each layer may have a precision of its own, and the board for which they were chosen is named |
//! | 6 | a cascade ([`Cascade`]): a first judge that drops regions; RoIAlign, trunks of several maps and proposals that the network makes itself ([`Rpn`]), with the rules of torchvision's detectors in the manifest |
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("a bundle's weights are little-endian and are used in place");

mod align;
mod blob;
mod cascade;
mod error;
mod format;
mod graph;
mod infer;
mod input;
mod int8;
mod lifetimes;
mod manifest;
mod nominal;
mod old;
mod rewrite;
mod rpn;
mod source;
mod storage;
mod validate;
mod values;

pub use align::{LevelRule, RoiAlign};
pub use blob::BlobFit;
pub use cascade::{Cascade, Chosen};
pub use error::Error;
pub use format::{Bundle, BundleWriter, FORMAT_VERSION};
pub use graph::{
    Affine, Contents, Conv, DetectionMethod, Factored, Gemm, Graph, Layer, Op, Origin, Pool, Precision,
    Regions, RoiPooling, Section, SectionId, Warp,
};
pub use infer::Shape;
pub use input::NetworkInput;
pub use int8::{Int8, MAX_INT8_PRODUCTS};
pub use manifest::{ChannelOrder, Manifest, ManifestError, PIXEL_MEANS_BGR, Resize, Scores};
pub use nominal::{nominal_blobs, nominal_size};
pub use rewrite::Rewrite;
pub use rpn::{MAX_ANCHORS, MAX_PROPOSALS, Rpn};
pub use storage::Weights;
pub use validate::MAX_DETECTIONS;
pub use values::Values;

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
