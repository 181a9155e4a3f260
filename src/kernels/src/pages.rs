//! Huge pages for large buffers, and pages that the process need not keep.
//!
//! Winograd's `t^2` streams and the rows of a wide map touch more 4 KiB pages than a CPU's first translation buffer has
//! entries, and a buffer that is new is paid for page by page. Pages of 2 MiB spare most of both.

/// Asks the system for huge pages under `buffer`, which is best not yet written to. A wish: it changes no value, and
/// nothing happens where a system has no such thing or the buffer is too small.
pub fn prefer_huge_pages<T>(buffer: &mut [T]) {
    advise(buffer.as_mut_ptr().cast(), size_of_val(buffer));
}

/// The same for memory that need not hold values yet.
pub(crate) fn advise(start: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", feature = "std"))]
    {
        const HUGE: usize = 2 << 20;
        let skip = start.align_offset(HUGE);
        let whole = bytes.saturating_sub(skip) / HUGE * HUGE;
        if whole > 0 {
            // SAFETY: the range lies in the caller's buffer, and the advice changes nothing of what is in it. That it
            // may be refused does not matter.
            unsafe { libc::madvise(start.wrapping_add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", feature = "std")))]
    let _ = (start, bytes);
}

/// Gives the system back the pages that the C library keeps of memory that was freed, where that is glibc: it keeps those of
/// buffers up to 32 MiB for the next ones. Worth it once, after much was freed that is not needed again.
pub fn give_back_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu", feature = "std"))]
    // SAFETY: it changes nothing but which pages are there of memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay() {
        for len in [0, 1, 5000, 3 << 20] {
            let mut values: alloc::vec::Vec<f32> = (0..len).map(|i| i as f32).collect();
            prefer_huge_pages(&mut values);
            assert!(values.iter().enumerate().all(|(i, &v)| v == i as f32));
        }
    }
}
