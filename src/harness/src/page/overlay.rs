//! Pictures with boxes over them.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};

use crate::Error;

/// An image inside a page.
pub(super) struct Picture {
    /// A `data:` address.
    pub(super) address: String,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// One box in image pixels, and what to write at it.
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) label: String,
    /// A class of the style sheet.
    pub(super) style: &'static str,
}

impl Picture {
    /// Of pixels, to be shown as `size`.
    pub(super) fn of(pixels: &RgbImage, (width, height): (u32, u32)) -> Result<Picture, Error> {
        let mut png = Cursor::new(Vec::new());
        pixels.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::Draw(error.to_string()))?;
        Ok(Picture { address: address("png", png.get_ref()), width, height })
    }

    /// Of a JPEG or PNG file, as it is.
    pub(super) fn file(path: &Path) -> Result<Picture, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error::file(path, error))?;
        let format = image::guess_format(&bytes).map_err(|error| Error::file(path, error))?;
        let kind = if format == ImageFormat::Png { "png" } else { "jpeg" };
        let pixels = image::load_from_memory(&bytes).map_err(|error| Error::file(path, error))?;
        Ok(Picture { address: address(kind, &bytes), width: pixels.width(), height: pixels.height() })
    }
}

fn address(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}
