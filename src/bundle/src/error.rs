//! Why a bundle could not be read or written.

use std::io;
use std::path::PathBuf;

/// Why a bundle could not be read or written. Each variant is one check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write the file.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Shorter than the fixed part at its start.
    #[error("not a bundle: {0} bytes are fewer than the 64 that every bundle starts with")]
    TooShort(usize),
    /// The first eight bytes are not a bundle's.
    #[error("not a bundle: it does not start with the .frcnn signature")]
    Magic,
    /// What Git has in the place of a large file until it is fetched.
    #[error("not a bundle, but a Git LFS pointer to one: `git lfs pull` fetches it")]
    LfsPointer,
    /// Written by another version of the format.
    #[error("bundle format {found}; this program reads formats 2 to {supported}: {}", remedy(*found, *supported))]
    Version {
        /// The version in the file.
        found: u32,
        /// The newest version that this crate reads.
        supported: u32,
    },
    /// The contents record is that of another version than the file states: no hash covers the version.
    #[error(
        "damaged bundle: it says that it is of format {stated}, and its contents record is of format {actual}"
    )]
    OtherVersion {
        /// The version in the file.
        stated: u32,
        /// The version of the contents record.
        actual: u32,
    },
    /// The file is shorter or longer than it says.
    #[error("truncated or padded bundle: it says {stated} bytes and has {actual}")]
    Length {
        /// The length in the file.
        stated: u64,
        /// The length of the file.
        actual: u64,
    },
    /// A byte that must be zero is not.
    #[error("damaged bundle: the padding byte at offset {0} is not zero")]
    Padding(u64),
    /// The contents record does not have the hash that the file states.
    #[error("damaged bundle: the contents record does not match its hash")]
    ContentsHash,
    /// The contents record cannot be decoded.
    #[error("damaged bundle: the contents record cannot be decoded: {0}")]
    Contents(String),
    /// A weight section lies where it must not, or its bytes do not have the stated hash.
    #[error("damaged bundle: section `{name}` {problem}")]
    Section {
        /// The section.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The contents record is longer than any network's.
    #[error("invalid bundle: a contents record of {0} bytes is longer than the 4 MiB that are read")]
    ContentsLength(usize),
    /// A weight section has values with which nothing can be computed.
    #[error(
        "invalid bundle: {values} values of weight section `{name}` are NaN or infinite (did the training diverge?)"
    )]
    NotFinite {
        /// The section.
        name: String,
        /// How many of its values.
        values: usize,
    },
    /// A value of the manifest is out of range.
    #[error("invalid bundle: manifest: {0}")]
    Manifest(String),
    /// The graphs do not make a detector.
    #[error("invalid bundle: {0}")]
    Network(String),
    /// A layer's attributes, inputs or weights do not fit together.
    #[error("invalid bundle: layer `{layer}` of the {graph}: {problem}")]
    Layer {
        /// `trunk`, `head`, `rpn` or `judge`.
        graph: &'static str,
        /// The layer's name.
        layer: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// For `map_err` on what postcard returns.
    pub(crate) fn contents(error: postcard::Error) -> Error {
        Error::Contents(error.to_string())
    }
}

/// What to do about a bundle of a version that is not read.
fn remedy(found: u32, supported: u32) -> &'static str {
    if found > supported { "update frcnn" } else { "compile the model again with it" }
}
