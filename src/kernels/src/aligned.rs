//! Buffers that begin on a cache line: a vector load that straddles two lines costs two.
//! Large ones ask for huge pages; see `pages`.

use alloc::vec::Vec;
use core::{fmt, marker::PhantomData, mem::MaybeUninit};

use crate::pages::advise;

/// f32 in a line of 64 bytes, the width of the widest vector.
pub(crate) const LINE: usize = 16;

/// What a buffer is made of.
///
/// # Safety
/// A value whose bytes are all zero is valid.
pub(crate) unsafe trait Zeroed: Copy {}

/// What weights are made of; 0 by default.
pub(crate) trait Value: Zeroed + Default + Send + Sync {}

impl Value for f32 {}
impl Value for u16 {}
impl Value for i8 {}

// SAFETY: 0.
unsafe impl Zeroed for f32 {}
// SAFETY: 0.
unsafe impl Zeroed for u16 {}
// SAFETY: 0.
unsafe impl Zeroed for i8 {}
// SAFETY: 0.
unsafe impl Zeroed for u8 {}
// SAFETY: anything is one.
unsafe impl<T: Copy> Zeroed for MaybeUninit<T> {}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: bytes of zeros are 0.
unsafe impl Zeroed for Line {}

/// Zeros at first, aligned to 64 bytes.
#[derive(Clone)]
pub(crate) struct AlignedVec<T = f32> {
    lines: Vec<Line>,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Zeroed> Default for AlignedVec<T> {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl<T: Zeroed> AlignedVec<T> {
    pub(crate) fn zeros(len: usize) -> Self {
        const { assert!(align_of::<T>() <= 64) };
        let lines = len.saturating_mul(size_of::<T>()).div_ceil(size_of::<Line>());
        Self { lines: zeroed_lines(lines), len, values: PhantomData }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `lines` is at least `len` values that follow one another, zeros or what was written as such.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// `count` lines of zeros. `vec!` would write them, and so touch each small page before a huge one is asked for.
pub(crate) fn zeroed_lines<T: Zeroed>(count: usize) -> Vec<T> {
    let layout = match core::alloc::Layout::array::<T>(count) {
        Ok(layout) if layout.size() > 0 => layout,
        // Nothing to allocate; or more than there can be, which `Vec` says in its own way.
        _ => return Vec::with_capacity(count),
    };
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc::alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        alloc::alloc::handle_alloc_error(layout);
    }
    advise(memory, layout.size());
    // SAFETY: allocated above by the global allocator with the layout of `count` lines, which zeros are.
    unsafe { Vec::from_raw_parts(memory.cast(), count, count) }
}

/// The first `len` values of `buffer`, made longer if need be: then it holds zeros.
pub(crate) fn at_least<T: Zeroed>(buffer: &mut AlignedVec<T>, len: usize) -> &mut [T] {
    if buffer.as_slice().len() < len {
        *buffer = AlignedVec::zeros(len);
    }
    &mut buffer.as_mut_slice()[..len]
}

impl<T> fmt::Debug for AlignedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedVec({} values)", self.len)
    }
}

/// The first `len` values of `scratch` that begin on a cache line; grows it where it is too short.
pub(crate) fn aligned(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let needed = len.saturating_add(LINE);
    if scratch.len() < needed {
        // What it held means nothing: not worth copying to a new place, nor keeping until there is one.
        *scratch = Vec::new();
        scratch.reserve_exact(needed);
        advise(scratch.as_mut_ptr().cast(), scratch.capacity() * size_of::<f32>());
        scratch.resize(needed, 0.0);
    }
    let skip = scratch.as_ptr().align_offset(64).min(LINE);
    &mut scratch[skip..][..len]
}
