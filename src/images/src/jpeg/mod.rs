//! JPEG in memory, strictly: a picture that is cut short is an error and not grey from somewhere on.

mod entropy;
mod frame;
mod tables;
#[cfg(test)]
mod tests;
mod walk;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::{Error, resize};

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The longest side, in pixels.
    pub max_side: u32,
    /// The most memory for the decoder and the pixels, in bytes.
    pub max_bytes: u64,
    /// Take what is damaged as far as it goes, and grey from there.
    pub lenient: bool,
    /// The pixels will be turned as [`Decoded::orientation`] says, which takes a second copy of them.
    pub upright: bool,
}

/// A decoded picture.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// As stored, in pixels.
    pub width: u32,
    /// As stored, in pixels.
    pub height: u32,
    /// EXIF orientation, 1 (upright) to 8. The pixels are not turned.
    pub orientation: u8,
    /// The end-of-image marker is there. Some cameras leave it out; of a file it says that its end is missing.
    pub ended: bool,
    /// What is wrong; only with [`Rules::lenient`].
    pub damage: Option<String>,
}

/// Decodes a JPEG to red, green, blue; `pixels` becomes `width` times `height` times 3 bytes long.
///
/// Baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK. Missing Huffman tables are the standard ones (ITU-T T.81,
/// Annex K.3). Bytes behind the end-of-image marker are not looked at.
///
/// # Errors
/// No JPEG of these kinds; larger than `rules` allow; damaged; or, unless lenient, a scan that ends early, restart
/// intervals that are missing, progressive scans that never come. On an error `pixels` may hold anything, and as much
/// memory as the picture would have taken.
pub fn decode_into(jpeg: &[u8], rules: &Rules, pixels: &mut Vec<u8>) -> Result<Decoded, Error> {
    if !jpeg.starts_with(&[0xff, 0xd8]) {
        return Err(Error::Unsupported(format!(
            "is {} and no JPEG",
            crate::found(&jpeg[..jpeg.len().min(64)])
        )));
    }
    let strict = decode(jpeg, &Rules { lenient: false, ..*rules }, pixels);
    match strict {
        Err(error @ (Error::Short(_) | Error::Damaged(_))) if rules.lenient => {
            let decoded = decode(jpeg, rules, pixels)?;
            Ok(Decoded { damage: Some(error.to_string()), ..decoded })
        }
        strict => strict,
    }
}

fn decode(jpeg: &[u8], rules: &Rules, pixels: &mut Vec<u8>) -> Result<Decoded, Error> {
    let walked = walk::walk(jpeg, rules)?;
    let (width, height) = (walked.width, walked.height);
    let len = u64::from(width) * u64::from(height) * 3;
    let len = usize::try_from(len).map_err(|_| Error::TooLarge(format!("{width} x {height} pixels")))?;
    resize(pixels, len)?;
    let options = DecoderOptions::default()
        .set_strict_mode(!rules.lenient)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&walked.bytes), options);
    decoder
        .decode_into(pixels)
        .map_err(|error| Error::Damaged(format!("the JPEG's data are wrong or end early ({error})")))?;
    Ok(Decoded { width, height, orientation: walked.orientation, ended: walked.ended, damage: None })
}
