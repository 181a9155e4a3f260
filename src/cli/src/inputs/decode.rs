//! A JPEG or PNG file as upright red, green, blue pixels.

use std::fmt;
use std::path::Path;

use frcnn_core::Printable;
use frcnn_images::command;
use image::RgbImage;

use crate::console;
use crate::error::Error;

/// What to do with damaged photos.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PhotoArgs {
    /// Take photos that are cut short or damaged as far as they go, with a warning, instead of refusing them
    #[arg(long)]
    lenient: bool,
}

impl PhotoArgs {
    /// Does so from here on.
    pub(crate) fn apply(self) {
        if self.lenient {
            command::be_lenient();
        }
    }
}

impl fmt::Display for PhotoArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lenient { "given" } else { "not given" })
    }
}

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
