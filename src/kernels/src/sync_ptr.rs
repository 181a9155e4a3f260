//! A pointer to a buffer that several tasks write to.

/// A pointer that may go to other threads: tasks write through it at the same time, each to its own part of the buffer.
#[derive(Clone, Copy)]
pub(crate) struct SyncPtr(*mut f32);

// SAFETY: writing through it is `unsafe`, and who does so promises that no other task touches the same values.
unsafe impl Send for SyncPtr {}
// SAFETY: as above.
unsafe impl Sync for SyncPtr {}

impl SyncPtr {
    pub(crate) fn new(buffer: &mut [f32]) -> Self {
        Self(buffer.as_mut_ptr())
    }

    /// The buffer from value `by` on.
    pub(crate) fn offset(self, by: usize) -> Self {
        Self(self.0.wrapping_add(by))
    }

    pub(crate) fn as_mut_ptr(self) -> *mut f32 {
        self.0
    }
}
