//! Why a file was not read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use frcnn_core::Printable;

/// Why a file was not read or written; the text names the file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}", path = Printable(path.display()), problem = Printable(problem))]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not what its format prescribes.
    #[error("{0}")]
    Syntax(String),
    /// Not what its format prescribes, in one line.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Something that must occur once occurs again.
    #[error("{what} {id} occurs twice")]
    Duplicate {
        /// Such as `image id`.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A name or number that refers to nothing.
    #[error("{what} {id} is not in the data set{hint}")]
    Unknown {
        /// Such as `image`.
        what: &'static str,
        /// Which.
        id: String,
        /// What there is instead; empty or starting with a semicolon.
        hint: String,
    },
    /// The files of one run do not belong together.
    #[error("{0}")]
    Run(String),
}

impl Error {
    pub(crate) fn new(path: &Path, problem: impl Into<Problem>) -> Error {
        Error { path: path.to_path_buf(), problem: problem.into() }
    }

    /// The file is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn syntax(path: &Path, problem: impl fmt::Display) -> Error {
        Error::new(path, Problem::Syntax(problem.to_string()))
    }

    pub(crate) fn line(path: &Path, index: usize, problem: impl fmt::Display) -> Error {
        Error::new(path, Problem::Line { line: index + 1, problem: problem.to_string() })
    }

    pub(crate) fn duplicate(path: &Path, what: &'static str, id: impl fmt::Display) -> Error {
        Error::new(path, Problem::Duplicate { what, id: id.to_string() })
    }
}
