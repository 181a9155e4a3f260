//! What is written to standard output and standard error: the only places through which the command speaks.
//!
//! Names come from files and may hold anything. Whatever acts on a terminal is escaped here, in all that is printed: in
//! JSON as JSON escapes it, so that the values are exact. Line feeds pass, so a name that is part of a line is made
//! [`Printable`] where the line is made; cells of tables are.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use frcnn_core::{PrintableJson, PrintableLines};
use serde::Serialize;

use crate::error::Error;

/// Writes results to standard output at once, so that a reader at the other end of a pipe need not wait.
pub(crate) fn result(text: &str) -> Result<(), Error> {
    write(&PrintableLines(text).to_string())
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|error| Error::file(Path::new("standard output"), error))?;
    write(&format!("{}\n", PrintableJson(json)))
}

fn write(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::Output(error),
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

/// Tells something on standard error in the words of another.
pub(crate) fn note(text: &str) {
    to_stderr(&format_args!("{}", text.trim_end()));
}

/// Where even standard error is closed nobody can be told, which is no reason to fail. Lines behind the first are
/// indented: none of them can be taken for a message of its own.
fn to_stderr(text: &fmt::Arguments<'_>) {
    let text = PrintableLines(text).to_string().replace('\n', "\n  ");
    let _ = writeln!(io::stderr().lock(), "{text}");
}
