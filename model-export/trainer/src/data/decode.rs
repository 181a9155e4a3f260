//! Picture files as pixels, as every command of `frcnn` reads them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use frcnn_core::Printable;
use frcnn_images::Options;
use image::RgbImage;

use crate::console;
use crate::error::Error;

/// `--lenient`, of the whole command.
static LENIENT: AtomicBool = AtomicBool::new(false);

/// Photos that are cut short or damaged are taken as far as they go from here on.
pub(crate) fn be_lenient() {
    LENIENT.store(true, Ordering::Relaxed);
}

/// Decodes a picture by its content and turns it upright.
pub(crate) fn decode(path: &Path) -> Result<RgbImage, Error> {
    read(path).map(|(image, _)| image)
}

/// Width and height of a picture, all of which can be decoded. What is wrong with one that is taken all the same is said
/// here and never again, as training reads it many times.
pub(super) fn inspect(path: &Path) -> Result<(u32, u32), Error> {
    let (image, damage) = read(path)?;
    if let Some(damage) = damage {
        console::warning(format_args!("{}: {damage}; taken as far as it goes", Printable(path.display())));
    }
    Ok(image.dimensions())
}

fn read(path: &Path) -> Result<(RgbImage, Option<String>), Error> {
    let options = Options::default().lenient(LENIENT.load(Ordering::Relaxed));
    let picture = frcnn_images::open(path, &options).map_err(|error| match error {
        frcnn_images::Error::Short(_) | frcnn_images::Error::Damaged(_) => {
            Error::file(path, format!("{error}; --lenient takes it as far as it goes"))
        }
        error => Error::file(path, error),
    })?;
    let (width, height) = (picture.width, picture.height);
    let image = RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| Error::file(path, format!("is not {width} x {height} pixels")))?;
    Ok((image, picture.damage))
}
