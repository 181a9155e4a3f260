//! Where the boxes come from that a Fast R-CNN judges, as `--proposals` says it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Photo;
use super::proposals::DatasetProposals;
use super::search::search;
use crate::error::Error;
use crate::files;

/// A source of boxes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum BoxSource {
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

impl BoxSource {
    /// The boxes of some photos. Those that selective search makes are kept in the file `cache` for the next time.
    pub(crate) fn open(&self, photos: &[Photo], cache: Option<&Path>) -> Result<DatasetProposals, Error> {
        match self {
            BoxSource::Grid => Ok(DatasetProposals::Grid),
            BoxSource::File(path) => DatasetProposals::open(path),
            BoxSource::SelectiveSearch => search(photos, cache),
        }
    }

    /// The same from any working directory.
    pub(crate) fn absolute(&self) -> Result<BoxSource, Error> {
        Ok(match self {
            BoxSource::File(path) => BoxSource::File(files::absolute(path)?),
            other => other.clone(),
        })
    }
}

impl fmt::Display for BoxSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoxSource::SelectiveSearch => f.write_str(SELECTIVE_SEARCH),
            BoxSource::Grid => f.write_str(GRID),
            BoxSource::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<String> for BoxSource {
    fn from(text: String) -> BoxSource {
        match text.as_str() {
            SELECTIVE_SEARCH => BoxSource::SelectiveSearch,
            GRID => BoxSource::Grid,
            _ => BoxSource::File(PathBuf::from(text)),
        }
    }
}

impl From<BoxSource> for String {
    fn from(source: BoxSource) -> String {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_method_is_a_file() {
        for (text, source) in [
            ("grid", BoxSource::Grid),
            ("selective-search", BoxSource::SelectiveSearch),
            ("./grid", BoxSource::File("./grid".into())),
        ] {
            assert_eq!(BoxSource::from(text.to_string()), source);
            assert_eq!(source.to_string(), text);
        }
    }
}
