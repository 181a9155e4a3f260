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
mod say;
mod service;
mod zmq;
pub mod zmtp;

pub use refusal::Refusal;

use std::process::ExitCode;

use clap::Parser;

use crate::say::say;

/// The program.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    let code = match service::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(format_args!("error: {}", problem.text));
            ExitCode::from(problem.code)
        }
    };
    say::finish();
    code
}
