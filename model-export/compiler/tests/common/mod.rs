//! Small Fast R-CNN models with seeded random weights, built in memory: what the compiler must take, and what it must refuse.
//!
//! - [`trunks`]: one model per family of trunks, all with the same plain head.
//! - [`heads`]: one model per way of writing a head, all on the same small trunk.
//! - [`broken`]: models with one thing wrong each.
//! - [`classifier`]: the two files of an R-CNN.
//! - [`detector`]: a Faster R-CNN as torchvision exports it, in the words of [`nodes`].
//! - [`people`]: any of them as exporters and tools leave them: other types, files beside, nodes between.
//! - [`onnxruntime`]: what ONNX Runtime makes of them.
//!
//! Neighbouring layers differ in size wherever their shapes allow it, so that a transposed weight cannot go unnoticed.

#![allow(dead_code, reason = "each program that includes this module uses a part of it")]
#![allow(clippy::unwrap_used, reason = "clippy's own exemption for tests ends at functions marked #[test]")]

pub(crate) mod broken;
pub(crate) mod classifier;
pub(crate) mod detector;
pub(crate) mod graph;
pub(crate) mod heads;
pub(crate) mod nodes;
pub(crate) mod onnxruntime;
pub(crate) mod people;
pub(crate) mod trunks;

use frcnn_onnx::pb::ModelProto;

/// A model to test with, and its name.
pub(crate) type Case = (&'static str, fn() -> ModelProto);

/// Every model that must compile.
pub(crate) fn good() -> impl Iterator<Item = Case> {
    trunks::ALL.iter().chain(heads::ALL).copied()
}
