//! Frames as C describes them, checked before any of their bytes are read.

use std::time::Duration;

use frcnn_images::camera::{self, Colour, Format};

use crate::result::{Failure, FrcnnResult};
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
    /// at most 8192 x 8192; the frame's width, height, colour and stride are ignored. Pixels are taken as they are stored: an
    /// orientation in EXIF turns nothing.
    Mjpeg = 8,
    /// One plane: red, green, blue and a byte that is ignored.
    Rgba32 = 9,
    /// One plane: blue, green, red and a byte that is ignored.
    Bgra32 = 10,
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
    /// When it was captured, in nanoseconds since any epoch, as of frcnn_tracker_update: how soon what stops is background for
    /// FRCNN_PROPOSER_MOTION goes by it. 0 if nobody knows: the frame then counts as 40 ms after the one before.
    pub time_ns: u64,
}

// SAFETY: `repr(C)`, `struct_size` first; integers and raw pointers.
unsafe impl Versioned for FrcnnFrame {
    const NAME: &'static str = "frcnn_frame";
    const FIRST_SIZE: usize = std::mem::offset_of!(FrcnnFrame, time_ns);
}

/// A checked frame with the caller's number and its time of capture.
#[derive(Clone, Debug)]
pub(crate) struct Image<Bytes> {
    pub(crate) id: u64,
    pub(crate) time: Option<Duration>,
    pub(crate) pixels: camera::Image<Bytes>,
}

/// What C calls the formats of `frcnn_images::camera`.
const FORMATS: [(FrcnnPixelFormat, Format); 11] = [
    (FrcnnPixelFormat::Rgb24, Format::Rgb24),
    (FrcnnPixelFormat::Bgr24, Format::Bgr24),
    (FrcnnPixelFormat::Gray8, Format::Gray8),
    (FrcnnPixelFormat::Yuyv, Format::Yuyv),
    (FrcnnPixelFormat::Uyvy, Format::Uyvy),
    (FrcnnPixelFormat::Nv12, Format::Nv12),
    (FrcnnPixelFormat::Nv21, Format::Nv21),
    (FrcnnPixelFormat::I420, Format::I420),
    (FrcnnPixelFormat::Mjpeg, Format::Mjpeg),
    (FrcnnPixelFormat::Rgba32, Format::Rgba32),
    (FrcnnPixelFormat::Bgra32, Format::Bgra32),
];

const COLOURS: [(FrcnnColour, Colour); 4] = [
    (FrcnnColour::Bt601Limited, Colour::Bt601Limited),
    (FrcnnColour::Bt601Full, Colour::Bt601Full),
    (FrcnnColour::Bt709Limited, Colour::Bt709Limited),
    (FrcnnColour::Bt709Full, Colour::Bt709Full),
];

fn refused(message: String) -> Failure {
    Failure::new(FrcnnResult::Frame, message)
}

impl From<camera::Error> for Failure {
    fn from(error: camera::Error) -> Failure {
        let code = match &error {
            camera::Error::Jpeg { .. } => FrcnnResult::Decode,
            camera::Error::Memory(_) => FrcnnResult::Internal,
            _ => FrcnnResult::Frame,
        };
        Failure::new(code, error.to_string())
    }
}

/// Checks a caller's frame and gives its planes as slices.
///
/// # Safety
/// `frame` is a structure as `sized::read` wants it, and `size` bytes are readable at each plane's `data` for `'a`.
pub(crate) unsafe fn view<'a>(frame: *const FrcnnFrame) -> Result<Image<&'a [u8]>, Failure> {
    // SAFETY: says the caller.
    let frame = unsafe { sized::read(frame) }?;
    let FrcnnFrame { id, width, height, time_ns, .. } = frame;
    let time = (time_ns > 0).then(|| Duration::from_nanos(time_ns));
    let format = FORMATS.iter().find(|(number, _)| *number as u32 == frame.format);
    let &(_, format) = format.ok_or_else(|| refused(format!("{} is no pixel format", frame.format)))?;
    if format == Format::Mjpeg {
        // SAFETY: says the caller.
        let jpeg = unsafe { bytes(&frame.planes[0], 0, frame.planes[0].size) }?;
        return Ok(Image { id, time, pixels: camera::Image::jpeg(jpeg) });
    }
    let colour = COLOURS.iter().find(|(number, _)| *number as u32 == frame.colour);
    let &(_, colour) = colour.ok_or_else(|| refused(format!("{} is no colour", frame.colour)))?;
    let (sizes, strides) = (frame.planes.map(|plane| plane.size), frame.planes.map(|plane| plane.stride));
    let layout = format.layout(width, height, sizes, strides)?;
    let mut planes = [&[][..]; 3];
    for (i, needs) in format.planes(width, height).into_iter().enumerate() {
        if needs.is_some() {
            // SAFETY: what is needed is at most the size that the caller states.
            planes[i] = unsafe { bytes(&frame.planes[i], i, layout.lens[i]) }?;
        }
    }
    let pixels = camera::Image::new(planes, layout.strides, (width, height), format, colour)?;
    Ok(Image { id, time, pixels })
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
        (copy.id, copy.time) = (self.id, self.time);
        Ok(self.pixels.copy_into(&mut copy.pixels)?)
    }
}

impl Image<Vec<u8>> {
    pub(crate) fn empty() -> Self {
        Image { id: 0, time: None, pixels: camera::Image::default() }
    }

    pub(crate) fn view(&self) -> Image<&[u8]> {
        Image { id: self.id, time: self.time, pixels: self.pixels.view() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_frame_is_refused() {
        let pixels = [0u8; 4 * 4 * 4];
        let plane = FrcnnPlane { data: pixels.as_ptr(), size: pixels.len(), stride: 16 };
        let frame = FrcnnFrame {
            struct_size: size_of::<FrcnnFrame>(),
            id: 7,
            width: 4,
            height: 4,
            format: FrcnnPixelFormat::Bgra32 as u32,
            colour: 0,
            planes: [plane; 3],
            time_ns: 0,
        };
        // SAFETY: the plane has the size that the frame states, or the frame is refused before it is read.
        let code = |frame: &FrcnnFrame| unsafe { view(frame) }.map(|image| image.id).map_err(|f| f.code);
        assert_eq!(code(&frame), Ok(7));
        for (format, _) in FORMATS {
            assert_eq!(code(&FrcnnFrame { format: format as u32, ..frame }), Ok(7), "{format:?}");
        }
        let without = FrcnnPlane { data: std::ptr::null(), ..plane };
        assert_eq!(code(&FrcnnFrame { planes: [without; 3], ..frame }), Err(FrcnnResult::NullPointer));
        let short = FrcnnPlane { size: pixels.len() - 1, ..plane };
        for bad in [
            FrcnnFrame { format: FORMATS.len() as u32, ..frame },
            FrcnnFrame { colour: COLOURS.len() as u32, ..frame },
            FrcnnFrame { width: 5, ..frame },
            FrcnnFrame { height: 0, ..frame },
            FrcnnFrame { planes: [short; 3], ..frame },
        ] {
            assert_eq!(code(&bad), Err(FrcnnResult::Frame), "{bad:?}");
        }
    }
}
