//! Values of a section: in memory of their own, or where they lie in the program.

use std::ops::Deref;
use std::sync::Arc;

/// Values that clones share. The last clone frees them, unless they lie in the program itself.
#[derive(Clone)]
pub struct Values<T: 'static>(Place<T>);

#[derive(Clone)]
enum Place<T: 'static> {
    Own(Arc<Vec<T>>),
    Static(&'static [T]),
}

impl<T: bytemuck::Pod> Values<T> {
    /// The values that `bytes` are, where they are aligned as such values must be.
    pub(crate) fn in_place(bytes: &'static [u8]) -> Option<Values<T>> {
        bytemuck::try_cast_slice(bytes).ok().map(|values| Values(Place::Static(values)))
    }
}

impl<T> Values<T> {
    /// Whether they lie in the program itself, and take no memory of their own.
    pub fn are_static(&self) -> bool {
        matches!(self.0, Place::Static(_))
    }
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Place::Own(values) => values,
            Place::Static(values) => values,
        }
    }
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Values<T> {
        Values(Place::Own(Arc::new(values)))
    }
}

impl<T> FromIterator<T> for Values<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Values<T> {
        Vec::from_iter(values).into()
    }
}

impl<T> std::fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values({})", self.len())
    }
}
