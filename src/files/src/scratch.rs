//! Buffers that are used again from frame to frame, and do not keep the size of the largest frame for ever.

use crate::{NoMemory, try_reserve, try_resize};

/// Less than this is not worth giving back.
const KEPT: usize = 1 << 20;

/// Whether a buffer is not worth keeping for `len` values: it has more than [`KEPT`] bytes, and over four times as many as
/// are needed. So one huge frame does not hold its memory until the session ends, and sizes that come in turn keep theirs.
fn is_far_too_large<T>(buffer: &Vec<T>, len: usize) -> bool {
    buffer.capacity().saturating_mul(size_of::<T>()) > KEPT && buffer.capacity() / 4 > len
}

/// Makes `buffer` `len` bytes long; what they hold is not said.
///
/// # Errors
/// There is no memory for them.
pub fn resize(buffer: &mut Vec<u8>, len: usize) -> Result<(), NoMemory> {
    if is_far_too_large(buffer, len) {
        *buffer = Vec::new();
    }
    try_resize(buffer, len, 0)
}

/// Empties `buffer` and makes room in it for `len` values.
///
/// # Errors
/// There is no memory for them.
pub fn empty<T>(buffer: &mut Vec<T>, len: usize) -> Result<(), NoMemory> {
    buffer.clear();
    if is_far_too_large(buffer, len) {
        *buffer = Vec::new();
    }
    try_reserve(buffer, len)
}

/// Gives back what a buffer that another has filled holds beyond its bytes.
pub fn trim(buffer: &mut Vec<u8>) {
    if is_far_too_large(buffer, buffer.len()) {
        buffer.shrink_to_fit();
    }
}

/// Makes `buffer` a copy of `bytes`.
///
/// # Errors
/// There is no memory for it.
pub fn copy(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), NoMemory> {
    resize(buffer, bytes.len())?;
    buffer.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_huge_frame_does_not_keep_its_memory() {
        let mut buffer = Vec::new();
        resize(&mut buffer, 640 * 480 * 3).unwrap();
        let usual = buffer.capacity();
        resize(&mut buffer, 8192 * 8192 * 3).unwrap();
        copy(&mut buffer, &vec![7; 640 * 480 * 3]).unwrap();
        assert_eq!((buffer.capacity(), buffer[640 * 480 * 3 - 1]), (usual, 7));
        // Sizes that come in turn keep their buffer.
        resize(&mut buffer, 3 * 640 * 480 * 3).unwrap();
        resize(&mut buffer, 640 * 480 * 3).unwrap();
        assert_eq!(buffer.capacity(), 3 * usual);
    }

    #[test]
    fn nor_do_a_million_boxes() {
        let mut boxes: Vec<[f32; 4]> = Vec::new();
        empty(&mut boxes, 1 << 20).unwrap();
        boxes.push([0.0; 4]);
        empty(&mut boxes, 1 << 19).unwrap();
        assert_eq!((boxes.len(), boxes.capacity()), (0, 1 << 20));
        empty(&mut boxes, 2000).unwrap();
        assert_eq!(boxes.capacity(), 2000);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let bytes = isize::MAX as usize;
        assert_eq!(resize(&mut Vec::new(), bytes), Err(NoMemory { bytes }));
        for len in [usize::MAX, isize::MAX as usize / 8] {
            assert!(empty(&mut Vec::<u64>::new(), len).is_err());
        }
    }
}
