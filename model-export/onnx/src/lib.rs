//! The part of the [ONNX] file format that trained Fast R-CNNs need, and a writer for it.
//!
//! Both sides that write such models use it, the compiler and the trainer, so a model looks the same whoever wrote it. It
//! needs nothing but a protobuf codec. Beside it stands the other protobuf format in which such networks are published:
//! [`caffe`].
//!
//! [ONNX]: https://onnx.ai/onnx/repo-docs/IR.html
#![forbid(unsafe_code)]

pub mod caffe;
pub mod pb;
pub mod writer;

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
