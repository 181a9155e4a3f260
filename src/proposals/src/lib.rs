//! Where the boxes come from that a Fast R-CNN judges.
//!
//! The network finds no object that no proposal comes near, so a detector is only as good as its proposals.
//!
//! | source | looks at | for |
//! |---|---|---|
//! | [`SelectiveSearch`] | one image | photos, and whatever else is not known beforehand |
//! | [`Motion`] | frame after frame | fixed cameras: what moves |
//! | [`Grid`] | nothing but the size | the last resort, and experiments with dense boxes |
//!
//! All are a [`Propose`] and give [`Proposals`], best first:
//!
//! ```
//! use frcnn_core::Frame;
//! use frcnn_proposals::{Propose, SelectiveSearch};
//!
//! # let pixels = vec![0; 64 * 48 * 3];
//! let frame = Frame::rgb8(&pixels, 64, 48)?;
//! let proposals = SelectiveSearch::default().propose(&frame, 2000);
//! println!("{} boxes by {} in {:?}", proposals.boxes.len(), proposals.method, proposals.elapsed);
//! # Ok::<(), frcnn_core::FrameError>(())
//! ```
//!
//! Features: `selective-search` and `motion`, both on by default; with `file`, `BoxFile` reads the boxes of a data set that
//! were made before.
#![forbid(unsafe_code)]

#[cfg(feature = "file")]
mod file;
mod grid;
#[cfg(feature = "motion")]
mod motion;
mod propose;
#[cfg(feature = "selective-search")]
mod selective_search;
#[cfg(feature = "selective-search")]
mod tasks;

#[cfg(feature = "file")]
pub use file::{BoxFile, BoxFileError};
pub use grid::{Grid, grid};
#[cfg(feature = "motion")]
pub use motion::{Motion, MotionOptions};
pub use propose::{Notice, ProposalMethod, Proposals, Propose};
#[cfg(feature = "selective-search")]
pub use selective_search::{Mode, SelectiveSearch};

/// The steps of [`SelectiveSearch`], to measure and to look inside.
#[cfg(feature = "selective-search")]
pub mod stages {
    pub use crate::selective_search::bins::Bins;
    pub use crate::selective_search::colour::{ColourSpace, Planes};
    pub use crate::selective_search::edges::Edges;
    pub use crate::selective_search::group::{Similarity, group};
    pub use crate::selective_search::regions::RegionFeatures;
    pub use crate::selective_search::segment::{Segmentation, segment};
}

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
