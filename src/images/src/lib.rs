//! Photos as people have them: JPEG and PNG files as upright red, green, blue pixels.
//!
//! ```text
//! path ──regular file, bounded──► bytes ──format by content──► JPEG: jpeg::decode_into ──► EXIF ──► Picture
//!                                              └─ neither: named │ PNG: rows               orientation
//! ```
//! The content decides, whatever a file is called. What a picture needs is counted before it is reserved. A file that
//! is cut short is an error, unless [`Options::lenient`] is set. Frames of cameras and video decoders (NV12, YUYV, MJPEG and
//! others) are `camera`'s, a module of the feature of that name.
//!
//! `frcnn` itself reads pixels and no files; this crate stands beside it:
//! ```no_run
//! # fn main() -> Result<(), frcnn_images::Error> {
//! let picture = frcnn_images::open("photo.jpg".as_ref(), &frcnn_images::Options::default())?;
//! // let frame = frcnn::Frame::rgb8(&picture.pixels, picture.width, picture.height)?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "camera")]
pub mod camera;
#[cfg(feature = "png")]
pub mod command;
#[cfg(feature = "draw")]
pub mod draw;
mod error;
mod folder;
mod format;
pub mod jpeg;
mod orientation;
#[cfg(feature = "png")]
mod picture;
#[cfg(feature = "png")]
mod png;

pub use error::Error;
pub use folder::{Folder, no_images};
pub use format::{EXTENSIONS, SUPPORTED, found};
#[cfg(feature = "png")]
pub use picture::{Options, Picture, decode, open};

/// The examples of README.md.
#[cfg(all(doctest, feature = "png"))]
#[doc = include_str!("../README.md")]
mod readme {}
