//! Locks, and waiting for them: in one place, so that a test can put [loom]'s in theirs and try every order of events.
//!
//! [loom]: https://docs.rs/loom

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
pub(crate) use std::thread::{Builder, JoinHandle};

/// Waits until `condition` is false.
pub(crate) fn wait_while<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
}

/// The same, but no longer than `timeout`.
pub(crate) fn wait_timeout_while<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    changed.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
}

/// What a caller waits on with poll(2) and its like.
pub(crate) type Descriptor = RawFd;

/// Something that is on or off, for those who wait on descriptors: readable while it is on.
pub(crate) struct Signal {
    ours: UnixStream,
    theirs: UnixStream,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Signal> {
        let (ours, theirs) = UnixStream::pair()?;
        // Whoever reads or writes it in spite of what was said must not make the library wait.
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok(Signal { ours, theirs })
    }

    /// Turns it on or off; it must be the other before. One byte is on its way while it is on.
    pub(crate) fn turn(&self, on: bool) {
        let _ = if on { (&self.ours).write(&[1]) } else { (&self.theirs).read(&mut [0]) };
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        self.theirs.as_raw_fd()
    }
}
