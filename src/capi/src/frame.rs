//! Frames as C describes them, checked before any of their bytes are read.

use crate::result::{Failure, FrcnnResult};
use crate::scratch;
use crate::sized::{self, Versioned};

/// How the pixels of a frame lie in memory.
///
/// A plane of `n` rows, `stride` bytes apart, has at least `(n - 1) * stride` bytes and one row. "Half" is rounded up.
/// What has its V plane before U (YV12) is I420 with these two planes given in turn.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnPixelFormat {
    /// One plane: red, green, blue.
    Rgb24 = 0,
    /// One plane: blue, green, red.
    Bgr24 = 1,
    /// One plane of grey, used for all three colours.
    Gray8 = 2,
    /// One plane, 4 bytes for two pixels: Y U Y V. A row has 4 * half the width bytes.
    Yuyv = 3,
    /// One plane, 4 bytes for two pixels: U Y V Y. A row has 4 * half the width bytes.
    Uyvy = 4,
    /// Two planes: Y; and U, V side by side for 2 x 2 pixels, 2 * half the width bytes in half the rows.
    Nv12 = 5,
    /// As NV12 with V before U.
    Nv21 = 6,
    /// Three planes: Y; U; V. The latter have half the width in half the rows.
    I420 = 7,
    /// One plane that holds one JPEG of `size` bytes, with or without Huffman tables. Its size in pixels is the JPEG's,
    /// at most 8192 x 8192; the frame's width, height, colour and stride are ignored.
    Mjpeg = 8,
}

/// Which red, green and blue the Y, U and V of a frame mean. Ignored for other formats. In 16..235, what is below 16
/// means no colour and may be taken for 16.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnColour {
    /// ITU-R BT.601, Y in 16..235: most cameras.
    Bt601Limited = 0,
    /// ITU-R BT.601, Y in 0..255: JPEG's.
    Bt601Full = 1,
    /// ITU-R BT.709, Y in 16..235: high-definition video.
    Bt709Limited = 2,
    /// ITU-R BT.709, Y in 0..255.
    Bt709Full = 3,
}

/// A part of a frame. The library only reads it, and only during the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnPlane {
    /// The first byte.
    pub data: *const u8,
    /// Bytes that may be read from `data` on.
    pub size: usize,
    /// Bytes from the start of a row to the start of the next.
    pub stride: usize,
}

/// A picture as a camera gives it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnFrame {
    /// sizeof(frcnn_frame).
    pub struct_size: usize,
    /// The caller's number for the frame, given back with its detections.
    pub id: u64,
    /// Columns, 1 to 32768.
    pub width: u32,
    /// Rows, 1 to 32768.
    pub height: u32,
    /// A frcnn_pixel_format.
    pub format: u32,
    /// A frcnn_colour.
    pub colour: u32,
    /// As many as the format has; the rest is ignored.
    pub planes: [FrcnnPlane; 3],
}

// SAFETY: `repr(C)`, `struct_size` first; integers and raw pointers.
unsafe impl Versioned for FrcnnFrame {
    const NAME: &'static str = "frcnn_frame";
    const FIRST_SIZE: usize = size_of::<FrcnnFrame>();
}

/// A frame whose planes hold what its format and size need.
#[derive(Clone, Debug)]
pub(crate) struct Image<Bytes> {
    pub(crate) id: u64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: FrcnnPixelFormat,
    pub(crate) colour: FrcnnColour,
    /// No longer than needed; empty where the format has none.
    pub(crate) planes: [Bytes; 3],
    pub(crate) strides: [usize; 3],
}

impl FrcnnPixelFormat {
    const ALL: [Self; 9] = [
        Self::Rgb24,
        Self::Bgr24,
        Self::Gray8,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv21,
        Self::I420,
        Self::Mjpeg,
    ];

    /// Bytes of a row, and rows, of each plane. Not for JPEG.
    pub(crate) fn planes(self, width: u32, height: u32) -> [Option<(usize, usize)>; 3] {
        let (width, height) = (width as usize, height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let one = |row| [Some((row, height)), None, None];
        match self {
            Self::Rgb24 | Self::Bgr24 => one(3 * width),
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
}

impl FrcnnColour {
    const ALL: [Self; 4] = [Self::Bt601Limited, Self::Bt601Full, Self::Bt709Limited, Self::Bt709Full];
}

fn refused(message: String) -> Failure {
    Failure::new(FrcnnResult::Frame, message)
}

/// Checks a caller's frame and gives its planes as slices.
///
/// # Safety
/// `frame` is a structure as `sized::read` wants it, and `size` bytes are readable at each plane's `data` for `'a`.
pub(crate) unsafe fn view<'a>(frame: *const FrcnnFrame) -> Result<Image<&'a [u8]>, Failure> {
    // SAFETY: says the caller.
    let mut frame = unsafe { sized::read(frame) }?;
    let format = FrcnnPixelFormat::ALL.into_iter().find(|f| *f as u32 == frame.format);
    let format = format.ok_or_else(|| refused(format!("{} is no pixel format", frame.format)))?;
    let colour = FrcnnColour::ALL.into_iter().find(|c| *c as u32 == frame.colour);
    let colour = match (colour, format) {
        (_, FrcnnPixelFormat::Mjpeg) => FrcnnColour::Bt601Full,
        (Some(colour), _) => colour,
        (None, _) => return Err(refused(format!("{} is no colour", frame.colour))),
    };

    let FrcnnFrame { id, width, height, .. } = frame;
    let mut image = Image { id, width, height, format, colour, planes: [&[][..]; 3], strides: [0; 3] };
    if format == FrcnnPixelFormat::Mjpeg {
        // SAFETY: says the caller.
        image.planes[0] = unsafe { bytes(&frame.planes[0], 0, frame.planes[0].size) }?;
        return Ok(image);
    }
    let sides = 1..=frcnn::Frame::MAX_SIDE;
    if !sides.contains(&width) || !sides.contains(&height) {
        return Err(refused(format!("{width} x {height} pixels: each side must be 1 to {}", sides.end())));
    }
    for (i, needs) in format.planes(width, height).into_iter().enumerate() {
        let Some((row, rows)) = needs else { continue };
        let plane = &mut frame.planes[i];
        if rows == 1 && plane.stride > row {
            // It leads to no other row.
            plane.stride = row;
        }
        if plane.stride < row || u32::try_from(plane.stride).is_err() {
            let stride = plane.stride;
            return Err(refused(format!(
                "plane {i}: a stride of {stride} bytes does not fit rows of {row} bytes"
            )));
        }
        let needed = (rows - 1).checked_mul(plane.stride).and_then(|bytes| bytes.checked_add(row));
        let needed = needed.filter(|&needed| needed <= plane.size).ok_or_else(|| {
            let (size, stride) = (plane.size, plane.stride);
            refused(format!(
                "plane {i}: {size} bytes are too few for {rows} rows of {row} bytes, {stride} apart"
            ))
        })?;
        // SAFETY: `needed` is at most the size that the caller states.
        image.planes[i] = unsafe { bytes(plane, i, needed) }?;
        image.strides[i] = plane.stride;
    }
    Ok(image)
}

/// # Safety
/// `len` bytes are readable at `plane.data` for `'a`.
unsafe fn bytes<'a>(plane: &FrcnnPlane, i: usize, len: usize) -> Result<&'a [u8], Failure> {
    if plane.data.is_null() {
        return Err(Failure::null(&format!("frame->planes[{i}].data")));
    }
    if isize::try_from(len).is_err() {
        return Err(refused(format!("plane {i}: {len} bytes are more than memory has")));
    }
    // SAFETY: says the caller; not NULL and not too long.
    Ok(unsafe { std::slice::from_raw_parts(plane.data, len) })
}

impl Image<&[u8]> {
    /// Copies the frame into `copy`, whose buffers are used again.
    pub(crate) fn copy_into(&self, copy: &mut Image<Vec<u8>>) -> Result<(), Failure> {
        let Image { id, width, height, format, colour, planes, strides } = *self;
        for (copy, plane) in copy.planes.iter_mut().zip(planes) {
            scratch::copy(copy, plane)?;
        }
        (copy.id, copy.width, copy.height, copy.format, copy.colour, copy.strides) =
            (id, width, height, format, colour, strides);
        Ok(())
    }
}

impl Image<Vec<u8>> {
    pub(crate) fn empty() -> Self {
        Image {
            id: 0,
            width: 0,
            height: 0,
            format: FrcnnPixelFormat::Mjpeg,
            colour: FrcnnColour::Bt601Limited,
            planes: Default::default(),
            strides: [0; 3],
        }
    }

    pub(crate) fn view(&self) -> Image<&[u8]> {
        let Image { id, width, height, format, colour, ref planes, strides } = *self;
        let planes = [&planes[0][..], &planes[1][..], &planes[2][..]];
        Image { id, width, height, format, colour, planes, strides }
    }
}
