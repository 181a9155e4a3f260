//! Why a file was not read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was not read or written; the text names the file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}", path = path.display())]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system refused.
    #[error("{0}")]
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

    pub(crate) fn syntax(path: &Path, problem: impl fmt::Display) -> Error {
        Error::new(path, Problem::Syntax(problem.to_string()))
    }

    pub(crate) fn line(path: &Path, index: usize, problem: impl fmt::Display) -> Error {
        Error::new(path, Problem::Line { line: index + 1, problem: problem.to_string() })
    }

    pub(crate) fn duplicate(path: &Path, what: &'static str, id: impl fmt::Display) -> Error {
        Error::new(path, Problem::Duplicate { what, id: id.to_string() })
    }

    /// Python writes NaN and Infinity into JSON, which are not JSON: the parser's own words would not say so.
    pub(crate) fn json(path: &Path, bytes: &[u8], error: &serde_json::Error) -> Error {
        let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        let hint = if has(b"NaN") || has(b"Infinity") {
            " (it has NaN or Infinity, which JSON does not know: every number must be finite)"
        } else {
            ""
        };
        Error::syntax(path, format_args!("{error}{hint}"))
    }
}

/// Reads a whole file as text.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::new(path, error))
}
