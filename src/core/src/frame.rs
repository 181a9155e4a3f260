//! Pixels as a camera or a decoder gives them.
//!
//! ```
//! use frcnn_core::{Frame, PixelFormat};
//! let data = [10, 20, 30, 0, 40, 50, 60, 0];
//! let frame = Frame::new(&data, 3, 2, 4, PixelFormat::Gray8)?;
//! assert_eq!(frame.row(1), [40, 50, 60]);
//! # Ok::<(), frcnn_core::FrameError>(())
//! ```

use core::fmt;

/// How the pixels of a [`Frame`] lie in memory; 8 bits a channel, interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// Red, green, blue and a channel that is ignored.
    Rgba8,
    /// Blue, green, red and a channel that is ignored.
    Bgra8,
    /// One grey value, used for all three.
    Gray8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
            PixelFormat::Gray8 => 1,
        }
    }

    /// Offsets of blue, green and red in a pixel.
    #[must_use]
    pub fn bgr_offsets(self) -> [usize; 3] {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => [2, 1, 0],
            PixelFormat::Bgr8 | PixelFormat::Bgra8 => [0, 1, 2],
            PixelFormat::Gray8 => [0, 0, 0],
        }
    }
}

/// A borrowed image.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    data: &'a [u8],
    width: u32,
    height: u32,
    stride: usize,
    format: PixelFormat,
}

impl<'a> Frame<'a> {
    /// Longest side that a frame may have, in pixels.
    pub const MAX_SIDE: u32 = 32_768;

    /// A frame of `height` rows, each `width` pixels that start `stride` bytes after the row before.
    ///
    /// # Errors
    /// A side is 0 or longer than [`Frame::MAX_SIDE`], `stride` is shorter than a row, or `data` is shorter than the rows.
    pub fn new(
        data: &'a [u8],
        width: u32,
        height: u32,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Frame<'a>, FrameError> {
        let sides = 1..=Frame::MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(FrameError::Size { width, height });
        }
        let row = width as usize * format.bytes();
        if stride < row {
            return Err(FrameError::Stride { stride, row });
        }
        let needed = (height as usize - 1).checked_mul(stride).and_then(|n| n.checked_add(row));
        match needed {
            Some(needed) if data.len() >= needed => Ok(Frame { data, width, height, stride, format }),
            _ => Err(FrameError::Data { len: data.len(), height, row, stride }),
        }
    }

    /// A frame of tightly packed red, green, blue pixels.
    ///
    /// # Errors
    /// As [`Frame::new`].
    pub fn rgb8(data: &'a [u8], width: u32, height: u32) -> Result<Frame<'a>, FrameError> {
        Frame::new(data, width, height, width as usize * 3, PixelFormat::Rgb8)
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How the pixels lie in a row.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of all rows, where nothing lies between them.
    #[must_use]
    pub fn packed(&self) -> Option<&'a [u8]> {
        let row = self.width as usize * self.format.bytes();
        let tight = self.stride == row || self.height == 1;
        if tight { self.data.get(..row * self.height as usize) } else { None }
    }

    /// The bytes of row `y`, `width` pixels; the last row for a `y` beyond it.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y.min(self.height as usize - 1) * self.stride;
        &self.data[start..start + self.width as usize * self.format.bytes()]
    }
}

/// A frame's size, stride and data do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A side is 0 or longer than [`Frame::MAX_SIDE`].
    Size {
        /// Columns asked for.
        width: u32,
        /// Rows asked for.
        height: u32,
    },
    /// Rows overlap.
    Stride {
        /// Bytes from row to row.
        stride: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// The data ends before the last row does.
    Data {
        /// Bytes given.
        len: usize,
        /// Rows asked for.
        height: u32,
        /// Bytes of a row.
        row: usize,
        /// Bytes from row to row.
        stride: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Size { width, height } => {
                write!(f, "{width} x {height} pixels; each side must be 1 to {}", Frame::MAX_SIDE)
            }
            FrameError::Stride { stride, row } => {
                write!(f, "a stride of {stride} bytes is shorter than a row of {row}")
            }
            FrameError::Data { len, height, row, stride } => {
                write!(f, "{len} bytes of data are too few for {height} rows of {row} bytes, {stride} apart")
            }
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        let data = [0; 3 * 4 * 2];
        assert!(Frame::rgb8(&data, 4, 2).is_ok());
        assert!(Frame::rgb8(&data, 4, 3).is_err());
        assert!(Frame::rgb8(&data, 0, 2).is_err());
        assert!(Frame::rgb8(&data, u32::MAX, u32::MAX).is_err());
        // The last row needs no padding behind it.
        assert!(Frame::new(&data[..4 + 3], 3, 2, 4, PixelFormat::Gray8).is_ok());
        assert!(Frame::new(&data, 3, 2, 2, PixelFormat::Gray8).is_err());
        assert!(Frame::new(&data, 3, 2, usize::MAX, PixelFormat::Gray8).is_err());
    }

    #[test]
    fn packed_only_without_padding() {
        let data = [1, 2, 3, 4, 5, 6, 7];
        let packed = |height, stride| {
            let frame = Frame::new(&data, 3, height, stride, PixelFormat::Gray8).unwrap();
            frame.packed().map(<[u8]>::len)
        };
        assert_eq!((packed(2, 3), packed(2, 4), packed(1, 7)), (Some(6), None, Some(3)));
    }
}
