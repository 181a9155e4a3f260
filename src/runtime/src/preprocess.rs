//! Image to blob: channel order, mean subtraction and the bilinear resize in one pass.
//!
//! For a blob pixel `x` the source coordinate is `(x + 1/2) / im_scale - 1/2` (half-pixel centres), and
//! the two nearest source pixels are mixed linearly, columns first, then rows; at the border the edge
//! pixel is repeated. This is OpenCV's `INTER_LINEAR` on a float image called with `fx = fy = im_scale`,
//! which is how the published system made its blobs; a called-for output size would give a slightly
//! different scale. There is no antialiasing, which is why a general resizer does not serve here, and
//! none takes camera pixels with a stride and gives mean-subtracted floats without two more passes
//! over memory.

use frcnn_core::{LinearTap, ShapeError, blob_size};
use frcnn_files::try_resize;

use crate::{Error, Frame};

/// The network's input at one scale.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageBlob {
    /// `[H, W, 3]`, blue, green, red, the channel means subtracted.
    pub data: Vec<f32>,
    /// `H`.
    pub height: usize,
    /// `W`.
    pub width: usize,
    /// Blob pixels per image pixel.
    pub im_scale: f64,
}

/// Buffers kept from frame to frame.
#[derive(Default)]
pub(crate) struct Preprocessor {
    columns: Vec<LinearTap>,
    /// Two source rows, resized horizontally, with the source row that each holds.
    rows: [ResizedRow; 2],
}

#[derive(Default)]
struct ResizedRow {
    source: Option<usize>,
    data: Vec<f32>,
}

impl Preprocessor {
    /// Makes the blob of `frame` with `scale` blob pixels to a pixel; `means` are of blue, green and red.
    pub(crate) fn run(
        &mut self,
        frame: &Frame,
        means: &[f32; 3],
        scale: f64,
        blob: &mut ImageBlob,
    ) -> Result<(), Error> {
        let (height, width) = blob_size(frame.height(), frame.width(), scale);
        blob.im_scale = scale;
        (blob.height, blob.width) = (height, width);
        let values = height.saturating_mul(width).saturating_mul(3);
        try_resize(&mut blob.data, values, 0.0).map_err(Error::memory("the image blob"))?;
        self.fill(frame, means, scale, &mut blob.data)?;
        Ok(())
    }

    /// The same into `blob`, `[H, W, 3]` of the size that [`blob_size`] gives.
    pub(crate) fn fill(
        &mut self,
        frame: &Frame,
        means: &[f32; 3],
        scale: f64,
        blob: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (height, width) = blob_size(frame.height(), frame.width(), scale);
        ShapeError::check("image blob", height.saturating_mul(width).saturating_mul(3), blob.len())?;
        self.columns.clear();
        self.columns.extend((0..width).map(|x| tap(x, scale, frame.width() as usize)));
        for row in &mut self.rows {
            row.source = None;
        }
        for (y, out) in blob.chunks_exact_mut(width * 3).enumerate() {
            let tap = tap(y, scale, frame.height() as usize);
            self.resize_rows(frame, means, tap);
            let [low, high] = &self.rows;
            for ((out, low), high) in out.iter_mut().zip(&low.data).zip(&high.data) {
                *out = tap.mix(*low, *high);
            }
        }
        Ok(())
    }

    /// Makes the two kept rows those of `tap`. Going down, the lower one usually becomes the upper one.
    fn resize_rows(&mut self, frame: &Frame, means: &[f32; 3], tap: LinearTap) {
        if self.rows[1].source == Some(tap.low) {
            self.rows.swap(0, 1);
        }
        for (row, source) in self.rows.iter_mut().zip([tap.low, tap.high]) {
            if row.source != Some(source) {
                row.source = Some(source);
                resize_row(frame, source, &self.columns, means, &mut row.data);
            }
        }
    }
}

/// Where blob pixel `position` of a row or column lies in one of the frame's, of `len` pixels.
fn tap(position: usize, scale: f64, len: usize) -> LinearTap {
    LinearTap::at((position as f64 + 0.5) / scale - 0.5, len)
}

fn resize_row(frame: &Frame, source: usize, columns: &[LinearTap], means: &[f32; 3], out: &mut Vec<f32>) {
    let pixels = frame.row(source);
    let (bytes, offsets) = (frame.format().bytes(), frame.format().bgr_offsets());
    out.clear();
    out.extend(columns.iter().flat_map(|tap| {
        let (low, high) = (&pixels[tap.low * bytes..], &pixels[tap.high * bytes..]);
        std::array::from_fn::<f32, 3, _>(|c| {
            let value = |pixel: &[u8]| f32::from(pixel[offsets[c]]) - means[c];
            tap.mix(value(low), value(high))
        })
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PixelFormat;
    use frcnn_core::im_scale;

    fn run(frame: &Frame, short_side: u32) -> ImageBlob {
        let scale = im_scale(frame.height(), frame.width(), short_side, 1000);
        let mut blob = ImageBlob::default();
        Preprocessor::default().run(frame, &[1.0, 2.0, 3.0], scale, &mut blob).unwrap();
        blob
    }

    #[test]
    fn channels_are_bgr_and_means_are_subtracted() {
        let rgb = [10, 20, 30];
        assert_eq!(run(&Frame::rgb8(&rgb, 1, 1).unwrap(), 1).data, [29.0, 18.0, 7.0]);
        for (format, data) in [
            (PixelFormat::Bgr8, &[30, 20, 10][..]),
            (PixelFormat::Rgba8, &[10, 20, 30, 255]),
            (PixelFormat::Bgra8, &[30, 20, 10, 255]),
        ] {
            let frame = Frame::new(data, 1, 1, format.bytes(), format).unwrap();
            assert_eq!(run(&frame, 1).data, [29.0, 18.0, 7.0], "{format:?}");
        }
        let gray = Frame::new(&[7], 1, 1, 1, PixelFormat::Gray8).unwrap();
        assert_eq!(run(&gray, 1).data, [6.0, 5.0, 4.0]);
    }

    #[test]
    fn half_pixel_centres() {
        // Two pixels of 0 and 80 become four at source coordinates -0.25, 0.25, 0.75 and 1.25: the
        // first and the last lie outside and repeat the edge.
        let frame = Frame::new(&[0, 80, 0, 80], 2, 2, 2, PixelFormat::Gray8).unwrap();
        let blob = run(&frame, 4);
        assert_eq!((blob.height, blob.width, blob.im_scale), (4, 4, 2.0));
        let blue: Vec<f32> = blob.data.iter().step_by(3).take(4).map(|v| v + 1.0).collect();
        assert_eq!(blue, [0.0, 20.0, 60.0, 80.0]);
    }

    #[test]
    fn padding_between_rows_is_not_seen() {
        let padded = [5, 6, 255, 7, 8, 255];
        let frame = Frame::new(&padded, 2, 2, 3, PixelFormat::Gray8).unwrap();
        let tight = Frame::new(&[5, 6, 7, 8], 2, 2, 2, PixelFormat::Gray8).unwrap();
        assert_eq!(run(&frame, 5), run(&tight, 5));
    }

    /// The definition in the module's documentation, pixel by pixel in f64.
    #[test]
    fn equals_the_definition_at_odd_sizes() {
        let (width, height) = (37, 23);
        let data: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let frame = Frame::rgb8(&data, width as u32, height as u32).unwrap();
        for short_side in [7, 23, 24, 51, 100] {
            let blob = run(&frame, short_side);
            let source = |y: usize, x: usize, c: usize| {
                f64::from(data[(y * width + x) * 3 + 2 - c]) - [1.0, 2.0, 3.0][c]
            };
            let mix = |position: usize, len: usize| {
                let coordinate = ((position as f64 + 0.5) / blob.im_scale - 0.5).clamp(0.0, len as f64 - 1.0);
                let low = (coordinate.floor() as usize).min(len - 1);
                (low, (low + 1).min(len - 1), coordinate - low as f64)
            };
            for y in 0..blob.height {
                let (y0, y1, wy) = mix(y, height);
                for x in 0..blob.width {
                    let (x0, x1, wx) = mix(x, width);
                    for c in 0..3 {
                        let row = |y| source(y, x0, c) * (1.0 - wx) + source(y, x1, c) * wx;
                        let expected = row(y0) * (1.0 - wy) + row(y1) * wy;
                        let found = f64::from(blob.data[(y * blob.width + x) * 3 + c]);
                        // Four f32 products of up to 250 grey levels, each off by at most 2^-24 of itself.
                        assert!((found - expected).abs() < 1e-4, "{short_side} {y} {x} {c}");
                    }
                }
            }
        }
    }
}
