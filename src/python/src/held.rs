//! Values that Python code holds on to: detectors, streams, tensors, and what comparisons and evaluations were made of.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::call::{Call, Reply};
use crate::error::{Failure, Kind};

/// All that is held, by numbers that are given once.
#[derive(Default)]
struct Held {
    last: u64,
    values: HashMap<u64, Arc<dyn Any + Send + Sync>>,
}

fn all() -> MutexGuard<'static, Held> {
    static HELD: LazyLock<Mutex<Held>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds a value until it is released; its number.
pub(crate) fn hold(value: impl Any + Send + Sync) -> u64 {
    let mut held = all();
    held.last += 1;
    let number = held.last;
    held.values.insert(number, Arc::new(value));
    number
}

/// The value of a number, if it is of this type.
pub(crate) fn find<T: Any + Send + Sync>(number: u64) -> Option<Arc<T>> {
    let value = all().values.get(&number).cloned();
    value.and_then(|value| value.downcast().ok())
}

/// The same, where it is to be of this type.
pub(crate) fn held<T: Any + Send + Sync>(number: u64) -> Result<Arc<T>, Failure> {
    find(number).ok_or_else(|| Failure::new(Kind::Any, "this object was released, or is of another kind"))
}

/// number -> null
pub(crate) fn release(call: &Call) -> Result<Reply, Failure> {
    let number: u64 = call.arguments()?;
    // Let go of outside of the lock: a detector ends its threads.
    let value = all().values.remove(&number);
    drop(value);
    Reply::of(&())
}
