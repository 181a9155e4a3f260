//! The image that is worked on: small enough, and red, green, blue.

use std::borrow::Cow;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use frcnn_core::{BBox, Frame, PixelFormat};

/// Wider images are worked on at this width, as in the published system.
const MAX_WIDTH: u32 = 500;
/// Where the image would still be taller than this, it is worked on at this height: time and memory stay bounded.
const MAX_HEIGHT: u32 = 1500;

/// An image at working size, and the way back.
pub(super) struct Working {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Red, green, blue, row by row.
    pub(super) rgb: Vec<u8>,
    frame: (u32, u32),
}

impl Working {
    /// Shrinks a frame where it is too large: each pixel becomes the mean of those that it covers, weighted by distance.
    pub(super) fn new(frame: &Frame) -> Working {
        let (width, height) = working_size(frame.width(), frame.height());
        let pixels = rgb(frame);
        let rgb = if (width, height) == (frame.width(), frame.height()) {
            pixels.into_owned()
        } else {
            shrink(&pixels, frame, width, height)
        };
        let frame = (frame.width(), frame.height());
        Working { width: width as usize, height: height as usize, rgb, frame }
    }

    /// A box of whole working pixels, corners inclusive, in the frame.
    pub(super) fn to_frame(&self, [x1, y1, x2, y2]: [u16; 4]) -> BBox {
        let edge = |at: u32, frame: u32, working: usize| {
            let scale = f64::from(frame) / working as f64;
            (f64::from(at) * scale).round()
        };
        let span = |low: u16, high: u16, frame: u32, working: usize| {
            let start = edge(low.into(), frame, working);
            // Corners are inclusive: the box ends before the edge of the next pixel.
            (start as f32, (edge(u32::from(high) + 1, frame, working) - 1.0).max(start) as f32)
        };
        let (x1, x2) = span(x1, x2, self.frame.0, self.width);
        let (y1, y2) = span(y1, y2, self.frame.1, self.height);
        BBox::new(x1, y1, x2, y2)
    }
}

fn working_size(width: u32, height: u32) -> (u32, u32) {
    let [w, h] = [f64::from(width), f64::from(height)];
    let scale = (f64::from(MAX_WIDTH) / w).min(f64::from(MAX_HEIGHT) / h).min(1.0);
    let side = |len: f64| ((len * scale).round() as u32).max(1);
    (side(w), side(h))
}

/// The frame's pixels, tightly packed; borrowed where they are so already.
fn rgb<'a>(frame: &Frame<'a>) -> Cow<'a, [u8]> {
    if let Some(packed) = frame.packed()
        && frame.format() == PixelFormat::Rgb8
    {
        return packed.into();
    }
    let [blue, green, red] = frame.format().bgr_offsets();
    let mut rgb = Vec::with_capacity(frame.width() as usize * frame.height() as usize * 3);
    for y in 0..frame.height() as usize {
        let pixels = frame.row(y).chunks_exact(frame.format().bytes());
        rgb.extend(pixels.flat_map(|pixel| [pixel[red], pixel[green], pixel[blue]]));
    }
    rgb.into()
}

fn shrink(pixels: &[u8], frame: &Frame, width: u32, height: u32) -> Vec<u8> {
    let mut small = TypedImage::<U8x3>::new(width, height);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    // It can only refuse a buffer of a wrong size, and this one is made here. Typed: the other resizer takes minutes to
    // compile for pixels that are never met.
    if let Ok(source) = TypedImageRef::<U8x3>::from_buffer(frame.width(), frame.height(), pixels) {
        let _ = Resizer::new().resize_typed(&source, &mut small, &options);
    }
    small.pixels().iter().flat_map(|pixel| pixel.0).collect()
}
