//! EXIF orientation: how a camera was held.
//!
//! Values 1 to 8 as in the EXIF standard (CIPA DC-008, tag 274): which side of the scene row 0 and column 0 show.

#[cfg(feature = "png")]
use crate::error::{Error, resize};

/// The orientation that a TIFF structure (an EXIF block without its `Exif\0\0`) states, 1 where it states none.
/// Damaged metadata does not make the pixels wrong.
pub(crate) fn of_exif(exif: &[u8]) -> u8 {
    read(exif).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

fn read(exif: &[u8]) -> Option<u8> {
    let little = match exif.get(..4)? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let u16_at = |at: usize| -> Option<u16> {
        let bytes = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| -> Option<u32> {
        let bytes = exif.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let ifd = usize::try_from(u32_at(4)?).ok()?;
    for index in 0..usize::from(u16_at(ifd)?) {
        let entry = ifd.checked_add(2)?.checked_add(index * 12)?;
        if u16_at(entry)? == 274 {
            let value = match u16_at(entry + 2)? {
                1 => u32::from(*exif.get(entry + 8)?),
                3 => u32::from(u16_at(entry + 8)?),
                4 => u32_at(entry + 8)?,
                _ => return None,
            };
            return u8::try_from(value).ok();
        }
    }
    None
}

/// Whether width and height change places.
#[cfg(feature = "png")]
pub(crate) fn swaps(orientation: u8) -> bool {
    (5..=8).contains(&orientation)
}

/// Turns `pixels` (rows of `width` times 3 bytes) upright. Orientations 5 to 8 need a second copy of them.
#[cfg(feature = "png")]
pub(crate) fn apply(
    orientation: u8,
    pixels: Vec<u8>,
    (width, height): (u32, u32),
) -> Result<(Vec<u8>, u32, u32), Error> {
    let (columns, rows) = (width as usize, height as usize);
    let mut pixels = pixels;
    match orientation {
        2 => pixels.chunks_exact_mut(columns * 3).for_each(reverse),
        3 => reverse(&mut pixels),
        4 => {
            let (upper, lower) = pixels.split_at_mut(rows / 2 * columns * 3);
            let lower = lower.chunks_exact_mut(columns * 3).rev();
            upper.chunks_exact_mut(columns * 3).zip(lower).for_each(|(a, b)| a.swap_with_slice(b));
        }
        5..=8 => {
            let mut turned = Vec::new();
            resize(&mut turned, pixels.len())?;
            // Row `y` of the result is a column of the stored picture, read downwards or upwards.
            let (mirrored, upwards) = (matches!(orientation, 7 | 8), matches!(orientation, 6 | 7));
            for (y, row) in turned.chunks_exact_mut(rows * 3).enumerate() {
                let column = if mirrored { columns - 1 - y } else { y };
                for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                    let from = ((if upwards { rows - 1 - x } else { x }) * columns + column) * 3;
                    pixel.copy_from_slice(&pixels[from..from + 3]);
                }
            }
            return Ok((turned, height, width));
        }
        _ => {}
    }
    Ok((pixels, width, height))
}

/// The pixels in reverse order.
#[cfg(feature = "png")]
fn reverse(pixels: &mut [u8]) {
    let (pixels, _) = pixels.as_chunks_mut::<3>();
    pixels.reverse();
}
