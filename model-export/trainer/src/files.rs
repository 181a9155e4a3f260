//! Reading and writing files with errors that name them.

use std::fs;
use std::path::{Path, PathBuf};

use frcnn_files::write_atomically;

use crate::error::Error;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::file(path, error))
}

/// Reads a whole text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::file(path, error))
}

/// The file appears whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(path, bytes).map_err(|error| match error.raw_os_error() {
        Some(_) => Error::file(path, error),
        // The text names the temporary file, which means nothing to a user.
        None => Error::file(path, error.kind()),
    })
}

/// Finds out before hours of work that a file could not be written.
pub(crate) fn check_output(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::file(path, format!("the folder {} does not exist", folder.display())));
    }
    if path.is_dir() {
        return Err(Error::file(path, "is a folder; name a file"));
    }
    Ok(())
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::file(path, error))
}

/// A value as indented JSON with a final newline.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::file(path, error))?;
    write(path, (text + "\n").as_bytes())
}

/// The same path from any working directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::file(path, error))
}
