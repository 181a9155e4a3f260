//! Image to blob: channel order, mean subtraction and the bilinear resize in one pass.
//!
//! For a blob pixel `x` the source coordinate is `(x + 1/2) / scale - 1/2` (half-pixel centres), and
//! the two nearest source pixels are mixed linearly, columns first, then rows; at the border the edge
//! pixel is repeated. This is OpenCV's `INTER_LINEAR` on a float image called with `fx = fy = im_scale`,
//! which is how the published system made its blobs; a called-for output size gives a slightly different scale for each
//! axis, which is how torchvision makes them. There is no antialiasing, which is why a general resizer does not serve here, and
//! none takes camera pixels with a stride and gives mean-subtracted floats without two more passes
//! over memory. torchvision's coordinates are f32, each rounded once, and so are they here for its networks: that moves values by
//! less than a hundredth of a grey level, and yet a detection in a hundred. What lies beyond the image, at the right and below, is 0.

use frcnn_bundle::{BlobFit, Resize};
use frcnn_core::{BBox, LinearTap, ShapeError};
use frcnn_files::try_resize;

use crate::area::Area;
use crate::boxes::to_blob;
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
    /// Rows and columns of the resized image, in the upper left corner.
    pub image: [usize; 2],
    /// Blob pixels per image pixel, down and to the right.
    pub scale: [f64; 2],
}

impl ImageBlob {
    /// A blob made elsewhere, wholly of an image that was resized by `im_scale` blob pixels to a pixel.
    pub fn new(data: Vec<f32>, height: usize, width: usize, im_scale: f64) -> ImageBlob {
        ImageBlob { data, height, width, image: [height, width], scale: [im_scale; 2] }
    }

    /// Blob pixels per image pixel: of the published systems, both ways; of torchvision's, down.
    pub fn im_scale(&self) -> f64 {
        self.scale[0]
    }

    /// A box of the image's pixels in those of the blob.
    #[must_use]
    pub fn to_blob(&self, bbox: &BBox) -> BBox {
        to_blob(bbox, self.scale)
    }
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
    /// Makes the blob of `frame` as `fit` says; `means` are of blue, green and red.
    pub(crate) fn run(
        &mut self,
        frame: &Frame,
        means: &[f32; 3],
        fit: &BlobFit,
        blob: &mut ImageBlob,
    ) -> Result<(), Error> {
        let [height, width] = fit.blob;
        (blob.height, blob.width, blob.image, blob.scale) = (height, width, fit.image, fit.scale);
        let values = height.saturating_mul(width).saturating_mul(3);
        try_resize(&mut blob.data, values, 0.0).map_err(Error::memory("the image blob"))?;
        self.fill(frame, means, fit, &mut blob.data)?;
        Ok(())
    }

    /// The same into `blob`, `[H, W, 3]`.
    pub(crate) fn fill(
        &mut self,
        frame: &Frame,
        means: &[f32; 3],
        fit: &BlobFit,
        blob: &mut [f32],
    ) -> Result<(), ShapeError> {
        let (area, width) = (Area::whole(fit.image), fit.blob[1].max(1));
        self.fill_area(frame, means, fit, &area, blob)?;
        let (above, below) = blob.split_at_mut(area.rows.len() * width * 3);
        for row in above.chunks_exact_mut(width * 3) {
            row[area.columns.len() * 3..].fill(0.0);
        }
        below.fill(0.0);
        Ok(())
    }

    /// The same, of which it writes only the pixels of `area`, which lies in the image.
    pub(crate) fn fill_area(
        &mut self,
        frame: &Frame,
        means: &[f32; 3],
        fit: &BlobFit,
        area: &Area,
        blob: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [height, width] = fit.blob;
        ShapeError::check("image blob", height.saturating_mul(width).saturating_mul(3), blob.len())?;
        self.columns.clear();
        self.columns.extend(area.columns.clone().map(|x| tap(x, fit, 1, frame.width() as usize)));
        for row in &mut self.rows {
            row.source = None;
        }
        let levels = &levels(means);
        let rows = blob.chunks_exact_mut(width * 3).enumerate();
        for (y, out) in rows.skip(area.rows.start).take(area.rows.len()) {
            let tap = tap(y, fit, 0, frame.height() as usize);
            self.resize_rows(frame, levels, tap);
            let [low, high] = &self.rows;
            let out = out.iter_mut().skip(area.columns.start * 3);
            for ((out, low), high) in out.zip(&low.data).zip(&high.data) {
                *out = tap.mix(*low, *high);
            }
        }
        Ok(())
    }

    /// Makes the two kept rows those of `tap`. Going down, the lower one usually becomes the upper one.
    fn resize_rows(&mut self, frame: &Frame, levels: &Levels, tap: LinearTap) {
        if self.rows[1].source == Some(tap.low) {
            self.rows.swap(0, 1);
        }
        for (row, source) in self.rows.iter_mut().zip([tap.low, tap.high]) {
            if row.source != Some(source) {
                row.source = Some(source);
                let pixels = frame.row(source);
                match frame.format().bytes() {
                    1 => resize_row::<1>(frame, pixels, &self.columns, levels, &mut row.data),
                    3 => resize_row::<3>(frame, pixels, &self.columns, levels, &mut row.data),
                    _ => resize_row::<4>(frame, pixels, &self.columns, levels, &mut row.data),
                }
            }
        }
    }
}

/// Where blob pixel `position` of an axis lies in the frame's, of `len` pixels.
fn tap(position: usize, fit: &BlobFit, axis: usize, len: usize) -> LinearTap {
    let centre = position as f64 + 0.5;
    LinearTap::at(
        match fit.resize {
            Resize::Published => centre / fit.scale[axis] - 0.5,
            Resize::Torchvision | Resize::Detectron2 => {
                let step = len as f32 / fit.image[axis].max(1) as f32;
                // One rounding, as of a fused multiply-add: in f64 the product is exact.
                f64::from((f64::from(step) * centre - 0.5) as f32)
            }
        },
        len,
    )
}

/// The pixels of the resized image that read any of the frame's in `area`.
pub(crate) fn blob_area(area: &Area, fit: &BlobFit) -> Area {
    // One more on each side is cheaper than to ask what rounding does.
    let axis = |pixels: &std::ops::Range<usize>, axis: usize| {
        let (scale, len) = (fit.scale[axis], fit.image[axis]);
        let start = (pixels.start as f64 - 0.5) * scale - 2.0;
        let end = (pixels.end as f64 + 0.5) * scale + 2.0;
        (start.max(0.0) as usize).min(len)..(end.ceil() as usize).min(len)
    };
    Area::new(axis(&area.rows, 0), axis(&area.columns, 1))
}

/// What each level of grey of blue, green and red is less the mean.
type Levels = [[f32; 256]; 3];

fn levels(means: &[f32; 3]) -> Levels {
    means.map(|mean| std::array::from_fn(|level| level as f32 - mean))
}

/// A row of pixels of so many bytes.
fn resize_row<const BYTES: usize>(
    frame: &Frame,
    pixels: &[u8],
    columns: &[LinearTap],
    levels: &Levels,
    out: &mut Vec<f32>,
) {
    let offsets = frame.format().bgr_offsets();
    let (pixels, _) = pixels.as_chunks::<BYTES>();
    out.resize(3 * columns.len(), 0.0);
    for (out, tap) in out.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
        let (low, high) = (&pixels[tap.low], &pixels[tap.high]);
        *out = std::array::from_fn(|c| {
            let value = |pixel: &[u8; BYTES]| levels[c][usize::from(pixel[offsets[c]])];
            tap.mix(value(low), value(high))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PixelFormat;
    use frcnn_bundle::Manifest;

    fn run(frame: &Frame, short_side: u32) -> ImageBlob {
        run_with(frame, short_side, &Manifest::new(Vec::new()))
    }

    fn run_with(frame: &Frame, short_side: u32, manifest: &Manifest) -> ImageBlob {
        let fit = manifest.fit(frame.height(), frame.width(), short_side);
        // Not empty before.
        let mut blob = ImageBlob::new(vec![7.0; 9], 1, 3, 1.0);
        Preprocessor::default().run(frame, &[1.0, 2.0, 3.0], &fit, &mut blob).unwrap();
        assert_eq!((blob.image, [blob.height, blob.width], blob.scale), (fit.image, fit.blob, fit.scale));
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
        assert_eq!((blob.height, blob.width, blob.im_scale()), (4, 4, 2.0));
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
        let mut torchvision = Manifest::new(Vec::new());
        (torchvision.resize, torchvision.pad_multiple) = (Resize::Torchvision, 16);
        let mut differ = false;
        let cases = [7, 23, 24, 51, 100].map(|short| [(short, false), (short, true)]);
        for (short_side, pads) in cases.into_iter().flatten() {
            let published = Manifest::new(Vec::new());
            let blob = run_with(&frame, short_side, if pads { &torchvision } else { &published });
            assert!(pads || blob.scale[0] == blob.scale[1]);
            differ |= blob.scale[0] != blob.scale[1] && blob.image != [blob.height, blob.width];
            let source = |y: usize, x: usize, c: usize| {
                f64::from(data[(y * width + x) * 3 + 2 - c]) - [1.0, 2.0, 3.0][c]
            };
            let mix = |position: usize, len: usize, scale: f64| {
                let coordinate = ((position as f64 + 0.5) / scale - 0.5).clamp(0.0, len as f64 - 1.0);
                let low = (coordinate.floor() as usize).min(len - 1);
                (low, (low + 1).min(len - 1), coordinate - low as f64)
            };
            for y in 0..blob.height {
                let (y0, y1, wy) = mix(y, height, blob.scale[0]);
                for x in 0..blob.width {
                    let (x0, x1, wx) = mix(x, width, blob.scale[1]);
                    for c in 0..3 {
                        let row = |y| source(y, x0, c) * (1.0 - wx) + source(y, x1, c) * wx;
                        let is_image = y < blob.image[0] && x < blob.image[1];
                        let expected = if is_image { row(y0) * (1.0 - wy) + row(y1) * wy } else { 0.0 };
                        let found = f64::from(blob.data[(y * blob.width + x) * 3 + c]);
                        // Four f32 products of up to 250 grey levels, each off by at most 2^-24 of itself; and coordinates
                        // of torchvision's below 32, off by 2^-20 of a pixel, in which grey changes by up to 250.
                        let tolerance = if pads { 6e-4 } else { 1e-4 };
                        assert!((found - expected).abs() < tolerance, "{short_side} {y} {x} {c}");
                    }
                }
            }
        }
        assert!(differ);
    }
}
