//! How the pixels of a frame lie in memory, and whether planes hold them.

use std::fmt;
use std::str::FromStr;

use frcnn_core::Frame;

use super::Error;

/// How the pixels of a frame lie in memory.
///
/// A plane of `n` rows, a stride apart, has at least `n - 1` strides and one row. "Half" is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One plane: red, green, blue.
    Rgb24,
    /// One plane: blue, green, red.
    Bgr24,
    /// One plane of grey, used for all three colours.
    Gray8,
    /// One plane, 4 bytes for two pixels: Y U Y V. A row has 4 times half the width bytes.
    Yuyv,
    /// One plane, 4 bytes for two pixels: U Y V Y. A row has 4 times half the width bytes.
    Uyvy,
    /// Two planes: Y; and U, V side by side for 2 x 2 pixels, twice half the width bytes in half the rows.
    Nv12,
    /// As [`Format::Nv12`] with V before U.
    Nv21,
    /// Three planes: Y; U; V. The latter have half the width in half the rows.
    I420,
    /// One JPEG, with or without Huffman tables. Its size is in itself.
    Mjpeg,
    /// One plane: red, green, blue and a byte that is ignored.
    Rgba32,
    /// One plane: blue, green, red and a byte that is ignored.
    Bgra32,
}

/// Which red, green and blue the Y, U and V of a frame mean; other formats have no use for it. In 16..235, what is below
/// 16 means no colour and may be taken for 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// ITU-R BT.601, Y in 16..235: most cameras.
    #[default]
    Bt601Limited,
    /// ITU-R BT.601, Y in 0..255: JPEG's.
    Bt601Full,
    /// ITU-R BT.709, Y in 16..235: high-definition video.
    Bt709Limited,
    /// ITU-R BT.709, Y in 0..255.
    Bt709Full,
}

/// What is used of a frame's planes; 0 where a format has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from the first that is used to the last.
    pub lens: [usize; 3],
    /// Bytes from the start of a row to the start of the next.
    pub strides: [usize; 3],
}

impl Format {
    /// All formats with their names, which are ffmpeg's where it has them.
    pub const ALL: [(Format, &'static str); 11] = [
        (Format::Rgb24, "rgb24"),
        (Format::Bgr24, "bgr24"),
        (Format::Gray8, "gray8"),
        (Format::Yuyv, "yuyv"),
        (Format::Uyvy, "uyvy"),
        (Format::Nv12, "nv12"),
        (Format::Nv21, "nv21"),
        (Format::I420, "i420"),
        (Format::Mjpeg, "mjpeg"),
        (Format::Rgba32, "rgba"),
        (Format::Bgra32, "bgra"),
    ];

    /// Bytes of a row without padding, and rows, of each plane of a `width` x `height` frame. Of a JPEG, none.
    #[must_use]
    pub fn planes(self, width: u32, height: u32) -> [Option<(usize, usize)>; 3] {
        let (width, height) = (width as usize, height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let one = |row| [Some((row, height)), None, None];
        match self {
            Self::Rgb24 | Self::Bgr24 => one(3 * width),
            Self::Rgba32 | Self::Bgra32 => one(4 * width),
            Self::Gray8 => one(width),
            Self::Yuyv | Self::Uyvy => one(4 * half_width),
            Self::Nv12 | Self::Nv21 => [Some((width, height)), Some((2 * half_width, half_height)), None],
            Self::I420 => {
                let chroma = Some((half_width, half_height));
                [Some((width, height)), chroma, chroma]
            }
            Self::Mjpeg => [None; 3],
        }
    }

    /// What a frame without padding takes, in bytes. Of a JPEG 0.
    #[must_use]
    pub fn packed_len(self, width: u32, height: u32) -> usize {
        self.planes(width, height).into_iter().flatten().map(|(row, rows)| row * rows).sum()
    }

    /// Whether planes of `sizes` bytes with rows `strides` bytes apart hold a frame of this (raw) format, and what of them
    /// it uses. No byte of them is read. A stride says nothing where there is one row.
    ///
    /// # Errors
    /// A side is 0 or longer than [`Frame::MAX_SIDE`]; rows overlap; a plane ends before its last row does.
    pub fn layout(
        self,
        width: u32,
        height: u32,
        sizes: [usize; 3],
        strides: [usize; 3],
    ) -> Result<Layout, Error> {
        check_sides(width, height)?;
        let mut layout = Layout::default();
        for (i, needs) in self.planes(width, height).into_iter().enumerate() {
            let Some((row, rows)) = needs else { continue };
            let (size, mut stride) = (sizes[i], strides[i]);
            if rows == 1 && stride > row {
                // It leads to no other row.
                stride = row;
            }
            if stride < row || u32::try_from(stride).is_err() {
                return Err(Error::Layout(format!(
                    "plane {i}: a stride of {stride} bytes does not fit rows of {row} bytes"
                )));
            }
            let needed = (rows - 1).checked_mul(stride).and_then(|bytes| bytes.checked_add(row));
            let needed = needed.filter(|&needed| needed <= size).ok_or_else(|| {
                Error::Layout(format!(
                    "plane {i}: {size} bytes are too few for {rows} rows of {row} bytes, {stride} apart"
                ))
            })?;
            (layout.lens[i], layout.strides[i]) = (needed, stride);
        }
        Ok(layout)
    }
}

impl Colour {
    /// All colours with their names.
    pub const ALL: [(Colour, &'static str); 4] = [
        (Colour::Bt601Limited, "bt601"),
        (Colour::Bt601Full, "bt601-full"),
        (Colour::Bt709Limited, "bt709"),
        (Colour::Bt709Full, "bt709-full"),
    ];
}

pub(super) fn check_sides(width: u32, height: u32) -> Result<(), Error> {
    let sides = 1..=Frame::MAX_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(());
    }
    let most = sides.end();
    Err(Error::Layout(format!("{width} x {height} pixels: each side must be 1 to {most}")))
}

/// One of `all` by its name, or which there are.
fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Result<T, String> {
    let known = all.iter().find(|(_, known)| *known == name).map(|(value, _)| *value);
    known.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        format!("`{name}` is none of {}", names.join(", "))
    })
}

fn name_in<T: PartialEq>(all: &[(T, &'static str)], value: &T) -> &'static str {
    all.iter().find(|(known, _)| known == value).map_or("", |(_, name)| name)
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Format, String> {
        named(&Format::ALL, name)
    }
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(name: &str) -> Result<Colour, String> {
        named(&Colour::ALL, name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_in(&Format::ALL, self))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_in(&Colour::ALL, self))
    }
}
