//! What libraries warn of, on standard error.

use log::{LevelFilter, Log, Metadata, Record};

use crate::status::eprint_line;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= LevelFilter::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            eprint_line(&format!("{}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// From now on.
pub(crate) fn start() {
    // Only a test that starts twice has another.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
