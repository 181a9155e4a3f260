//! The C interface of frcnn. `include/frcnn.h`, which is made from this crate, documents it for those who call it.
//!
//! | file | holds |
//! |---|---|
//! | `result` | result codes, the last error's message, the macro around every entry point |
//! | `sized` | structures that carry their own size, so that they can grow |
//! | `frame` | frames as C describes them, checked |
//! | `proposer` | boxes for callers that bring none |
//! | `engine` | one frame through all of it, in safe Rust |
//! | `slot` | a detector that can be exchanged while sessions work |
//! | `worker` | submit and poll: the thread behind a session |
//! | `sync` | the locks of `slot` and `worker`, which a test exchanges for loom's |
//! | `about`, `logging`, `model`, `session`, `stream`, `tracker` | the entry points |
//!
//! `unsafe` stands where C's pointers become references, and nowhere else.
#![allow(unsafe_code, reason = "this crate is the border to C; each block says why it is sound")]
#![deny(unsafe_op_in_unsafe_fn)]

#[macro_use]
mod result;
mod about;
mod engine;
mod frame;
mod logging;
mod model;
mod proposer;
mod session;
mod sized;
mod slot;
mod stream;
mod sync;
mod tracker;
mod worker;

pub use about::*;
pub use frame::*;
pub use logging::*;
pub use model::*;
pub use proposer::FrcnnProposer;
pub use result::*;
pub use session::*;
pub use stream::*;
pub use tracker::*;
