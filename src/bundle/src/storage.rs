//! A file's bytes in memory, aligned so that f32 sections can be used where they lie.

use std::io::Read;

/// Alignment of sections in the file, and of the file in memory.
pub(crate) const ALIGN: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// Bytes that start at a multiple of 64.
pub(crate) struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    pub(crate) fn copy_of(bytes: &[u8]) -> AlignedBytes {
        let mut aligned = AlignedBytes::zeroed(bytes.len());
        aligned.as_mut_slice().copy_from_slice(bytes);
        aligned
    }

    /// Reads all of `file`, which is said to hold `len` bytes, without a second copy.
    pub(crate) fn read(mut file: impl Read, len: usize) -> std::io::Result<AlignedBytes> {
        let mut aligned = AlignedBytes::zeroed(len);
        file.read_exact(aligned.as_mut_slice())?;
        Ok(aligned)
    }

    pub(crate) fn zeroed(len: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line([0; ALIGN]); len.div_ceil(ALIGN)], len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// Copies `bytes` to `offset`; the caller has made room for them.
    pub(crate) fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        self.as_mut_slice()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
