//! The adapter between tract, which compares operators, and what operators of ours share.

use std::ops::Deref;
use std::sync::Arc;

/// An [`Arc`] that equals its own clones and nothing else.
#[derive(Debug)]
pub(crate) struct PtrEq<T>(Arc<T>);

impl<T> From<T> for PtrEq<T> {
    fn from(value: T) -> PtrEq<T> {
        PtrEq(Arc::new(value))
    }
}

impl<T> Clone for PtrEq<T> {
    fn clone(&self) -> PtrEq<T> {
        PtrEq(self.0.clone())
    }
}

impl<T> Deref for PtrEq<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> PartialEq for PtrEq<T> {
    fn eq(&self, other: &PtrEq<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for PtrEq<T> {}
