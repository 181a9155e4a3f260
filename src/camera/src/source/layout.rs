//! Where the rows and planes of raw frames begin.

use frcnn_images::camera::{Colour, Error, Format, Image};

use crate::config::Stride;

/// Raw frames of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) colour: Colour,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: Stride,
}

impl Layout {
    /// Bytes of a row of the first plane without padding.
    pub(crate) fn row(&self) -> usize {
        self.format.planes(self.width, self.height)[0].map_or(0, |(row, _)| row)
    }

    pub(crate) fn with(self, stride: Stride) -> Layout {
        Layout { stride, ..self }
    }

    /// Stride and bytes of each plane.
    fn planes(&self) -> [(usize, usize); 3] {
        let planes = self.format.planes(self.width, self.height);
        let count = planes.iter().flatten().count();
        let mut sizes = [(0, 0); 3];
        for (i, plane) in planes.into_iter().enumerate() {
            let Some((row, rows)) = plane else { continue };
            let (stride, rows) = match self.stride {
                Stride::Packed => (row, rows),
                // Heights are padded only where chroma has half the rows.
                Stride::Gstreamer if i == 0 && count > 1 => {
                    (row.next_multiple_of(4), rows.next_multiple_of(2))
                }
                Stride::Gstreamer => (row.next_multiple_of(4), rows),
                Stride::Bytes(bytes) if i == 0 => (bytes, rows),
                Stride::Bytes(bytes) if count == 3 => (bytes.div_ceil(2), rows),
                Stride::Bytes(bytes) => (bytes.max(row), rows),
            };
            sizes[i] = (stride, stride.saturating_mul(rows));
        }
        sizes
    }

    /// Bytes of a frame.
    pub(crate) fn size(&self) -> usize {
        self.planes().iter().map(|(_, bytes)| bytes).sum()
    }

    /// A frame that lies in `bytes`, which are [`size`](Layout::size) of them.
    pub(crate) fn image<'a>(&self, bytes: &'a [u8]) -> Result<Image<&'a [u8]>, Error> {
        let (mut planes, mut rest) = ([&[][..]; 3], bytes);
        let sizes = self.planes();
        for (plane, (_, size)) in planes.iter_mut().zip(sizes) {
            (*plane, rest) = rest.split_at(size.min(rest.len()));
        }
        Image::new(
            planes,
            sizes.map(|(stride, _)| stride),
            (self.width, self.height),
            self.format,
            self.colour,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(format: Format, width: u32, height: u32, stride: Stride) -> Layout {
        Layout { format, colour: Colour::Bt601Limited, width, height, stride }
    }

    /// Sizes that ffmpeg and GStreamer 1.22 write.
    #[test]
    fn frames_are_as_long_as_ffmpegs_and_gstreamers() {
        for (format, width, height, packed, padded) in [
            (Format::Rgb24, 854, 480, 1_229_760, 1_230_720),
            (Format::Gray8, 5, 3, 15, 24),
            (Format::Yuyv, 5, 3, 36, 36),
            (Format::Nv12, 5, 3, 15 + 12, 8 * 4 + 8 * 2),
            (Format::I420, 5, 3, 15 + 12, 8 * 4 + 2 * 4 * 2),
            (Format::I420, 640, 480, 460_800, 460_800),
        ] {
            let size = |stride| layout(format, width, height, stride).size();
            assert_eq!((size(Stride::Packed), size(Stride::Gstreamer)), (packed, padded), "{format:?}");
        }
    }

    #[test]
    fn padding_is_passed_over() {
        let layout = layout(Format::Gray8, 3, 2, Stride::Bytes(4));
        let mut converter = frcnn_images::camera::Converter::default();
        let bytes = [1, 2, 3, 99, 4, 5, 6, 99];
        let image = layout.image(&bytes).unwrap();
        assert_eq!(converter.run(&image).unwrap().row(1), [4, 5, 6]);
    }

    #[test]
    fn no_size_overflows() {
        for format in [Format::Rgb24, Format::I420, Format::Nv12] {
            assert!(layout(format, 32_768, 32_768, Stride::Bytes(1 << 20)).size() > 1 << 30);
        }
    }
}
