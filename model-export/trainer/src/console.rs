//! What is written to standard output and standard error, nothing of which acts on a terminal: names come from files.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use frcnn_core::{PrintableJson, PrintableLines};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Error;

/// Writes results to standard output at once, so that a reader at the other end of a pipe need not wait.
pub(crate) fn result(text: &str) -> Result<(), Error> {
    write(&format_args!("{}", PrintableLines(text)))
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|error| Error::file(Path::new("standard output"), error))?;
    write(&format_args!("{}\n", PrintableJson(json)))
}

fn write(text: &fmt::Arguments<'_>) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(*text).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
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
    // Lines behind the first are indented: none of them can be taken for a message of its own.
    let text = PrintableLines(text).to_string().replace('\n', "\n  ");
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
