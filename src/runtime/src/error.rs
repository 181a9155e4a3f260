//! What can go wrong between a bundle and its detections.

use frcnn_files::NoMemory;
use tract_core::prelude::TractError;

/// What can go wrong between a bundle and its detections.
///
/// The text tells everything, causes included, so that [`source`](std::error::Error::source) has nothing to add and is `None`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bundle cannot be read or is not valid.
    #[error(transparent)]
    Bundle(#[from] frcnn_bundle::Error),
    /// A frame's size, stride and data do not fit together.
    #[error("frame: {0}")]
    Frame(frcnn_core::FrameError),
    /// An option is out of range.
    #[error("option: {0}")]
    Options(String),
    /// A tensor that was handed in does not have the size that the stage reads.
    #[error(transparent)]
    Shape(#[from] frcnn_core::ShapeError),
    /// The image is too small or too large for the network at the manifest's scale.
    #[error("a blob of {height} x {width} pixels does not go through the trunk: {problem}")]
    BlobSize {
        /// Rows of the blob.
        height: usize,
        /// Columns of the blob.
        width: usize,
        /// Why not.
        problem: String,
    },
    /// The bundle asks for more than [`Options::limits`](crate::Options::limits) allow.
    #[error(transparent)]
    Limit(#[from] crate::cost::Excess),
    /// The system has no memory left for something as large as the input makes it.
    #[error("no memory for {what}: {bytes} bytes")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: usize,
    },
    /// The bundle's method has no such stage.
    #[error("{method} has no stage `{stage}`")]
    Stage {
        /// Of the bundle.
        method: &'static str,
        /// The stage asked for.
        stage: &'static str,
    },
    /// The threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// tract refused to plan or run a graph.
    #[error("{stage}: {problem}")]
    Graph {
        /// `trunk` or `head`.
        stage: &'static str,
        /// What tract said.
        problem: String,
    },
}

/// What an [`Error`] is about, for a program that acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system did not read the bundle's file.
    Io,
    /// The file is no bundle, damaged, of a version that is not read, or holds no network that could run.
    Bundle,
    /// A frame, or a tensor handed to a stage, has not the size that it must have.
    Input,
    /// An option is out of range.
    Options,
    /// The bundle asks for more than the limits allow.
    Limit,
    /// There is no memory left.
    Memory,
    /// The network has no such stage.
    Unsupported,
    /// The system gave no threads.
    Threads,
    /// A fault in this crate.
    Internal,
}

/// An error and all that led to it: `Evaluating #1: the window is larger than the map`.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors repeat what led to them.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl From<frcnn_core::FrameError> for Error {
    fn from(error: frcnn_core::FrameError) -> Error {
        Error::Frame(error)
    }
}

impl Error {
    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Bundle(frcnn_bundle::Error::Io { .. }) => ErrorKind::Io,
            Error::Bundle(_) => ErrorKind::Bundle,
            Error::Frame(_) | Error::Shape(_) | Error::BlobSize { .. } => ErrorKind::Input,
            Error::Options(_) => ErrorKind::Options,
            Error::Limit(_) => ErrorKind::Limit,
            Error::Memory { .. } => ErrorKind::Memory,
            Error::Stage { .. } => ErrorKind::Unsupported,
            Error::Threads(_) => ErrorKind::Threads,
            Error::Graph { .. } => ErrorKind::Internal,
        }
    }

    /// For `map_err` on what tract returns.
    pub(crate) fn graph(stage: &'static str) -> impl Fn(TractError) -> Error {
        Error::making(stage, "a tensor")
    }

    /// The same where `what` is made, for which there may be no memory.
    pub(crate) fn making(stage: &'static str, what: &'static str) -> impl Fn(TractError) -> Error {
        move |source| match source.downcast_ref::<NoMemory>() {
            Some(&NoMemory { bytes }) => Error::Memory { what, bytes },
            None => {
                let error: Box<dyn std::error::Error + Send + Sync> = source.into();
                Error::Graph { stage, problem: chain(&*error) }
            }
        }
    }

    /// For `map_err` on what [`try_resize`](frcnn_files::try_resize) and its like return.
    pub(crate) fn memory(what: &'static str) -> impl Fn(NoMemory) -> Error {
        move |NoMemory { bytes }| Error::Memory { what, bytes }
    }
}

#[cfg(test)]
mod tests {
    use tract_core::internal::*;

    use super::*;

    /// What tract says of a layer, and what the layer's own code says of the reason.
    #[test]
    fn the_whole_chain_is_told_once() {
        let cause = format_err!("the window is larger than the map");
        let cause = cause.context("running conv1").context("Evaluating #1");
        let text = Error::graph("trunk")(cause).to_string();
        assert_eq!(text, "trunk: Evaluating #1: running conv1: the window is larger than the map");
        assert_eq!(Error::graph("head")(format_err!("alone")).to_string(), "head: alone");
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let error = Error::memory("boxes")(NoMemory { bytes: 7 });
        assert_eq!(error.to_string(), "no memory for boxes: 7 bytes");
        // A layer that has none says so through tract.
        let cause = TractError::from(NoMemory { bytes: 7 }).context("running conv1").context("Evaluating #1");
        let error = Error::graph("trunk")(cause);
        assert!(matches!(error, Error::Memory { what: "a tensor", bytes: 7 }), "{error}");
    }
}
