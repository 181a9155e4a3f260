//! Where the boxes come from that a Fast R-CNN judges.
//!
//! The network finds no object that no proposal comes near, so a detector is only as good as its proposals.
//! [`grid`] needs nothing but the image's size and is the last resort.
#![forbid(unsafe_code)]

mod grid;
mod motion;
mod propose;
mod selective_search;
mod tasks;

pub use grid::{Grid, grid};
pub use motion::Motion;
pub use propose::{Method, Notice, Proposals, Propose};
pub use selective_search::{Mode, SelectiveSearch};
