//! Frames in camera formats turned into what the runtime reads.
//!
//! RGB, BGR and grey are read where they lie. Y, U, V formats become RGB by [`chroma`], JPEGs by `frcnn-images`, both in
//! a buffer of this object.

use frcnn::{Frame, PixelFormat};
use frcnn_images::jpeg;

use crate::chroma;
use crate::frame::{FrcnnPixelFormat, Image};
use crate::result::{Failure, FrcnnResult};
use crate::scratch;

/// A damaged header must not make a small board reserve gigabytes: 8192 pixels, and what baseline pixels of that size take.
const JPEG: jpeg::Rules =
    jpeg::Rules { max_side: 8192, max_bytes: 256 << 20, lenient: false, upright: false };

/// The buffer that is used again from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Converter {
    rgb: Vec<u8>,
}

impl Converter {
    /// Bytes that are held for the next frame.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.rgb.capacity()
    }

    /// The pixels of `image`, where they lie or converted.
    pub(crate) fn run<'a>(&'a mut self, image: &Image<&'a [u8]>) -> Result<Frame<'a>, Failure> {
        use FrcnnPixelFormat as Format;
        let Image { width, height, planes, strides, .. } = *image;
        let mut in_place = |format| {
            // These frames need no buffer, and so keep no huge one.
            scratch::resize(&mut self.rgb, 0)?;
            Ok(Frame::new(planes[0], width, height, strides[0], format)?)
        };
        let (width, height) = match image.format {
            Format::Rgb24 => return in_place(PixelFormat::Rgb8),
            Format::Bgr24 => return in_place(PixelFormat::Bgr8),
            Format::Gray8 => return in_place(PixelFormat::Gray8),
            Format::Mjpeg => self.decode(planes[0])?,
            Format::Yuyv | Format::Uyvy | Format::Nv12 | Format::Nv21 | Format::I420 => {
                scratch::resize(&mut self.rgb, width as usize * height as usize * 3)?;
                let converted = chroma::to_rgb(image, &mut self.rgb);
                converted.map_err(|error| Failure::new(FrcnnResult::Frame, error.to_string()))?;
                (width, height)
            }
        };
        Ok(Frame::rgb8(&self.rgb, width, height)?)
    }

    /// Strict: a frame that is cut short or damaged is an error, not a picture that is grey from somewhere on.
    fn decode(&mut self, jpeg: &[u8]) -> Result<(u32, u32), Failure> {
        let decoded = jpeg::decode_into(jpeg, &JPEG, &mut self.rgb).map_err(|error| {
            // What a damaged header claimed is not kept.
            self.rgb = Vec::new();
            Failure::new(FrcnnResult::Decode, format!("JPEG of {} bytes: {error}", jpeg.len()))
        })?;
        scratch::trim(&mut self.rgb);
        Ok((decoded.width, decoded.height))
    }
}
