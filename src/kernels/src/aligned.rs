//! Buffers that begin on a cache line: a vector load that straddles two lines costs two.

use alloc::vec::Vec;
use core::fmt;

use crate::pages::advise;

/// f32 in a line of 64 bytes, the width of the widest vector.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Zeros at first, aligned to 64 bytes.
#[derive(Clone)]
pub(crate) struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    pub(crate) fn zeros(len: usize) -> Self {
        let count = len.div_ceil(LINE);
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        advise(lines.as_mut_ptr().cast(), count * size_of::<Line>());
        lines.resize(count, Line([0.0; LINE]));
        Self { lines, len }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: `lines` is at least `len` f32 that follow one another.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl fmt::Debug for AlignedVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedVec({} values)", self.len)
    }
}

/// The first `len` values of `scratch` that begin on a cache line; grows it where it is too short.
pub(crate) fn aligned(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let needed = len.saturating_add(LINE);
    if scratch.len() < needed {
        // What it held means nothing: not worth copying to a new place.
        scratch.clear();
        scratch.reserve_exact(needed);
        advise(scratch.as_mut_ptr().cast(), scratch.capacity() * size_of::<f32>());
        scratch.resize(needed, 0.0);
    }
    let skip = scratch.as_ptr().align_offset(64).min(LINE);
    &mut scratch[skip..][..len]
}
