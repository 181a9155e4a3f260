//! What can go wrong between a bundle and its detections.

/// What can go wrong between a bundle and its detections.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle cannot be read or is not valid.
    #[error(transparent)]
    Bundle(#[from] frcnn_bundle::Error),
    /// A frame's size, stride and data do not fit together.
    #[error("frame: {0}")]
    Frame(#[from] frcnn_core::FrameError),
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
    #[error("{stage}: {source}")]
    Graph {
        /// `trunk` or `head`.
        stage: &'static str,
        /// What tract said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// For `map_err` on what tract returns.
    pub(crate) fn graph(stage: &'static str) -> impl Fn(tract_core::prelude::TractError) -> Error {
        move |source| Error::Graph { stage, source: source.into() }
    }
}
