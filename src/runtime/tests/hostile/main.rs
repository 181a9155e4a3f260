//! Bundles made to hurt, whose hashes are right: each is refused when it is opened, or runs; none takes memory or time without
//! bound, and every error says what is wrong.
//!
//! What they would cost is not spent here: that it is not is by construction, for the error comes from a count.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod build;
mod cascade;
mod costs;
mod detections;
mod graphs;
mod in_place;
