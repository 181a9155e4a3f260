//! PNG files, row by row.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use crate::error::{Error, resize, within};
use crate::orientation;
use crate::picture::Options;

/// Bytes for what lies beside the pixels: chunks and a row.
const MAX_BESIDE: usize = 16 << 20;

pub(crate) struct Decoded {
    pub(crate) size: (u32, u32),
    pub(crate) pixels: Vec<u8>,
    pub(crate) orientation: u8,
    pub(crate) damage: Option<String>,
}

fn open(bytes: &[u8], max_side: u32) -> Result<Reader<Cursor<&[u8]>>, Error> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_BESIDE });
    // Profiles and texts are not used, and may unpack to any size.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    // Before rows of that width are reserved.
    let (width, height) = decoder.read_header_info().map_err(refused)?.size();
    if width.max(height) > max_side {
        return Err(Error::TooLarge(format!("{width} x {height} pixels; the longest side is {max_side}")));
    }
    decoder.read_info().map_err(refused)
}

/// The orientation in the first eXIf chunk, which may stand before the pixels or behind them (PNG, third edition,
/// 11.3.4.5).
fn orientation_of(bytes: &[u8]) -> u8 {
    // Behind the signature, each chunk is the length of its data, its type, the data and a checksum of 4 bytes.
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&[a, b, c, d, ref kind @ ..], behind)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if kind == b"eXIf" {
            return behind.get(..length).map_or(1, orientation::of_exif);
        }
        rest = length.checked_add(4).and_then(|next| behind.get(next..)).unwrap_or_default();
    }
    1
}

pub(crate) fn decode(bytes: &[u8], options: &Options) -> Result<Decoded, Error> {
    let mut reader = open(bytes, options.max_side)?;
    let (width, height) = reader.info().size();
    let orientation = orientation_of(bytes);
    let interlaced = reader.info().interlaced;
    let stored = reader.output_buffer_size();
    let rgb = u64::from(width) * u64::from(height) * 3;
    let copies = if orientation::swaps(orientation) { 2 } else { 1 };
    let whole = if interlaced { stored.map_or(u64::MAX, |bytes| bytes as u64) } else { 0 };
    let needed = (rgb * copies).max(rgb.saturating_add(whole)).saturating_add(bytes.len() as u64);
    within(width, height, needed, options.max_bytes)?;

    let (color, depth) = reader.output_color_type();
    let mut pixels = Vec::new();
    resize(&mut pixels, rgb as usize)?;
    let mut read = || -> Result<(), Error> {
        if interlaced {
            // Its passes are spread over the whole picture.
            let mut stored = Vec::new();
            resize(&mut stored, whole as usize)?;
            let outcome = reader.next_frame(&mut stored).map_err(refused);
            rgb8(color, depth, &stored, &mut pixels);
            outcome?;
        } else {
            for to in pixels.chunks_exact_mut(width as usize * 3) {
                let row = reader.next_row().map_err(refused)?;
                let row = row.ok_or_else(|| Error::Short("the PNG's rows are missing".to_string()))?;
                rgb8(color, depth, row.data(), to);
            }
        }
        reader.finish().map_err(refused)
    };
    let damage = match read() {
        Err(error) if !options.lenient => return Err(error),
        outcome => outcome.err().map(|error| error.to_string()),
    };
    Ok(Decoded { size: (width, height), pixels, orientation, damage })
}

/// Pixels as stored (16 bits big-endian) to red, green, blue.
fn rgb8(color: ColorType, depth: BitDepth, from: &[u8], to: &mut [u8]) {
    let to = to.chunks_exact_mut(3);
    let channels = color.samples();
    let grey = channels < 3;
    if depth == BitDepth::Sixteen {
        let eight = |from: &[u8], channel: usize| {
            let sample = u32::from(from[channel * 2]) * 256 + u32::from(from[channel * 2 + 1]);
            // Rounded: 65535 = 255 * 257.
            ((sample + 128) / 257) as u8
        };
        for (from, to) in from.chunks_exact(channels * 2).zip(to) {
            to.copy_from_slice(&[0, 1, 2].map(|channel| eight(from, if grey { 0 } else { channel })));
        }
        return;
    }
    match channels {
        1 | 2 => from.chunks_exact(channels).zip(to).for_each(|(from, to)| to.fill(from[0])),
        3 => from.chunks_exact(3).zip(to).for_each(|(from, to)| to.copy_from_slice(from)),
        _ => from.chunks_exact(4).zip(to).for_each(|(from, to)| to.copy_from_slice(&from[..3])),
    }
}

fn refused(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Short("the PNG ends early".to_string())
        }
        DecodingError::LimitsExceeded => {
            Error::TooLarge(format!("what lies beside the PNG's pixels takes more than {MAX_BESIDE} bytes"))
        }
        error => Error::Damaged(format!("PNG: {error}")),
    }
}
