//! Where the boxes come from that a Fast R-CNN judges, as `--proposals` says it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Photo;
use super::proposals::Proposals;
use super::search::search;
use crate::error::Error;
use crate::files;

/// A source of boxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Source {
    /// Selective search in its fast mode.
    #[default]
    SelectiveSearch,
    /// The same coarse boxes for all photos of a size.
    Grid,
    /// A safetensors file.
    File(PathBuf),
}

const SELECTIVE_SEARCH: &str = "selective-search";
const GRID: &str = "grid";

impl Source {
    /// The boxes of some photos. Those that selective search makes are kept in the file `cache` for the next time.
    pub(crate) fn open(&self, photos: &[Photo], cache: Option<&Path>) -> Result<Proposals, Error> {
        match self {
            Source::Grid => Ok(Proposals::Grid),
            Source::File(path) => Proposals::open(path),
            Source::SelectiveSearch => search(photos, cache),
        }
    }

    /// The same from any working directory.
    pub(crate) fn absolute(&self) -> Result<Source, Error> {
        Ok(match self {
            Source::File(path) => Source::File(files::absolute(path)?),
            other => other.clone(),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::SelectiveSearch => f.write_str(SELECTIVE_SEARCH),
            Source::Grid => f.write_str(GRID),
            Source::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Source {
        match text.as_str() {
            SELECTIVE_SEARCH => Source::SelectiveSearch,
            GRID => Source::Grid,
            _ => Source::File(PathBuf::from(text)),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_method_is_a_file() {
        for (text, source) in [
            ("grid", Source::Grid),
            ("selective-search", Source::SelectiveSearch),
            ("./grid", Source::File("./grid".into())),
        ] {
            assert_eq!(Source::from(text.to_string()), source);
            assert_eq!(source.to_string(), text);
        }
    }
}
