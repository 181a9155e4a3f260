//! Pictures as JPEG: whole, or a part.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::thumbnail;
use image::{ImageError, RgbImage};

use crate::event::Picture;

/// Of 100.
const QUALITY: u8 = 80;

/// The whole picture, made smaller where its longer side exceeds `longest` pixels.
///
/// # Errors
/// The picture has no pixels, or fewer than it says, or a side of more than 65,535.
pub(crate) fn whole(picture: &Picture, longest: u32) -> Result<Vec<u8>, ImageError> {
    part(picture, [0, 0, picture.width, picture.height], longest)
}

/// The part from `x`, `y` of `width` and `height` pixels: as much of it as lies within.
///
/// # Errors
/// As [`whole`], or nothing lies within.
pub(crate) fn part(
    picture: &Picture,
    [x, y, width, height]: [u32; 4],
    longest: u32,
) -> Result<Vec<u8>, ImageError> {
    let empty = || {
        let kind = image::error::ParameterErrorKind::DimensionMismatch;
        ImageError::Parameter(image::error::ParameterError::from_kind(kind))
    };
    let (x, y) = (x.min(picture.width), y.min(picture.height));
    let (width, height) = (width.min(picture.width - x), height.min(picture.height - y));
    let row = 3 * picture.width as usize;
    if width == 0 || height == 0 || picture.rgb.len() != row * picture.height as usize {
        return Err(empty());
    }
    let rows = picture.rgb.chunks_exact(row).skip(y as usize).take(height as usize);
    let columns = 3 * x as usize..3 * (x + width) as usize;
    let pixels: Vec<u8> = rows.flat_map(|row| &row[columns.clone()]).copied().collect();
    let mut pixels = RgbImage::from_raw(width, height, pixels).ok_or_else(empty)?;
    let longer = width.max(height);
    if longer > longest {
        let short = |side: u32| (u64::from(side) * u64::from(longest) / u64::from(longer)).max(1) as u32;
        pixels = thumbnail(&pixels, short(width), short(height));
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&pixels)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Picture {
        let pixel = |i: u32| [(i % width) as u8, (i / width) as u8, 128];
        Picture { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
    }

    #[test]
    fn parts_are_where_they_should_be() {
        let bytes = part(&picture(200, 100), [150, 40, 100, 20], 640).unwrap();
        let image = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (50, 20));
        let [red, green, blue] = image.get_pixel(10, 10).0;
        assert!(
            red.abs_diff(160) < 8 && green.abs_diff(50) < 8 && blue.abs_diff(128) < 8,
            "{red} {green} {blue}"
        );
    }

    #[test]
    fn large_pictures_are_made_smaller() {
        let image = image::load_from_memory(&whole(&picture(250, 100), 100).unwrap()).unwrap();
        assert_eq!((image.width(), image.height()), (100, 40));
    }

    #[test]
    fn nothing_is_an_error() {
        part(&picture(10, 10), [10, 0, 5, 5], 100).unwrap_err();
        whole(&Picture { width: 4, height: 4, rgb: vec![0; 5] }, 100).unwrap_err();
        whole(&Picture { width: 0, height: 0, rgb: Vec::new() }, 100).unwrap_err();
    }
}
