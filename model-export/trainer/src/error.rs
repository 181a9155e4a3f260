//! Why a command ended early.

use std::fmt;
use std::path::{Path, PathBuf};

use frcnn_core::Printable;
use frcnn_onnx::writer::WriteError;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something is wrong with one file.
    #[error("{path}: {problem}", path = Printable(path.display()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// An ONNX file, or its manifest, cannot be read.
    #[error(transparent)]
    Model(#[from] frcnn_compiler::Error),
    /// A data set has a mistake.
    #[error(transparent)]
    Data(#[from] frcnn_eval::Error),
    /// The command was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// Training cannot go on.
    #[error("{0}")]
    Training(String),
    /// libtorch refused: out of memory, say.
    #[error("libtorch: {0}")]
    Torch(tch::TchError),
    /// Ctrl-C, after a checkpoint was written.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    Closed,
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Error {
        Error::Torch(error)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Error {
        match &error {
            WriteError::Io { path, error } => Error::file(path, error),
            _ => Error::file(error.path(), &error),
        }
    }
}

impl Error {
    pub(crate) fn file(path: &Path, problem: impl fmt::Display) -> Error {
        Error::File { path: path.to_path_buf(), problem: problem.to_string() }
    }
}
