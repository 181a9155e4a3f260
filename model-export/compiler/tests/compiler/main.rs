//! One program, so that the models of [`common`], and what they are compiled with, are built once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy's own exemption for tests ends at functions marked #[test]"
)]

#[path = "../common/mod.rs"]
mod common;

mod compile;
mod detector;
mod detectron;
mod emit;
mod hostile;
mod input;
mod int8;
mod learned_proposals;
mod models;
mod mutations;
mod new_model;
mod not_finite;
mod predecessors;
mod testgraphs;
