//! Why a command ended early.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "compile")]
use frcnn_compiler::onnx_writer::WriteError;
use frcnn_core::Printable;

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
    /// The command was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// The compiler refused; it names the file itself.
    #[cfg(feature = "compile")]
    #[error(transparent)]
    Compile(#[from] frcnn_compiler::Error),
    /// A data set, detections or reference tensors; it names the file itself.
    #[cfg(feature = "compile")]
    #[error(transparent)]
    Eval(#[from] frcnn_eval::Error),
    /// A run, a comparison or a sweep; it names the file itself.
    #[cfg(feature = "compile")]
    #[error(transparent)]
    Harness(#[from] frcnn_harness::Error),
    /// Some inputs failed, each has been reported already.
    #[error("some inputs failed")]
    Reported,
    /// Standard output takes nothing more: a full disk, say.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    Closed,
}

#[cfg(feature = "compile")]
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
