//! The extension module `frcnn._frcnn`, on which the Python package `frcnn` stands.
//!
//! Python code (`python/frcnn`) has the interface that people use: it makes arrays of what comes from here, and turns images into
//! what is read here. This crate calls the functions that the command `frcnn` calls, and gives what they give.
//!
//! ```text
//! detector.detect(image, boxes) ──call("detect", JSON, image, boxes)──► `border` ──► one of `OPERATIONS`
//!        Detections ◄──arrays of the bytes──────── (JSON, bytes ...) ◄──────────────────── `Reply`
//! ```
//! One function is all that Python sees: small things are JSON, large ones memory of arrays, which is neither copied on the way in nor
//! more than once on the way out. So `border` is all the `unsafe` that there is, and every operation is plain Rust. It stands on
//! `pyo3-ffi`, not on PyO3: that turns on default features of `once_cell`, and its macros some of `syn`, with which `cargo run` and
//! `cargo test --workspace` would no longer share one build of tract, faer and the kernels.
//!
//! | file | holds |
//! |---|---|
//! | `border` | the module, and its function |
//! | `call` | what an operation is given, and gives |
//! | `error` | kinds of errors, each a class of exceptions |
//! | `held` | values that Python code holds on to |
//! | `picture` | images: arrays without a copy, or files |
//! | `source` | where boxes come from |
//! | `pool` | threads of operations without a detector of their own |
//! | `detector`, `stream` | detection; the interpreter is free meanwhile, as in every operation |
//! | `dataset` | the photos of data sets |
//! | `choices` | what is chosen by such photos when a model is compiled |
//! | `compile`, `compare`, `evaluate`, `propose`, `draw` | what they are called |
#![deny(unsafe_op_in_unsafe_fn)]

mod border;
mod call;
mod choices;
mod compare;
mod compile;
mod dataset;
mod detector;
mod draw;
mod error;
mod evaluate;
mod held;
mod picture;
mod pool;
mod propose;
mod source;
mod stream;

use call::{Call, Reply};
use error::{Failure, Kind};

/// Runs while the interpreter is free.
type Operation = fn(&Call) -> Result<Reply, Failure>;

/// What can be called.
const OPERATIONS: [(&str, Operation); 16] = [
    ("open", detector::open),
    ("detect", detector::detect),
    ("stages", detector::stages),
    ("stream", stream::stream),
    ("stream_detect", stream::detect),
    ("stream_composite", stream::composite),
    ("tensors", compare::tensors),
    ("open_tensors", compare::open_tensors),
    ("compare", compare::compare),
    ("comparison_html", compare::html),
    ("compile", compile::compile),
    ("draw", draw::draw),
    ("evaluate", evaluate::evaluate),
    ("evaluation_html", evaluate::html),
    ("propose", propose::propose),
    ("release", held::release),
];

/// Runs an operation. None has the right to panic; the reply is an error if one does.
fn run(operation: &str, call: &Call) -> Result<Reply, Failure> {
    let known = OPERATIONS.iter().find(|(name, _)| *name == operation);
    let (_, run) = known.ok_or_else(|| Failure::new(Kind::Any, format_args!("no operation {operation}")))?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(call)));
    outcome.unwrap_or_else(|_| {
        let problem =
            "a mistake in frcnn ended the call, and its message went to standard error: please report it";
        Err(Failure::new(Kind::Any, problem))
    })
}
