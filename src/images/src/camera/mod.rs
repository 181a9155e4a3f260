//! Frames as cameras and video decoders give them, turned into what the detector reads; the feature `camera`.
//!
//! ```text
//! planes, strides ──Image::new: checked──► Image ──Converter::run──► Frame: red, green, blue, or as it lies
//! JPEG ──────────────────────Image::jpeg──►
//! ```
//! Pixels of three or four bytes and grey are read where they lie. Y, U, V becomes red, green, blue as ITU-R BT.601 and
//! BT.709 have it ([`Colour`]), a JPEG is decoded strictly, both in a buffer that is used again.
//! ```
//! # fn main() -> Result<(), frcnn_images::camera::Error> {
//! use frcnn_images::camera::{Colour, Converter, Format, Image};
//!
//! // 4 x 2 pixels of NV12 without padding: 8 bytes of Y, then 4 of U and V.
//! let bytes = [81, 81, 81, 81, 81, 81, 81, 81, 90, 240, 90, 240];
//! let mut converter = Converter::default();
//! let frame = converter.run(&Image::packed(&bytes, 4, 2, Format::Nv12, Colour::Bt601Limited)?)?;
//! assert_eq!((frame.width(), frame.height()), (4, 2));
//! assert!(frame.row(0)[0] > 250 && frame.row(0)[1] < 5);
//! # Ok(())
//! # }
//! ```

mod chroma;
mod converter;
mod format;
mod image;

use frcnn_core::FrameError;
use frcnn_files::NoMemory;

pub use converter::Converter;
pub use format::{Colour, Format, Layout};
pub use image::Image;

/// Why a frame was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Size, format, strides and planes do not fit together.
    #[error("{0}")]
    Layout(String),
    /// A JPEG that is none, damaged, cut short or too large.
    #[error("JPEG of {bytes} bytes: {error}")]
    Jpeg {
        /// Those that were given.
        bytes: usize,
        /// What the decoder says.
        error: crate::Error,
    },
    /// The system has no memory for it.
    #[error("a frame needs {} bytes more than there is memory", .0.bytes)]
    Memory(NoMemory),
}

impl From<NoMemory> for Error {
    fn from(error: NoMemory) -> Error {
        Error::Memory(error)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Error {
        Error::Layout(error.to_string())
    }
}
