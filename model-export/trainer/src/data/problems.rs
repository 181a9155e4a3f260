//! What is wrong with a data set that can be used all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// By kind, the files and what in them.
#[derive(Debug, Default)]
pub(crate) struct Problems(BTreeMap<&'static str, Vec<(PathBuf, String)>>);

impl Problems {
    pub(super) fn add(&mut self, path: &Path, kind: &'static str, what: String) {
        self.0.entry(kind).or_default().push((path.to_path_buf(), what));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One line for each kind.
    pub(crate) fn summary(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(kind, files)| {
            let first = files.first().map(|(path, what)| format!("{}: {what}", path.display()));
            format!("{} {kind}, first {}", files.len(), first.unwrap_or_default())
        })
    }
}

/// Every one of them.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, files) in &self.0 {
            writeln!(f, "{} {kind}", files.len())?;
            for (path, what) in files {
                writeln!(f, "  {}: {what}", path.display())?;
            }
        }
        Ok(())
    }
}
