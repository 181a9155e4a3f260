//! Images as Python has them.

use std::path::{Path, PathBuf};

use frcnn::{Frame, PixelFormat};
use image::RgbImage;
use serde::Deserialize;

use crate::call::{Buffer, Call};
use crate::error::{Failure, Kind};

/// An image among the arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Image {
    /// A JPEG or PNG file.
    Path(PathBuf),
    /// What such a file holds, in an array of bytes.
    Held(usize),
    /// An array of u8, `[H, W]`, `[H, W, 3]` or `[H, W, 4]`, whose rows are contiguous, and the order of its channels: `rgb` or `bgr`.
    Array(usize, String),
}

impl Image {
    /// Runs `work` on the image.
    pub(crate) fn with_frame<T>(
        &self,
        call: &Call,
        work: impl FnOnce(&Frame) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self {
            Image::Path(path) => work(&of_picture(path, &open(path)?)?).map_err(|failure| failure.of(path)),
            Image::Held(number) => {
                let of_image = |error: frcnn_images::Error| Failure::new(Kind::Image, error);
                let options = frcnn_images::Options::default();
                let picture = frcnn_images::decode(call.array(*number)?.bytes, &options).map_err(of_image)?;
                let frame = Frame::rgb8(&picture.pixels, picture.width, picture.height);
                work(&frame.map_err(frcnn::Error::from)?)
            }
            Image::Array(number, channels) => work(&of_array(call.array(*number)?, channels)?),
        }
    }

    /// Red, green, blue pixels of the image.
    pub(crate) fn pixels(&self, call: &Call) -> Result<RgbImage, Failure> {
        self.with_frame(call, |frame| Ok(rgb(frame)))
    }

    /// What the image is called.
    pub(crate) fn name(&self) -> String {
        match self {
            Image::Path(path) => path.display().to_string(),
            Image::Held(_) | Image::Array(..) => "image".to_string(),
        }
    }
}

/// Red, green, blue pixels of a file.
pub(crate) fn of_file(path: &Path) -> Result<RgbImage, Failure> {
    Ok(rgb(&of_picture(path, &open(path)?)?))
}

fn open(path: &Path) -> Result<frcnn_images::Picture, Failure> {
    frcnn_images::open(path, &frcnn_images::Options::default())
        .map_err(|error| Failure::file(Kind::Image, path, error))
}

fn of_picture<'a>(path: &Path, picture: &'a frcnn_images::Picture) -> Result<Frame<'a>, Failure> {
    Frame::rgb8(&picture.pixels, picture.width, picture.height)
        .map_err(|error| Failure::file(Kind::Image, path, frcnn::Error::from(error)))
}

/// An array's memory as it lies.
fn of_array<'a>(array: &Buffer<'a>, channels: &str) -> Result<Frame<'a>, Failure> {
    let is_rgb = match channels {
        "rgb" => true,
        "bgr" => false,
        _ => {
            return Err(Failure::new(
                Kind::Option,
                format_args!("channels is {channels:?}; it is rgb or bgr"),
            ));
        }
    };
    let format = match (&array.shape[..], is_rgb) {
        ([_, _], _) => PixelFormat::Gray8,
        ([_, _, 3], true) => PixelFormat::Rgb8,
        ([_, _, 3], false) => PixelFormat::Bgr8,
        ([_, _, 4], true) => PixelFormat::Rgba8,
        ([_, _, 4], false) => PixelFormat::Bgra8,
        (shape, _) => {
            let problem = format!("an image has shape [H, W, 3], [H, W, 4] or [H, W], not {shape:?}");
            return Err(Failure::new(Kind::Option, problem));
        }
    };
    let (&[height, width, ..], &[stride, ref within @ ..]) = (&array.shape[..], &array.strides[..]) else {
        return Err(Failure::new(Kind::Option, "an image has rows and columns"));
    };
    let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let expected: &[usize] = if format == PixelFormat::Gray8 { &[1] } else { &[format.bytes(), 1] };
    // The step between columns counts only where there are several.
    let contiguous = if width > 1 { within == expected } else { within.get(1..) == expected.get(1..) };
    if array.format != "B" || !contiguous {
        return Err(Failure::new(
            Kind::Any,
            "the array is none of uint8 with rows of pixels one behind the other",
        ));
    }
    let stride = if height > 1 { stride } else { width * format.bytes() };
    Frame::new(array.bytes, side(width), side(height), stride, format)
        .map_err(|error| frcnn::Error::from(error).into())
}

/// Red, green, blue pixels of a frame.
pub(crate) fn rgb(frame: &Frame) -> RgbImage {
    let [blue, green, red] = frame.format().bgr_offsets();
    let bytes = frame.format().bytes();
    let mut pixels = Vec::with_capacity(frame.width() as usize * frame.height() as usize * 3);
    for y in 0..frame.height() as usize {
        let row = frame.row(y).chunks_exact(bytes);
        pixels.extend(
            row.flat_map(|pixel| [red, green, blue].map(|offset| pixel.get(offset).copied().unwrap_or(0))),
        );
    }
    RgbImage::from_raw(frame.width(), frame.height(), pixels).unwrap_or_default()
}
