//! What the fuzz targets share: seeds, the mutations of bundles, and what must hold of every detection.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure here is a finding")]

pub mod bundle;
pub mod contract;
pub mod folder;
mod seeds;

pub use seeds::{caught_panics_are_no_findings, seed};
