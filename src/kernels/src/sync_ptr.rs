//! A pointer to a buffer that several tasks write to.

/// A pointer that may go to other threads: tasks write through it at the same time, each to its own part of the buffer.
pub(crate) struct SyncPtr<T = f32>(*mut T);

impl<T> Clone for SyncPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SyncPtr<T> {}

// SAFETY: writing through it is `unsafe`, and who does so promises that no other task touches the same values.
unsafe impl<T: Send> Send for SyncPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SyncPtr<T> {}

impl<T> SyncPtr<T> {
    pub(crate) fn new(buffer: &mut [T]) -> Self {
        Self(buffer.as_mut_ptr())
    }

    /// The buffer from value `by` on.
    pub(crate) fn offset(self, by: usize) -> Self {
        Self(self.0.wrapping_add(by))
    }

    pub(crate) fn as_mut_ptr(self) -> *mut T {
        self.0
    }
}
