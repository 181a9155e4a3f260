//! Geometry and bookkeeping of Fast R-CNN: frames, boxes, the box coder, image scales, RoIs, NMS and detections.
//!
//! Everything here is arithmetic on values the caller owns: no `std`, no allocation, no `unsafe`, no panic on any
//! input. The way of one image through the crate:
//!
//! ```text
//! proposals [BBox] --project_rois--> distinct [Roi] + index     (RoI pool and head run outside)
//!           [BBox] + bbox_pred ------BoxCoder::decode, clip---> boxes per class
//!           [Detection] of a class --nms----------------------> survivors
//!           survivors of all classes keep_best----------------> Detections<N>
//! ```
//!
//! `width_offset` appears wherever a box has a width. It is 1 for inclusive corners in pixels (a box from 3 to 3 is
//! one pixel wide: VOC, Caffe) and 0 for continuous corners (torchvision, ONNX).
#![no_std]
#![forbid(unsafe_code)]

pub mod anchors;
mod bbox;
pub mod bf16;
pub mod classes;
pub mod coder;
pub mod detection;
pub mod difference;
pub mod f16;
pub mod frame;
pub mod linear_tap;
pub mod nms;
pub mod printable;
pub mod roi;
mod roi_levels;
pub mod scale;
pub mod shape_error;
pub mod window;

pub use anchors::{anchor, base_anchor};
pub use bbox::BBox;
pub use bf16::{bf16_from_f32, bf16_to_f32};
pub use classes::{BACKGROUND, VOC_CLASSES};
pub use coder::BoxCoder;
pub use detection::{Detection, Detections};
pub use difference::{difference, largest_difference, largest_magnitude, relative_difference};
pub use f16::{f16_from_f32, f16_to_f32};
pub use frame::{Frame, FrameError, PixelFormat};
pub use linear_tap::LinearTap;
pub use nms::{keep_best, nms, nms_shifted};
pub use printable::{Printable, PrintableJson, PrintableLines, is_unprintable};
pub use roi::{NO_ROI, Roi, project_rois, window_rois};
pub use roi_levels::RoiLevels;
pub use scale::{blob_size, floor_size, im_scale, min_scale, nearest_level, shortest_edge_size};
pub use shape_error::ShapeError;
pub use window::{Seen, Window};

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
