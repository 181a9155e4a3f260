//! Structures that begin with their own size, so that later versions can add fields at the end.
//!
//! A caller sets `struct_size` to the `sizeof` of its header. A shorter structure than the library's is an older
//! caller's: the fields that it lacks are zero, which always means "as before". A longer one is a newer caller's: the
//! fields unknown here must be zero, so that nothing asked for is passed over in silence.

use std::mem::size_of;

use crate::result::{Failure, FrcnnResult};

/// No structure of this interface comes near it; a larger `struct_size` was never set.
const LARGEST: usize = 4096;

/// # Safety
/// `repr(C)`, the first field a `usize` called `struct_size`, and every byte pattern a valid value.
pub(crate) unsafe trait Versioned: Copy {
    /// The structure's name in C.
    const NAME: &'static str;
    /// Its size when it first appeared, below which no caller's can be.
    const FIRST_SIZE: usize;
}

fn checked_size<T: Versioned>(size: usize) -> Result<usize, Failure> {
    if (T::FIRST_SIZE..=LARGEST).contains(&size) {
        return Ok(size);
    }
    let expected = size_of::<T>();
    let message = format!("{}: struct_size is {size}; set it to sizeof, here {expected}", T::NAME);
    Err(Failure::new(FrcnnResult::StructSize, message))
}

/// Reads a caller's structure.
///
/// # Safety
/// `from` points at a `struct_size` and, if that is right, at as many bytes.
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Result<T, Failure> {
    // SAFETY: says the caller; the first field is a usize. Nothing says that it is aligned.
    let size = checked_size::<T>(unsafe { from.cast::<usize>().read_unaligned() })?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are readable, says the caller.
    let unknown = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if unknown.iter().any(|&byte| byte != 0) {
        let message = format!(
            "{}: a field is set that this library does not know; it is older than the header",
            T::NAME
        );
        return Err(Failure::new(FrcnnResult::StructSize, message));
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are readable at `from` and fit into `value`; every byte pattern is a value.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast(), known);
        Ok(value.assume_init())
    }
}

/// Fills a caller's structure, whose `struct_size` stays.
///
/// # Safety
/// `to` points at a `struct_size` and, if that is right, at as many bytes, writable.
pub(crate) unsafe fn write<T: Versioned>(to: *mut T, value: &T) -> Result<(), Failure> {
    // SAFETY: as in `read`.
    let size = checked_size::<T>(unsafe { to.cast::<usize>().read_unaligned() })?;
    // SAFETY: `size` bytes are writable, says the caller.
    unsafe { fill(to, value, size) };
    Ok(())
}

/// Fills a caller's structure for the first time and sets its `struct_size`.
///
/// # Safety
/// `size`, if it is right, bytes are writable at `to`.
pub(crate) unsafe fn init<T: Versioned>(to: *mut T, value: &T, size: usize) -> Result<(), Failure> {
    let size = checked_size::<T>(size)?;
    // SAFETY: `size` bytes are writable, says the caller.
    unsafe { fill(to, value, size) };
    Ok(())
}

/// # Safety
/// `size` bytes, at least a `usize`, are writable at `to`.
unsafe fn fill<T: Versioned>(to: *mut T, value: &T, size: usize) {
    // SAFETY: the caller's promise; what lies behind the known fields is zeroed.
    unsafe {
        to.cast::<u8>().write_bytes(0, size);
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>(),
            to.cast(),
            size.min(size_of::<T>()),
        );
        to.cast::<usize>().write_unaligned(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct V2 {
        struct_size: usize,
        a: u64,
        b: u64,
    }
    // SAFETY: integers only, `struct_size` first.
    unsafe impl Versioned for V2 {
        const NAME: &'static str = "v2";
        const FIRST_SIZE: usize = 16;
    }

    fn read_words(words: &[usize]) -> Result<V2, Failure> {
        // SAFETY: each case states a size that the slice has, or one that is refused.
        unsafe { read(words.as_ptr().cast::<V2>()) }
    }

    #[test]
    fn shorter_and_longer_structures_are_read() {
        let old = read_words(&[16, 7, 99]).unwrap();
        assert_eq!((old.a, old.b), (7, 0));
        let new = read_words(&[32, 7, 8, 0]).unwrap();
        assert_eq!((new.struct_size, new.a, new.b), (32, 7, 8));
        for words in [[32, 7, 8, 1], [0, 0, 0, 0], [15, 0, 0, 0], [usize::MAX, 0, 0, 0]] {
            assert_eq!(
                read_words(&words).map(|v| v.a).unwrap_err().code,
                FrcnnResult::StructSize,
                "{words:?}"
            );
        }
    }

    #[test]
    fn no_byte_behind_the_callers_structure_is_written() {
        let value = V2 { struct_size: 0, a: 1, b: 2 };
        let mut words = [16usize, 9, 9, 9];
        // SAFETY: the array has 16 bytes, as it says.
        unsafe { write(words.as_mut_ptr().cast::<V2>(), &value) }.unwrap();
        assert_eq!(words, [16, 1, 9, 9]);
        // SAFETY: 32 bytes.
        unsafe { init(words.as_mut_ptr().cast::<V2>(), &value, 32) }.unwrap();
        assert_eq!(words, [32, 1, 2, 0]);
    }
}
