//! What sessions watch: a detector that can be exchanged while they work.

use std::path::PathBuf;

use crate::sync::{Arc, AtomicU64, Ordering, PoisonError, RwLock};

/// The present detector.
pub(crate) struct Slot<D> {
    loaded: RwLock<Loaded<D>>,
    /// That of `loaded`, to be looked at without waiting for a reload.
    generation: AtomicU64,
}

/// A detector and where it came from.
#[derive(Clone)]
pub(crate) struct Loaded<D> {
    pub(crate) detector: D,
    /// 1, and one more for each reload.
    pub(crate) generation: u64,
    pub(crate) path: Option<PathBuf>,
}

impl<D: Clone> Slot<D> {
    pub(crate) fn new(detector: D, path: Option<PathBuf>) -> Arc<Slot<D>> {
        let loaded = RwLock::new(Loaded { detector, generation: 1, path });
        Arc::new(Slot { loaded, generation: AtomicU64::new(1) })
    }

    /// The present detector with its generation and path, all three of one reload.
    pub(crate) fn loaded(&self) -> Loaded<D> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The present detector, where it is another than `loaded`. Waits for no reload where it is not.
    pub(crate) fn newer(&self, loaded: &Loaded<D>) -> Option<Loaded<D>> {
        (self.generation() != loaded.generation).then(|| self.loaded())
    }

    /// Puts a detector in place of the present one, and gives its generation.
    pub(crate) fn put(&self, detector: D, path: PathBuf) -> u64 {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let generation = loaded.generation + 1;
        *loaded = Loaded { detector, generation, path: Some(path) };
        self.generation.store(generation, Ordering::Release);
        generation
    }
}
