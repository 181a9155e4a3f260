//! tract-onnx is run on files from anywhere: what panics in it is an error of the model.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use tract_onnx::prelude::{TractError, TractResult};

use crate::error::Problem;

thread_local! {
    /// Whether this thread's panics are caught and reported as errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `run`, which calls tract-onnx for `part`: `trunk`, `head` or a constant expression.
///
/// # Errors
/// What tract says, its causes included, or the message of its panic.
pub(crate) fn tract<T>(part: &str, run: impl FnOnce() -> TractResult<T>) -> Result<T, Problem> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        // Panics of other threads, and outside this function, are told as ever.
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // What a panic leaves behind is dropped here; nothing of it is seen again.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|error| refused(part, &error)),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            let message = format!("it panics: {}", text.unwrap_or_else(|| "no message".to_string()));
            Err(Problem::Referee { part: part.to_string(), message })
        }
    }
}

/// tract's refusal, with its causes.
pub(crate) fn refused(part: &str, error: &TractError) -> Problem {
    Problem::Referee { part: part.to_string(), message: format!("{error:#}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let error = tract::<()>("trunk", || panic!("index {} out of range", 7)).unwrap_err().to_string();
        assert!(error.contains("trunk") && error.contains("index 7 out of range"), "{error}");
        assert_eq!(tract("head", || Ok(5)).unwrap(), 5);
    }
}
