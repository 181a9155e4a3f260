//! Buffers that begin on a cache line: a vector load that straddles two lines costs two.
//!
//! Large ones ask for huge pages where the system gives them (Linux). Weights are read from end to end, so with pages of
//! 4 KiB each one costs an entry of the TLB, and when the buffer is made, a page fault: 25,000 of them for VGG16's fc6.

use alloc::vec::Vec;
use core::fmt;

/// f32 in a line of 64 bytes, the width of the widest vector.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Zeros at first, aligned to 64 bytes.
#[derive(Clone, Default)]
pub(crate) struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: zeroed_lines(len.div_ceil(LINE)), len }
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

/// `count` lines of zeros. `vec!` would write them, and so touch each small page before a huge one is asked for.
fn zeroed_lines(count: usize) -> Vec<Line> {
    let layout = match core::alloc::Layout::array::<Line>(count) {
        Ok(layout) if layout.size() > 0 => layout,
        // Nothing to allocate; or more than there can be, which `vec!` says in its own way.
        _ => return alloc::vec![Line([0.0; LINE]); count],
    };
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc::alloc::alloc_zeroed(layout) };
    if memory.is_null() {
        alloc::alloc::handle_alloc_error(layout);
    }
    ask_for_huge_pages(memory, layout.size());
    // SAFETY: allocated above by the global allocator with the layout of `count` lines, which zeros are.
    unsafe { Vec::from_raw_parts(memory.cast(), count, count) }
}

/// A hint: what it says about the pages does not change what is in them.
fn ask_for_huge_pages(memory: *mut u8, len: usize) {
    #[cfg(all(target_os = "linux", feature = "std"))]
    {
        const HUGE: usize = 2 << 20;
        let skip = memory.align_offset(HUGE);
        let whole = len.saturating_sub(skip) / HUGE * HUGE;
        if whole >= 2 * HUGE {
            // SAFETY: whole pages inside one allocation. The advice may be refused, and may be.
            unsafe { libc::madvise(memory.add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    let _ = (memory, len);
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
        scratch.resize(needed, 0.0);
    }
    let skip = scratch.as_ptr().align_offset(64).min(LINE);
    &mut scratch[skip..][..len]
}
