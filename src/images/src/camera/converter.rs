//! From a camera's format to pixels that the detector reads.

use frcnn_core::{Frame, PixelFormat};
use frcnn_files::scratch;

use super::{Error, Format, Image, chroma};
use crate::jpeg;

/// A damaged header must not make a small board reserve gigabytes: 8192 pixels, and what baseline pixels of that size take.
const JPEG: jpeg::Rules =
    jpeg::Rules { max_side: 8192, max_bytes: 256 << 20, lenient: false, upright: false };

/// Turns frames into what the detector reads, with a buffer that is used again from frame to frame. It does not keep the
/// size of the largest frame for ever.
#[derive(Debug, Default)]
pub struct Converter {
    rgb: Vec<u8>,
}

impl Converter {
    /// Bytes that are held for the next frame.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.rgb.capacity()
    }

    /// The pixels of `image`, where they lie or converted to red, green, blue.
    ///
    /// A JPEG is decoded strictly: one that is cut short or damaged is an error, not a picture that is grey from somewhere on.
    /// Its sides are at most 8192 pixels.
    ///
    /// # Errors
    /// A JPEG that cannot be decoded; no memory.
    pub fn run<'a>(&'a mut self, image: &Image<&'a [u8]>) -> Result<Frame<'a>, Error> {
        let Image { width, height, planes, strides, .. } = *image;
        let mut in_place = |format| {
            // These frames need no buffer, and so keep no huge one.
            scratch::resize(&mut self.rgb, 0)?;
            Ok(Frame::new(planes[0], width, height, strides[0], format)?)
        };
        let (width, height) = match image.format {
            Format::Rgb24 => return in_place(PixelFormat::Rgb8),
            Format::Bgr24 => return in_place(PixelFormat::Bgr8),
            Format::Rgba32 => return in_place(PixelFormat::Rgba8),
            Format::Bgra32 => return in_place(PixelFormat::Bgra8),
            Format::Gray8 => return in_place(PixelFormat::Gray8),
            Format::Mjpeg => self.decode(planes[0])?,
            Format::Yuyv | Format::Uyvy | Format::Nv12 | Format::Nv21 | Format::I420 => {
                scratch::resize(&mut self.rgb, width as usize * height as usize * 3)?;
                let converted = chroma::to_rgb(image, &mut self.rgb);
                converted.map_err(|error| Error::Layout(error.to_string()))?;
                (width, height)
            }
        };
        Ok(Frame::rgb8(&self.rgb, width, height)?)
    }

    fn decode(&mut self, jpeg: &[u8]) -> Result<(u32, u32), Error> {
        let decoded = jpeg::decode_into(jpeg, &JPEG, &mut self.rgb).map_err(|error| {
            // What a damaged header claimed is not kept.
            self.rgb = Vec::new();
            Error::Jpeg { bytes: jpeg.len(), error }
        })?;
        scratch::trim(&mut self.rgb);
        Ok((decoded.width, decoded.height))
    }
}
