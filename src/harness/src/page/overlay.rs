//! Pictures with boxes over them.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};

use super::label::Place;
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
    /// Where the label is written, if there is room for one more.
    pub(super) place: Option<Place>,
}

impl Picture {
    /// Of pixels, to be shown as `size`.
    pub(super) fn of(pixels: &RgbImage, (width, height): (u32, u32)) -> Result<Picture, Error> {
        let mut png = Cursor::new(Vec::new());
        pixels.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::Draw(error.to_string()))?;
        Ok(Picture { address: address("png", png.get_ref()), width, height })
    }

    /// Of a picture file, upright as a detector sees it; of a damaged one what is there. Written anew: browsers do not
    /// agree on what to turn, and a page that is passed on does not tell where a photo was taken.
    pub(super) fn file(path: &Path) -> Result<Picture, Error> {
        let options = frcnn_images::Options::default().lenient(true);
        let picture = frcnn_images::open(path, &options).map_err(|error| Error::file(path, error))?;
        let (width, height, lossless) = (picture.width, picture.height, picture.lossless);
        let mut bytes = Vec::new();
        let written = if lossless {
            let encoder = PngEncoder::new(&mut bytes);
            encoder.write_image(&picture.pixels, width, height, ExtendedColorType::Rgb8)
        } else {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
            encoder.write_image(&picture.pixels, width, height, ExtendedColorType::Rgb8)
        };
        written.map_err(|error| Error::file(path, error))?;
        let kind = if lossless { "png" } else { "jpeg" };
        Ok(Picture { address: address(kind, &bytes), width, height })
    }
}

/// Of photos that are JPEG already: no difference is seen.
const QUALITY: u8 = 92;

fn address(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of the picture in an address.
    fn shown(picture: &Picture) -> RgbImage {
        let (_, data) = picture.address.split_once(",").unwrap();
        image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().into_rgb8()
    }

    #[test]
    fn files_are_shown_upright() {
        let folder = tempfile::tempdir().unwrap();
        // Red above blue; held so that the top is at the right of the file (6).
        let stored =
            RgbImage::from_fn(32, 16, |x, _| image::Rgb(if x < 16 { [250, 0, 0] } else { [0, 0, 250] }));
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut jpeg = Cursor::new(Vec::new());
        stored.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let segment = [&[0xff, 0xe1, 0, exif.len() as u8 + 2], &exif[..]].concat();
        // Called by another format's name.
        let path = folder.path().join("held.png");
        std::fs::write(&path, [&jpeg[..2], &segment, &jpeg[2..]].concat()).unwrap();
        let picture = Picture::file(&path).unwrap();
        assert_eq!((picture.width, picture.height), (16, 32));
        assert!(picture.address.starts_with("data:image/jpeg;"));
        let pixels = shown(&picture);
        assert_eq!(pixels.dimensions(), (16, 32));
        assert!(pixels.get_pixel(8, 4).0[0] > 200 && pixels.get_pixel(8, 28).0[2] > 200);

        let path = folder.path().join("lossless.jpg");
        stored.save_with_format(&path, ImageFormat::Png).unwrap();
        assert!(shown(&Picture::file(&path).unwrap()) == stored);

        std::fs::write(&path, "words").unwrap();
        let error = Picture::file(&path).err().unwrap().to_string();
        assert!(error.contains("lossless.jpg: is a text; supported are JPEG and PNG"), "{error}");
    }
}
