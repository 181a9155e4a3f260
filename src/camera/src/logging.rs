//! What libraries warn of and what a panic says, on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::thread;

use log::{LevelFilter, Log, Metadata, Record};

use crate::stderr::eprint_line;

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
    // As the standard library has it, which waits for a reader.
    std::panic::set_hook(Box::new(|panic| {
        let (thread, trace) = (thread::current(), Backtrace::capture());
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        eprint_line(&format!("thread `{}` {panic}{trace}", thread.name().unwrap_or("?")));
    }));
}
