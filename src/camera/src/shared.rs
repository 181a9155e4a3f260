//! What all cameras' threads share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::snapshots::Snapshots;
use crate::status::Status;

/// For as long as the daemon runs.
pub(crate) struct Shared {
    pub(crate) status: Arc<Status>,
    /// None at the end: all that was taken is written then.
    pub(crate) snapshots: Mutex<Option<Snapshots>>,
    /// A line for every frame.
    pub(crate) all: bool,
}

impl Shared {
    pub(crate) fn snapshots(&self) -> MutexGuard<'_, Option<Snapshots>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The camera that an event names: one of a file, not the command line's.
    pub(crate) fn camera(&self, name: &Arc<str>) -> Option<Arc<str>> {
        self.status.is_labelled().then(|| name.clone())
    }
}
