//! Ctrl-C: the iteration is finished and a checkpoint written; a second one ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Whether somebody asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP from now on.
    pub(crate) fn on_interrupt() -> Result<Stop, Error> {
        let stop = Stop::default();
        let flag = stop.0.clone();
        let action = move |_signal| {
            if flag.swap(true, Ordering::Relaxed) {
                frcnn_files::remove_temporaries();
                std::process::exit(130);
            }
        };
        frcnn_files::on_signals(action)
            .map_err(|error| Error::Training(format!("cannot listen for Ctrl-C: {error}")))?;
        Ok(stop)
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
