//! A frame whose planes hold what its format and size need.

use frcnn_files::scratch;

use super::format::check_sides;
use super::{Colour, Error, Format};

/// A frame whose planes hold what its format and size need, borrowed (`Image<&[u8]>`) or owned (`Image<Vec<u8>>`).
#[derive(Clone, Debug)]
pub struct Image<Bytes> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: Format,
    pub(super) colour: Colour,
    /// No longer than needed; empty where the format has none.
    pub(super) planes: [Bytes; 3],
    pub(super) strides: [usize; 3],
}

impl<'a> Image<&'a [u8]> {
    /// A raw frame in up to three planes, whose rows are `strides` bytes apart; planes that the format has not are ignored.
    ///
    /// # Errors
    /// As of [`Format::layout`]; [`Format::Mjpeg`] has no planes.
    pub fn new(
        planes: [&'a [u8]; 3],
        strides: [usize; 3],
        (width, height): (u32, u32),
        format: Format,
        colour: Colour,
    ) -> Result<Self, Error> {
        if format == Format::Mjpeg {
            return Err(Error::Layout("a JPEG has no planes".to_string()));
        }
        let layout = format.layout(width, height, planes.map(<[u8]>::len), strides)?;
        let mut used = planes;
        for (plane, len) in used.iter_mut().zip(layout.lens) {
            *plane = &plane[..len];
        }
        Ok(Image { width, height, format, colour, planes: used, strides: layout.strides })
    }

    /// A raw frame whose rows and planes follow each other without padding, as ffmpeg writes them.
    ///
    /// # Errors
    /// As of [`Image::new`].
    pub fn packed(
        bytes: &'a [u8],
        width: u32,
        height: u32,
        format: Format,
        colour: Colour,
    ) -> Result<Self, Error> {
        // Before they are multiplied.
        check_sides(width, height)?;
        let (mut planes, mut strides, mut rest) = ([&[][..]; 3], [0; 3], bytes);
        for (i, needs) in format.planes(width, height).into_iter().enumerate() {
            let Some((row, rows)) = needs else { continue };
            (planes[i], rest) = rest.split_at_checked(row * rows).unwrap_or((rest, &[]));
            strides[i] = row;
        }
        Self::new(planes, strides, (width, height), format, colour)
    }

    /// One JPEG. It is looked into when it is converted.
    #[must_use]
    pub fn jpeg(bytes: &'a [u8]) -> Self {
        Image {
            width: 0,
            height: 0,
            format: Format::Mjpeg,
            colour: Colour::Bt601Full,
            planes: [bytes, &[], &[]],
            strides: [0; 3],
        }
    }

    /// Copies the frame into `copy`, whose buffers are used again.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn copy_into(&self, copy: &mut Image<Vec<u8>>) -> Result<(), Error> {
        let Image { width, height, format, colour, planes, strides } = *self;
        for (copy, plane) in copy.planes.iter_mut().zip(planes) {
            scratch::copy(copy, plane)?;
        }
        (copy.width, copy.height, copy.format, copy.colour, copy.strides) =
            (width, height, format, colour, strides);
        Ok(())
    }
}

impl Default for Image<Vec<u8>> {
    /// A place for copies; a JPEG of no bytes.
    fn default() -> Self {
        Image {
            width: 0,
            height: 0,
            format: Format::Mjpeg,
            colour: Colour::default(),
            planes: Default::default(),
            strides: [0; 3],
        }
    }
}

impl Image<Vec<u8>> {
    /// The same frame, borrowed.
    #[must_use]
    pub fn view(&self) -> Image<&[u8]> {
        let Image { width, height, format, colour, ref planes, strides } = *self;
        let planes = [&planes[0][..], &planes[1][..], &planes[2][..]];
        Image { width, height, format, colour, planes, strides }
    }

    /// Bytes that are held for the next copy.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.planes.iter().map(Vec::capacity).sum()
    }
}
