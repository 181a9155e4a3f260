//! Why a command ended early.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something is wrong with one file.
    #[error("{path}: {problem}", path = path.display())]
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
    #[error(transparent)]
    Compile(#[from] frcnn_compiler::Error),
    /// Some inputs failed, each has been reported already.
    #[error("some inputs failed")]
    Reported,
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    Closed,
}

impl Error {
    pub(crate) fn file(path: &Path, problem: impl fmt::Display) -> Error {
        Error::File { path: path.to_path_buf(), problem: problem.to_string() }
    }
}
