//! Feature maps in either precision.

use super::layout::Target;

/// A feature map, channels last.
#[derive(Clone, Copy, Debug)]
pub enum Map<'a> {
    /// Values.
    F32(&'a [f32]),
    /// The bits of bf16 values.
    Bf16(&'a [u16]),
}

impl Map<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// A feature map to be written, channels last.
#[derive(Debug)]
pub enum MapMut<'a> {
    /// Values.
    F32(&'a mut [f32]),
    /// The bits of bf16 values.
    Bf16(&'a mut [u16]),
}

impl<'a> MapMut<'a> {
    /// The same map, for a while.
    pub fn reborrow(&mut self) -> MapMut<'_> {
        match self {
            Self::F32(values) => MapMut::F32(values),
            Self::Bf16(values) => MapMut::Bf16(values),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    pub(super) fn value_bytes(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::Bf16(_) => 2,
        }
    }

    pub(super) fn target(&mut self) -> Target {
        match self {
            Self::F32(values) => Target::F32(values.as_mut_ptr()),
            Self::Bf16(values) => Target::Bf16(values.as_mut_ptr()),
        }
    }

    /// Cut into images of `image` values, and these into chunks of `chunk`, the last of each image as long as is left;
    /// each with the number of its image and its own within it.
    pub(super) fn chunks(
        self,
        image: usize,
        chunk: usize,
    ) -> impl Iterator<Item = (usize, usize, MapMut<'a>)> + Send {
        let (f32s, bf16s) = match self {
            Self::F32(values) => (values, Default::default()),
            Self::Bf16(values) => (Default::default(), values),
        };
        let f32s = cut(f32s, image, chunk).map(|(image, i, values)| (image, i, MapMut::F32(values)));
        let bf16s = cut(bf16s, image, chunk).map(|(image, i, values)| (image, i, MapMut::Bf16(values)));
        f32s.chain(bf16s)
    }
}

fn cut<T: Send>(
    values: &mut [T],
    image: usize,
    chunk: usize,
) -> impl Iterator<Item = (usize, usize, &mut [T])> + Send {
    let images = values.chunks_mut(image.max(1)).enumerate();
    images
        .flat_map(move |(n, values)| values.chunks_mut(chunk.max(1)).enumerate().map(move |(i, v)| (n, i, v)))
}
