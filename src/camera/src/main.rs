//! The daemon `frcnn-camera`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    frcnn_camera::main()
}
