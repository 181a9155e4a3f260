//! What `worker.rs` and `slot.rs` use of the library, with loom's locks and with nothing to compute.

/// The `frcnn` crate's: neither is looked into.
#[derive(Clone, Copy, Debug)]
pub struct BBox;
pub type Detections = Vec<()>;

/// `sync.rs` with loom's locks.
pub(crate) mod sync {
    use std::time::Duration;

    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use loom::thread::{Builder, JoinHandle};
    pub(crate) use std::sync::PoisonError;

    pub(crate) fn wait_while<'a, T>(
        changed: &Condvar,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        guard
    }

    /// Stands for a descriptor: whoever polls it sees whether the signal is on, and can wait until it is.
    #[derive(Clone)]
    pub(crate) struct Descriptor(Arc<(Mutex<bool>, Condvar)>);

    impl Descriptor {
        pub(crate) fn is_readable(&self) -> bool {
            *self.0.0.lock().unwrap()
        }

        pub(crate) fn wait(&self) {
            drop(wait_while(&self.0.1, self.0.0.lock().unwrap(), |on| !*on));
        }
    }

    pub(crate) struct Signal(Descriptor);

    impl Signal {
        pub(crate) fn new() -> std::io::Result<Signal> {
            Ok(Signal(Descriptor(Arc::new((Mutex::new(false), Condvar::new())))))
        }

        pub(crate) fn turn(&self, on: bool) {
            let (state, changed) = &*self.0.0;
            let before = std::mem::replace(&mut *state.lock().unwrap(), on);
            assert_ne!(before, on, "a byte too many, or one that is missing");
            changed.notify_all();
        }

        pub(crate) fn descriptor(&self) -> Descriptor {
            self.0.clone()
        }
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        changed: &Condvar,
        guard: MutexGuard<'a, T>,
        _timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        wait_while(changed, guard, condition)
    }
}

pub(crate) mod engine {
    use frcnn::{BBox, Detections};

    use crate::frame::Image;
    use crate::result::{Failure, FrcnnResult};
    use crate::slot::{Loaded, Slot};
    use crate::sync::Arc;

    /// The frame of this id fails.
    pub(crate) const FAILS: u64 = 13;

    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Facts {
        pub(crate) id: u64,
        pub(crate) generation: u64,
        /// What the detector that ran says of itself.
        pub(crate) detector: u64,
    }

    pub(crate) struct Engine {
        slot: Arc<Slot<u64>>,
        loaded: Loaded<u64>,
        /// Ids of the frames that it was given.
        pub(crate) ran: Vec<u64>,
    }

    impl Engine {
        pub(crate) fn new(slot: Arc<Slot<u64>>) -> Engine {
            let loaded = slot.loaded();
            Engine { slot, loaded, ran: Vec::new() }
        }

        pub(crate) fn run(
            &mut self,
            image: &Image<&[u8]>,
            _proposals: Option<&[BBox]>,
            facts: &mut Facts,
        ) -> Result<Detections, Failure> {
            if let Some(newer) = self.slot.newer(&self.loaded) {
                self.loaded = newer;
            }
            let Loaded { generation, detector, .. } = self.loaded;
            *facts = Facts { id: image.id, generation, detector };
            self.ran.push(image.id);
            if image.id == FAILS {
                return Err(Failure::new(FrcnnResult::Frame, "as it should"));
            }
            Ok(Detections::new())
        }
    }
}

pub(crate) mod frame {
    use crate::result::Failure;

    #[derive(Clone, Copy)]
    pub(crate) struct Image<P> {
        pub(crate) id: u64,
        pub(crate) plane: P,
    }

    impl Image<&[u8]> {
        pub(crate) fn copy_into(&self, copy: &mut Image<Vec<u8>>) -> Result<(), Failure> {
            copy.id = self.id;
            Ok(())
        }
    }

    impl Image<Vec<u8>> {
        pub(crate) fn empty() -> Self {
            Image { id: 0, plane: Vec::new() }
        }

        pub(crate) fn view(&self) -> Image<&[u8]> {
            Image { id: self.id, plane: &self.plane }
        }
    }
}

pub(crate) mod result {
    use std::any::Any;
    use std::borrow::Cow;

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum FrcnnResult {
        Frame,
        Idle,
        Internal,
        NotReady,
    }

    #[derive(Debug)]
    pub(crate) struct Failure {
        pub(crate) code: FrcnnResult,
        pub(crate) message: Cow<'static, str>,
    }

    impl From<frcnn_files::NoMemory> for Failure {
        fn from(error: frcnn_files::NoMemory) -> Failure {
            Failure::new(FrcnnResult::Internal, error.to_string())
        }
    }

    impl Failure {
        pub(crate) fn new(code: FrcnnResult, message: impl Into<Cow<'static, str>>) -> Failure {
            Failure { code, message: message.into() }
        }

        /// loom ends a run by panics, which go on.
        pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Failure {
            panic!("{:?}", payload.downcast_ref::<String>())
        }
    }
}
