//! A JPEG or PNG file as upright red, green, blue pixels.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use frcnn::Frame;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, ImageResult, Limits, RgbImage};

use crate::error::Error;

/// A file of a few bytes may claim any size: no image may need more memory than this.
const MAX_BYTES: u64 = 1 << 30;

/// Decodes by content, whatever the file is called, and turns the image as its EXIF orientation says.
///
/// 16-bit channels are rounded to 8, grey becomes three equal channels, transparency is dropped.
pub(crate) fn rgb8(path: &Path) -> Result<RgbImage, Error> {
    let file = File::open(path).map(BufReader::new);
    let reader = file.and_then(|file| ImageReader::new(file).with_guessed_format());
    let mut reader = reader.map_err(|error| Error::file(path, error))?;
    if reader.format().is_none() {
        return Err(Error::file(path, "neither a JPEG nor a PNG file"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(Frame::MAX_SIDE);
    limits.max_image_height = Some(Frame::MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    let decode = || -> ImageResult<RgbImage> {
        let mut decoder = reader.into_decoder()?;
        limits.reserve(decoder.total_bytes())?;
        // Damaged metadata does not make the pixels wrong.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image.into_rgb8())
    };
    decode().map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Luma, Rgba};
    use std::io::Cursor;

    fn decoded(name: &str, bytes: &[u8]) -> Result<RgbImage, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        rgb8(&path)
    }

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn sixteen_bit_grey_and_transparency_become_rgb8() {
        let grey = image::ImageBuffer::from_pixel(3, 2, Luma([0x8080u16]));
        let image = decoded("x.png", &encoded(DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
        assert_eq!((image.dimensions(), image.get_pixel(2, 1).0), ((3, 2), [0x80; 3]));

        let clear = image::RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        let image = decoded("x.png", &encoded(DynamicImage::ImageRgba8(clear), ImageFormat::Png)).unwrap();
        assert_eq!(image.get_pixel(0, 0).0, [10, 20, 30]);
    }

    #[test]
    fn the_content_decides_and_not_the_name() {
        let png = encoded(DynamicImage::new_rgb8(4, 5), ImageFormat::Png);
        assert_eq!(decoded("photo.jpg", &png).unwrap().dimensions(), (4, 5));
        let error = decoded("photo.jpg", b"hello, this is no picture").unwrap_err().to_string();
        assert!(error.ends_with("photo.jpg: neither a JPEG nor a PNG file"), "{error}");
    }

    /// Orientation 6: the camera was turned, the stored row 0 is the right side of the scene.
    #[test]
    fn exif_orientation_is_applied() {
        let jpeg = encoded(DynamicImage::new_rgb8(16, 8), ImageFormat::Jpeg);
        let exif: &[u8] = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut turned = jpeg[..2].to_vec();
        turned.extend([0xff, 0xe1, 0, (exif.len() + 2) as u8]);
        turned.extend(exif);
        turned.extend(&jpeg[2..]);
        assert_eq!(decoded("a.jpg", &jpeg).unwrap().dimensions(), (16, 8));
        assert_eq!(decoded("a.jpg", &turned).unwrap().dimensions(), (8, 16));
    }

    #[test]
    fn an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        let mut png = encoded(DynamicImage::new_luma8(1, 1), ImageFormat::Png);
        // Width and height of the header chunk, whose checksum must match again.
        png[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        png[25] = 2;
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decoded("bomb.png", &png).unwrap_err().to_string();
        assert!(error.to_lowercase().contains("limit") || error.to_lowercase().contains("memory"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(
                crc ^ u32::from(byte),
                |crc, _| {
                    if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
                },
            )
        })
    }
}
