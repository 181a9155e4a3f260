//! Why a run ended early.

use std::path::{Path, PathBuf};

use frcnn_core::Printable;

/// Why a run ended early; the text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is wrong with one file, or with what was made of it.
    #[error("{path}: {problem}", path = Printable(path.display()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A data set, detections or tensors.
    #[error(transparent)]
    Eval(#[from] frcnn_eval::Error),
    /// The compiler refused.
    #[error(transparent)]
    Compile(#[from] frcnn_compiler::Error),
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] frcnn::Error),
    /// The compiler refused to make of a network what was asked for. [`Error::of_model`] names the model.
    #[error("{0}")]
    Refused(frcnn_compiler::Problem),
    /// Tensors that are not what a stage reads.
    #[error("{0}")]
    Stage(String),
    /// A picture could not be drawn.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// Whoever called has had enough.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// That something is wrong with a file.
    pub fn file(path: &Path, problem: impl std::fmt::Display) -> Error {
        Error::File { path: path.to_path_buf(), problem: problem.to_string() }
    }

    /// The same, where the compiler refused a network with the model that it is of.
    pub fn of_model(self, path: &Path) -> Error {
        match self {
            Error::Refused(problem) => {
                Error::Compile(frcnn_compiler::Error::Model { path: path.to_path_buf(), problem })
            }
            other => other,
        }
    }
}
