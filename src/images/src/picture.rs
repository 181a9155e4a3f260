//! Files and bytes as pictures.

use std::io::{Read, Seek};
use std::path::Path;

use crate::error::Error;
use crate::format::{self, Format};
use crate::png::{self, Decoded};
use crate::{jpeg, orientation};

/// How pictures are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Take a file that is cut short or damaged as far as it goes: the rest is grey or black, and
    /// [`Picture::damage`] says what is wrong with it.
    pub lenient: bool,
    /// The most memory that one picture may take, in bytes: the file, its decoder and its pixels.
    pub max_bytes: u64,
    /// The longest side, in pixels.
    pub max_side: u32,
}

impl Default for Options {
    /// Strict, 1 GiB, 65535 pixels.
    fn default() -> Options {
        Options { lenient: false, max_bytes: 1 << 30, max_side: 65_535 }
    }
}

impl Options {
    /// The same, lenient or not.
    #[must_use]
    pub fn lenient(self, lenient: bool) -> Options {
        Options { lenient, ..self }
    }
}

/// An upright picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// Red, green, blue of each pixel, rows from the top: `height` times `width` times 3 bytes.
    pub pixels: Vec<u8>,
    /// A PNG, whose pixels are those that were written; a JPEG's are near them.
    pub lossless: bool,
    /// What is wrong with a picture that was taken as far as it goes; only where [`Options::lenient`] was set.
    pub damage: Option<String>,
}

/// Reads a picture file.
///
/// # Errors
/// The path names no regular file, the file cannot be read, or see [`decode`].
pub fn open(path: &Path, options: &Options) -> Result<Picture, Error> {
    decode(&read(path, options.max_bytes)?, options)
}

/// Decodes a JPEG or PNG file in memory and turns it upright, as its EXIF orientation says.
///
/// 16-bit channels are rounded to 8, grey becomes three equal channels, transparency is dropped (the colour below it
/// stays), of an animated PNG the default picture is taken. Colour profiles are not applied.
///
/// # Errors
/// Another format; a kind of JPEG that is not read; more memory or longer sides than `options` allow; damage, or an
/// early end, unless lenient.
pub fn decode(bytes: &[u8], options: &Options) -> Result<Picture, Error> {
    match format::of(bytes)? {
        Format::Jpeg => {
            let rules = jpeg::Rules { lenient: options.lenient, ..rules(bytes, options) };
            let mut pixels = Vec::new();
            let decoded = jpeg::decode_into(bytes, &rules, &mut pixels)?;
            let mut damage = decoded.damage;
            if !decoded.ended {
                let problem = Error::Short("the JPEG has no end-of-image marker".to_string());
                if !options.lenient {
                    return Err(problem);
                }
                damage = damage.or(Some(problem.to_string()));
            }
            let size = (decoded.width, decoded.height);
            let (pixels, width, height) = orientation::apply(decoded.orientation, pixels, size)?;
            Ok(Picture { width, height, pixels, lossless: false, damage })
        }
        Format::Png => {
            let Decoded { size, pixels, orientation, damage } = png::decode(bytes, options)?;
            let (pixels, width, height) = orientation::apply(orientation, pixels, size)?;
            Ok(Picture { width, height, pixels, lossless: true, damage })
        }
    }
}

fn rules(bytes: &[u8], options: &Options) -> jpeg::Rules {
    let max_bytes = options.max_bytes.saturating_sub(bytes.len() as u64);
    jpeg::Rules { max_side: options.max_side, max_bytes, lenient: false, upright: true }
}

/// A regular file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let (mut file, length) = frcnn_files::open_regular(path)?;
    let mut start = Vec::new();
    (&mut file).take(64).read_to_end(&mut start)?;
    // A film of some gigabytes is named for what it is without being read.
    format::of(&start)?;
    if length > most {
        return Err(Error::TooLarge(format!(
            "has {length} bytes; the most that is read of a picture is {most}"
        )));
    }
    file.rewind()?;
    Ok(frcnn_files::read_exactly(file, length)?)
}
