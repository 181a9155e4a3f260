//! Buffers that are used again from frame to frame, and do not keep the size of the largest frame for ever.

use crate::result::{Failure, FrcnnResult};

/// Less than this is not worth giving back.
const KEPT: usize = 1 << 20;

/// Makes `buffer` `len` bytes long; what they hold is not said.
///
/// A buffer of more than [`KEPT`] bytes that is over four times too large is given back first, so that one huge frame
/// does not hold its memory until the session ends.
pub(crate) fn resize(buffer: &mut Vec<u8>, len: usize) -> Result<(), Failure> {
    if buffer.capacity() > KEPT && buffer.capacity() / 4 > len {
        *buffer = Vec::new();
    }
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|_| no_memory(len))?;
    buffer.resize(len, 0);
    Ok(())
}

/// Makes `buffer` a copy of `bytes`, by the same rule.
pub(crate) fn copy(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Failure> {
    resize(buffer, bytes.len())?;
    buffer.copy_from_slice(bytes);
    Ok(())
}

fn no_memory(len: usize) -> Failure {
    Failure::new(FrcnnResult::Internal, format!("a frame needs {len} bytes more than there is memory"))
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
    fn what_cannot_be_had_is_an_error() {
        let failure = resize(&mut Vec::new(), isize::MAX as usize).unwrap_err();
        assert_eq!(failure.code, FrcnnResult::Internal);
    }
}
