//! A JPEG or PNG file as upright red, green, blue pixels.

use std::path::Path;

use frcnn_core::Printable;
use frcnn_images::command;
use image::RgbImage;

use crate::console;
use crate::error::Error;

/// Decodes by content, whatever the file is called, and turns the image as its EXIF orientation says. With `--lenient`,
/// each time a damaged picture is read there is a warning.
pub(crate) fn rgb8(path: &Path) -> Result<RgbImage, Error> {
    let picture = command::open(path).map_err(|problem| Error::file(path, problem))?;
    if let Some(damage) = picture.damage {
        console::warning(format_args!("{}: {damage}", Printable(path.display())));
    }
    let (width, height) = (picture.width, picture.height);
    RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| Error::file(path, format!("is not {width} x {height} pixels")))
}
