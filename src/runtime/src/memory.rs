//! Memory that the size of an input asks for: an error where there is none, and not the end of the process.

use crate::Error;

/// `values` made `len` long; new ones are `value`. On failure it is as it was.
pub(crate) fn resize<T: Clone>(
    what: &'static str,
    values: &mut Vec<T>,
    len: usize,
    value: T,
) -> Result<(), Error> {
    if len > values.len() {
        let no_memory = |_| Error::Memory { what, bytes: len.saturating_mul(size_of::<T>()) };
        values.try_reserve_exact(len - values.len()).map_err(no_memory)?;
    }
    values.resize(len, value);
    Ok(())
}

/// Room for `more` values behind those of `values`.
pub(crate) fn reserve<T>(what: &'static str, values: &mut Vec<T>, more: usize) -> Result<(), Error> {
    let no_memory = |_| Error::Memory { what, bytes: more.saturating_mul(size_of::<T>()) };
    values.try_reserve(more).map_err(no_memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let mut values = vec![1u64];
        let error = resize("boxes", &mut values, usize::MAX / 8, 0).unwrap_err();
        assert!(error.to_string().starts_with("no memory for boxes: "), "{error}");
        assert!(reserve("boxes", &mut values, usize::MAX / 2).is_err());
        resize("boxes", &mut values, 3, 7).unwrap();
        assert_eq!(values, [1, 7, 7]);
        resize("boxes", &mut values, 1, 0).unwrap();
        assert_eq!(values, [1]);
    }
}
