//! Frames in camera formats turned into what the runtime reads.
//!
//! RGB, BGR and grey are read where they lie. Y, U, V formats become RGB by the `yuv` crate (BT.601 or BT.709, limited
//! or full range; each chroma sample serves all its pixels), JPEGs by `zune-jpeg`, both in a buffer of this object.

use frcnn::{Frame, PixelFormat};
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::frame::{FrcnnColour, FrcnnPixelFormat, Image};
use crate::result::{Failure, FrcnnResult};

/// A damaged header must not make a small board reserve gigabytes.
const MAX_JPEG_SIDE: usize = 8192;

/// The buffer that is used again from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Converter {
    rgb: Vec<u8>,
}

impl Converter {
    /// The pixels of `image`, where they lie or converted.
    pub(crate) fn run<'a>(&'a mut self, image: &Image<&'a [u8]>) -> Result<Frame<'a>, Failure> {
        use FrcnnPixelFormat as Format;
        let Image { width, height, planes, strides, .. } = *image;
        let in_place = |format| Ok(Frame::new(planes[0], width, height, strides[0], format)?);
        let (width, height) = match image.format {
            Format::Rgb24 => return in_place(PixelFormat::Rgb8),
            Format::Bgr24 => return in_place(PixelFormat::Bgr8),
            Format::Gray8 => return in_place(PixelFormat::Gray8),
            Format::Mjpeg => self.decode(planes[0])?,
            Format::Yuyv | Format::Uyvy | Format::Nv12 | Format::Nv21 | Format::I420 => {
                self.rgb.resize(width as usize * height as usize * 3, 0);
                let converted = yuv_to_rgb(image, &mut self.rgb);
                converted.map_err(|error| Failure::new(FrcnnResult::Frame, error.to_string()))?;
                (width, height)
            }
        };
        Ok(Frame::rgb8(&self.rgb, width, height)?)
    }

    /// Strict: a frame that is cut short or damaged is an error, not a picture that is grey from somewhere on.
    fn decode(&mut self, jpeg: &[u8]) -> Result<(u32, u32), Failure> {
        let refused = |problem: &dyn std::fmt::Display| {
            Failure::new(FrcnnResult::Decode, format!("JPEG of {} bytes: {problem}", jpeg.len()))
        };
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(MAX_JPEG_SIDE)
            .set_max_height(MAX_JPEG_SIDE)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        decoder.decode_headers().map_err(|error| refused(&error))?;
        let info = decoder.info().ok_or_else(|| refused(&"no size"))?;
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        self.rgb.resize(width as usize * height as usize * 3, 0);
        decoder.decode_into(&mut self.rgb).map_err(|error| refused(&error))?;
        Ok((width, height))
    }
}

fn yuv_to_rgb(image: &Image<&[u8]>, rgb: &mut [u8]) -> Result<(), YuvError> {
    use FrcnnPixelFormat as Format;
    let (range, matrix) = match image.colour {
        FrcnnColour::Bt601Limited => (YuvRange::Limited, YuvStandardMatrix::Bt601),
        FrcnnColour::Bt601Full => (YuvRange::Full, YuvStandardMatrix::Bt601),
        FrcnnColour::Bt709Limited => (YuvRange::Limited, YuvStandardMatrix::Bt709),
        FrcnnColour::Bt709Full => (YuvRange::Full, YuvStandardMatrix::Bt709),
    };
    let Image { width, height, planes: [y, u, v], .. } = *image;
    // Strides were seen to fit into 32 bits when the frame was checked.
    let [y_stride, u_stride, v_stride] = image.strides.map(|stride| stride as u32);
    let rgb_stride = width * 3;
    match image.format {
        Format::Yuyv | Format::Uyvy => {
            let convert = match image.format {
                Format::Yuyv => yuv::yuyv422_to_rgb,
                _ => yuv::uyvy422_to_rgb,
            };
            // The crate wants `stride` bytes for every row, but behind the last one there may be none.
            let (upper, last) = y.split_at((height as usize - 1) * y_stride as usize);
            let (upper_rgb, last_rgb) = rgb.split_at_mut((height as usize - 1) * rgb_stride as usize);
            if height > 1 {
                let upper = YuvPackedImage { yuy: upper, yuy_stride: y_stride, width, height: height - 1 };
                convert(&upper, upper_rgb, rgb_stride, range, matrix)?;
            }
            let last = YuvPackedImage { yuy: last, yuy_stride: last.len() as u32, width, height: 1 };
            convert(&last, last_rgb, rgb_stride, range, matrix)
        }
        Format::Nv12 | Format::Nv21 => {
            let convert = match image.format {
                Format::Nv12 => yuv::yuv_nv12_to_rgb,
                _ => yuv::yuv_nv21_to_rgb,
            };
            let planes =
                YuvBiPlanarImage { y_plane: y, y_stride, uv_plane: u, uv_stride: u_stride, width, height };
            convert(&planes, rgb, rgb_stride, range, matrix, YuvConversionMode::Balanced)
        }
        _ => {
            let planes = YuvPlanarImage {
                y_plane: y,
                y_stride,
                u_plane: u,
                u_stride,
                v_plane: v,
                v_stride,
                width,
                height,
            };
            yuv::yuv420_to_rgb(&planes, rgb, rgb_stride, range, matrix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(
        format: FrcnnPixelFormat,
        colour: FrcnnColour,
        (width, height): (u32, u32),
        planes: [&[u8]; 3],
        strides: [usize; 3],
    ) -> Vec<u8> {
        let image = Image { id: 0, width, height, format, colour, planes, strides };
        let mut converter = Converter::default();
        let frame = converter.run(&image).unwrap();
        assert_eq!((frame.width(), frame.height()), (width, height));
        converter.rgb
    }

    fn near(found: &[u8], expected: &[u8]) {
        assert_eq!(found.len(), expected.len());
        // Fixed-point arithmetic is off by up to 2.
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 2), "{found:?} {expected:?}");
    }

    /// Colours by the formulas of BT.601 and BT.709, limited and full range.
    #[test]
    fn colours_by_hand() {
        for (colour, y, u, v, rgb) in [
            (FrcnnColour::Bt601Limited, 81, 90, 240, [255, 0, 0]),
            (FrcnnColour::Bt601Limited, 145, 54, 34, [0, 255, 0]),
            (FrcnnColour::Bt601Limited, 235, 128, 128, [255, 255, 255]),
            (FrcnnColour::Bt601Full, 76, 85, 255, [254, 0, 0]),
            (FrcnnColour::Bt601Full, 255, 128, 128, [255, 255, 255]),
            (FrcnnColour::Bt709Limited, 63, 102, 240, [255, 0, 0]),
            (FrcnnColour::Bt709Limited, 32, 240, 118, [0, 0, 255]),
            (FrcnnColour::Bt709Full, 54, 99, 255, [254, 0, 0]),
        ] {
            let planes: [&[u8]; 3] = [&[y; 4], &[u], &[v]];
            let rgb = rgb.repeat(4);
            near(&convert(FrcnnPixelFormat::I420, colour, (2, 2), planes, [2, 1, 1]), &rgb);
            near(&convert(FrcnnPixelFormat::Nv12, colour, (2, 2), [&[y; 4], &[u, v], &[]], [2, 2, 0]), &rgb);
            near(&convert(FrcnnPixelFormat::Nv21, colour, (2, 2), [&[y; 4], &[v, u], &[]], [2, 2, 0]), &rgb);
            let yuyv = [y, u, y, v].repeat(2);
            near(&convert(FrcnnPixelFormat::Yuyv, colour, (2, 2), [&yuyv, &[], &[]], [4, 0, 0]), &rgb);
            let uyvy = [u, y, v, y].repeat(2);
            near(&convert(FrcnnPixelFormat::Uyvy, colour, (2, 2), [&uyvy, &[], &[]], [4, 0, 0]), &rgb);
        }
    }

    /// 3 x 3 pixels with padding after every row but the last: what lies in it is seen nowhere.
    #[test]
    fn odd_sizes_and_padded_rows() {
        let colour = FrcnnColour::Bt601Full;
        let grey = |rows: [[u8; 3]; 3]| rows.concat().into_iter().flat_map(|v| [v; 3]).collect::<Vec<u8>>();
        let expected = grey([[10, 20, 30], [40, 50, 60], [70, 80, 90]]);
        let y = [10, 20, 30, 255, 255, 40, 50, 60, 255, 255, 70, 80, 90];
        let uv = [128, 128, 128, 128, 0, 0, 0, 128, 128, 128, 128];
        near(&convert(FrcnnPixelFormat::Nv12, colour, (3, 3), [&y, &uv, &[]], [5, 7, 0]), &expected);
        let chroma = [128, 128, 0, 0, 128, 128];
        near(&convert(FrcnnPixelFormat::I420, colour, (3, 3), [&y, &chroma, &chroma], [5, 4, 4]), &expected);
        let mut yuyv = Vec::new();
        for row in [[10, 20, 30], [40, 50, 60], [70, 80, 90]] {
            yuyv.extend([row[0], 128, row[1], 128, row[2], 128, 0, 128, 1, 2, 3]);
        }
        yuyv.truncate(2 * 11 + 8);
        near(&convert(FrcnnPixelFormat::Yuyv, colour, (3, 3), [&yuyv, &[], &[]], [11, 0, 0]), &expected);
    }
}
