//! `frcnn-serve`: a detector behind the interfaces that camera software asks for objects by.
//!
//! ```text
//! HTTP ──http::body (size, time, memory)──┐
//!                                         ├──► Queue (bounded, in turn) ──► Worker threads: decode, propose, detect
//! ZeroMQ ──zmtp (size, time, memory)──────┘        └─ full, too late or given up: refused, and not computed
//! ```
//! Exit codes: 0 ended by SIGTERM or SIGINT, 1 something failed, 2 it was called wrongly.
#![forbid(unsafe_code)]

mod args;
mod budget;
mod detect;
mod door;
mod http;
mod key;
mod metrics;
mod model;
mod queue;
mod refusal;
mod service;
mod zmq;
pub mod zmtp;

pub use refusal::Refusal;

use std::process::ExitCode;

use clap::Parser;

/// The program.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    match service::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(format_args!("error: {}", problem.text));
            ExitCode::from(problem.code)
        }
    }
}

/// Writes a line to standard error, which a journal keeps. Names in it may come from files and from the network.
fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let line = frcnn_core::Printable(text).to_string();
    // Where nobody listens, nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "frcnn-serve: {line}");
}
