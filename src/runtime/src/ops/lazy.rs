//! Layers that are laid out for this CPU when they are first needed.

use std::sync::{Mutex, OnceLock, PoisonError};

use frcnn_bundle::Weights;
use frcnn_core::ShapeError;
use tract_core::internal::*;

/// A layer's weights as the bundle has them, then as its kernel wants them: never both for longer than it takes to make
/// the one of the other.
#[derive(Debug)]
pub(crate) struct Lazy<T, W = Weights> {
    weights: Mutex<Option<W>>,
    laid_out: OnceLock<Result<T, ShapeError>>,
}

impl<T, W> Lazy<T, W> {
    pub(crate) fn new(weights: W) -> Lazy<T, W> {
        Lazy { weights: Mutex::new(Some(weights)), laid_out: OnceLock::new() }
    }

    /// What `lay_out` makes of the weights, which happens once. It must do so on the calling thread alone: one that waits
    /// for other threads of a pool takes up other work of it, which may ask for this very layer.
    pub(super) fn get(&self, lay_out: impl FnOnce(&W) -> Result<T, ShapeError>) -> TractResult<&T> {
        let laid_out = self.laid_out.get_or_init(|| {
            let weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner).take();
            lay_out(&weights.ok_or(ShapeError { what: "weights", expected: 1, found: 0 })?)
        });
        Ok(laid_out.as_ref().map_err(|error| *error)?)
    }
}
