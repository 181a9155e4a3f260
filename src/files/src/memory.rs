//! Memory whose amount a file or an input tells: an error where there is none, and not the end of the process.

use std::io;

/// The system has no memory left for as many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory {
    /// What all values would have taken.
    pub bytes: usize,
}

impl NoMemory {
    /// For `more` values behind those of `values`.
    fn of<T>(values: &[T], more: usize) -> Self {
        Self { bytes: values.len().saturating_add(more).saturating_mul(size_of::<T>()) }
    }
}

impl std::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no memory for {} bytes", self.bytes)
    }
}

impl std::error::Error for NoMemory {}

impl From<NoMemory> for io::Error {
    fn from(error: NoMemory) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, error)
    }
}

/// Makes `values` `len` long; new ones are `value`. No more memory is taken than that.
///
/// # Errors
/// There is no memory for `len` values. Then `values` is as it was.
pub fn try_resize<T: Clone>(values: &mut Vec<T>, len: usize, value: T) -> Result<(), NoMemory> {
    let more = len.saturating_sub(values.len());
    values.try_reserve_exact(more).map_err(|_| NoMemory::of(values, more))?;
    values.resize(len, value);
    Ok(())
}

/// Makes room for `more` values behind those of `values`, which grows as it does with `push`.
///
/// # Errors
/// There is no memory for as many values. Then `values` is as it was.
pub fn try_reserve<T>(values: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    values.try_reserve(more).map_err(|_| NoMemory::of(values, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let mut values = vec![1u64];
        let bytes = usize::MAX / 8 * 8;
        assert_eq!(try_resize(&mut values, usize::MAX / 8, 0), Err(NoMemory { bytes }));
        assert_eq!(try_reserve(&mut values, usize::MAX), Err(NoMemory { bytes: usize::MAX }));
        // So many bytes can be counted, and no system has them.
        assert!(try_reserve(&mut values, isize::MAX as usize / 8 - 1).is_err());
        assert_eq!(values, [1]);
        assert_eq!(io::Error::from(NoMemory { bytes }).kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn vectors_become_as_long_as_asked() {
        let mut values = vec![1u64];
        try_resize(&mut values, 3, 7).unwrap();
        assert_eq!((values.as_slice(), values.capacity()), (&[1, 7, 7][..], 3));
        try_resize(&mut values, 1, 0).unwrap();
        assert_eq!(values, [1]);
        try_reserve(&mut values, 9).unwrap();
        assert!(values.len() == 1 && values.capacity() >= 10);
    }
}
