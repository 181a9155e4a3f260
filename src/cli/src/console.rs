//! What is written to standard output and standard error.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::error::Error;

/// Writes results to standard output at once, so that a reader at the other end of a pipe need not wait.
pub(crate) fn result(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::file(Path::new("standard output"), error),
    })
}

/// Tells on standard error what failed.
pub(crate) fn error(error: impl fmt::Display) {
    to_stderr(&format_args!("error: {error}"));
}

/// Tells on standard error what a user may not have meant.
pub(crate) fn warning(text: impl fmt::Display) {
    to_stderr(&format_args!("warning: {text}"));
}

/// Where even standard error is closed nobody can be told, which is no reason to fail.
fn to_stderr(text: &fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
