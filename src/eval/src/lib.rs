//! Whether a detector is right: data sets, average precision, and reference tensors.
//!
//! ```text
//! VOC or COCO folder ──Dataset::open──► Dataset ─┐
//!                                                ├─voc()──► AP by VOC07 and VOC10+, precision-recall curves
//! results of any detector ─formats::read─► [Detection] ─coco()─► AP, AP50, AP75, by size, AR
//!                                                ├─confusion()─► which class is taken for which
//!                                                └─mistakes()─► false positives and misses, image by image
//!
//! reference.safetensors ──TensorFile──► Tensor ──difference()──► errors, ULPs, cosine, the worst element
//! ```
//!
//! Everything here is arithmetic on lists and files: nothing runs a network, so the scorer can judge any detector.
//! Scores follow the official programs to the last rule: py-faster-rcnn's `voc_eval` and pycocotools' `COCOeval`.
//!
//! ```no_run
//! use frcnn_eval::{Dataset, Location, coco, formats, voc};
//! # use std::path::Path;
//! # fn main() -> Result<(), frcnn_eval::Error> {
//! let mut dataset = Dataset::open(&Location::new("VOC2007", "test"))?;
//! let detections = formats::read(Path::new("results.json"), None, formats::Corners::Inclusive, &mut dataset)?;
//! println!("{:?} {:?}", voc(&dataset, &detections, 0.5).map10, coco(&dataset, &detections).summary.ap);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod ap;
mod dataset;
mod detection;
mod error;
pub mod formats;
mod id;
mod json;
mod limits;
mod matching;
mod region;
mod run_file;
mod tensors;
mod text;
mod warnings;
mod xml;

pub use ap::coco::{Coco, CocoClass, CocoSummary, coco};
pub use ap::confusion::{Confusion, confusion};
pub use ap::mistakes::{ImageMistakes, Mistake, MistakeKind, best, mistakes, worst};
pub use ap::threshold::BestThreshold;
pub use ap::voc::{Voc, VocClass, voc};
pub use dataset::{Annotation, Dataset, Format, Image, Location, Truth, VocObject, VocSplit};
pub use detection::Detection;
pub use error::{Error, Problem};
pub use id::Id;
pub use matching::{Drift, Found, Pair, pair};
pub use region::Region;
pub use run_file::{RunDetection, RunFile, RunHeader, RunImage, RunLine, merge};
pub use tensors::difference::{Difference, ShapeMismatch, UlpHistogram, Worst, difference};
pub use tensors::verdict::{Measure, Precision, Role, StageResult, Tolerances, explain, roles};
pub use tensors::{Tensor, TensorFile};
pub use warnings::{Warning, Warnings};

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
