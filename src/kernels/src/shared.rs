//! A buffer that several tasks write to.

/// A buffer that tasks write to at the same time, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: writing through it is `unsafe`, and who does so promises that no other task touches the same values.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
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
