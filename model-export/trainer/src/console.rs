//! What is written to standard output and standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

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
    note(format_args!("error: {error}"));
}

/// Tells on standard error what a user may not have meant.
pub(crate) fn warning(text: impl fmt::Display) {
    note(format_args!("warning: {text}"));
}

/// Tells something on standard error. Where even that is closed nobody can be told, which is no reason to fail.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar on standard error, hidden when that is no terminal.
pub(crate) fn progress(len: u64, what: &str) -> ProgressBar {
    styled(len, &format!("{what} {{bar:24}} {{pos}}/{{len}} {{eta}} {{msg}}"))
}

/// A bar of this look.
pub(crate) fn styled(len: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style)
}
