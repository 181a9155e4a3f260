//! Scratch buffers, kept from frame to frame.

use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses just now.
#[derive(Debug, Default)]
pub(super) struct Buffers<T>(Mutex<Vec<T>>);

impl<T: Default> Buffers<T> {
    /// Runs `work` with one of them, or with a new one where all are in use.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut buffer = idle.unwrap_or_default();
        let result = work(&mut buffer);
        lock().push(buffer);
        result
    }
}
