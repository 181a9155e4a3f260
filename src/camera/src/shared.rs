//! What all cameras' threads share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Message;
use crate::snapshots::Snapshots;
use crate::status::Status;

/// For as long as the daemon runs.
pub(crate) struct Shared {
    pub(crate) status: Arc<Status>,
    /// None at the end: all that was taken is written then.
    pub(crate) snapshots: Mutex<Option<Snapshots>>,
    /// A line for every frame.
    pub(crate) all: bool,
    /// The last id that was given to an object of a camera, which may have gone since and come back.
    ids: Mutex<HashMap<Arc<str>, u64>>,
}

impl Shared {
    pub(crate) fn new(status: Arc<Status>, snapshots: Option<Snapshots>, all: bool) -> Shared {
        Shared { status, snapshots: Mutex::new(snapshots), all, ids: Mutex::default() }
    }

    /// The last id that was given to an object of a camera.
    pub(crate) fn last_id(&self, camera: &str) -> u64 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).get(camera).copied().unwrap_or(0)
    }

    /// An object of a camera has an id, which no other gets.
    pub(crate) fn give_id(&self, camera: &Arc<str>, id: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let last = ids.entry(camera.clone()).or_default();
        *last = id.max(*last);
    }

    pub(crate) fn snapshots(&self) -> MutexGuard<'_, Option<Snapshots>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells events whose snapshots take too long to be written; `last`: all that is left.
    pub(crate) fn tell_late(&self, last: bool) {
        let late = self.snapshots().as_ref().map(|kept| if last { kept.last() } else { kept.late() });
        for event in late.into_iter().flatten() {
            self.status.send(&Message::Object(Arc::new(event)));
        }
    }

    /// The camera that an event names: one of a file, not the command line's.
    pub(crate) fn camera(&self, name: &Arc<str>) -> Option<Arc<str>> {
        self.status.is_labelled().then(|| name.clone())
    }
}
