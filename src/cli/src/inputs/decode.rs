//! A JPEG or PNG file as upright red, green, blue pixels.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use frcnn_core::Printable;
use frcnn_images::Options;
use image::RgbImage;

use crate::console;
use crate::error::Error;

/// `--lenient`, of the whole command.
static LENIENT: AtomicBool = AtomicBool::new(false);

/// Photos that are cut short or damaged are taken as far as they go from here on, with a warning for each.
pub(crate) fn be_lenient() {
    LENIENT.store(true, Ordering::Relaxed);
}

/// Decodes by content, whatever the file is called, and turns the image as its EXIF orientation says.
pub(crate) fn rgb8(path: &Path) -> Result<RgbImage, Error> {
    let options = Options::default().lenient(LENIENT.load(Ordering::Relaxed));
    let picture = frcnn_images::open(path, &options).map_err(|error| match error {
        frcnn_images::Error::Short(_) | frcnn_images::Error::Damaged(_) => {
            Error::file(path, format!("{error}; --lenient takes it as far as it goes"))
        }
        error => Error::file(path, error),
    })?;
    if let Some(damage) = picture.damage {
        console::warning(format_args!("{}: {damage}; taken as far as it goes", Printable(path.display())));
    }
    let (width, height) = (picture.width, picture.height);
    RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| Error::file(path, format!("is not {width} x {height} pixels")))
}
