//! Locks, and waiting for them: in one place, so that a test can put [loom]'s in theirs and try every order of events.
//!
//! [loom]: https://docs.rs/loom

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
