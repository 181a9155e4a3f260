//! Runs Fast R-CNN detectors over data sets and against references, and tells how they did.
//!
//! | question | function | page |
//! |---|---|---|
//! | What does it find in these images? | [`run()`] | |
//! | How good is that? | scores of `frcnn-eval` | [`page::evaluation()`] |
//! | Does it compute what the reference did, and if not, since which stage? | [`compare`] | [`page::comparison()`] |
//! | How far can its layers be factored before it finds less? | [`sweep`] | [`plot::trade_off()`] |
//! | Which layers can be rounded, and gain time on a board? | [`auto`] | |
//! | Which regions can be dropped before the head looks at them? | [`cascade`] | [`plot::cascades()`] |
//!
//! This is a crate of its own because of the direction of dependencies: the scorer (`frcnn-eval`) runs no network and the
//! runtime (`frcnn`) knows no data set, so what needs both, and for the sweep the compiler as well, stands above all
//! three. The command line only reads arguments and files, and prints what these functions give.
#![forbid(unsafe_code)]

mod board;
mod error;
mod ladder;
mod photo;
mod pooled;
mod proposed;
mod provenance;
mod run;
mod stages;

pub mod auto;
pub mod cascade;
pub mod compare;
pub mod page;
pub mod plot;
pub mod quantize;
pub mod sweep;

pub use board::{Board, computes_f16};
pub use error::Error;
pub use ladder::{Ladder, Rung, worthwhile};
pub use photo::{KeptBoxes, MAX_PROPOSALS, selective_search};
pub use provenance::{Provenance, processor};
pub use run::{Finished, Loaded, Shard, run};

/// Points of mAP that what is chosen by photos may lose where nobody says it.
pub const MAX_DROP: f64 = 0.3;
pub use stages::{ReferenceTensors, stages};
