//! Picture files as pixels, as every command of `frcnn` reads them.

use std::path::Path;

use frcnn_core::Printable;
use frcnn_images::command;
use image::RgbImage;

use crate::console;
use crate::error::Error;

/// Decodes a picture by its content and turns it upright.
pub(crate) fn decode(path: &Path) -> Result<RgbImage, Error> {
    read(path).map(|(image, _)| image)
}

/// Width and height of a picture, all of which can be decoded. What is wrong with one that is taken all the same is said
/// here and never again, as training reads it many times.
pub(super) fn inspect(path: &Path) -> Result<(u32, u32), Error> {
    let (image, damage) = read(path)?;
    if let Some(damage) = damage {
        console::warning(format_args!("{}: {damage}", Printable(path.display())));
    }
    Ok(image.dimensions())
}

/// The picture, and what is wrong with it.
fn read(path: &Path) -> Result<(RgbImage, Option<String>), Error> {
    let picture = command::open(path).map_err(|problem| Error::file(path, problem))?;
    let (width, height) = (picture.width, picture.height);
    let image = RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| Error::file(path, format!("is not {width} x {height} pixels")))?;
    Ok((image, picture.damage))
}
