//! The service `frcnn-serve`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    frcnn_serve::main()
}
