//! Reading and writing files with errors that name them.

use std::fs;
use std::path::{Path, PathBuf};

use frcnn_files::{FileId, write_atomically};

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

/// The same of an ONNX file and the manifest.json beside it: neither is one of `inputs`.
pub(crate) fn check_model(path: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    check_output(path)?;
    let manifest = path.with_file_name("manifest.json");
    let written = [path, &manifest].map(|path| (FileId::of(path), path));
    if written[0].0 == written[1].0 {
        return Err(Error::file(path, "is where the manifest goes; name an .onnx file"));
    }
    let read: Vec<FileId> = inputs.iter().map(|input| FileId::of(input)).collect();
    match written.iter().find(|(file, _)| read.contains(file)) {
        Some((_, path)) => Err(Error::file(path, "is read as well; name another file or folder to write")),
        None => Ok(()),
    }
}

/// Whether a manifest.json that is there may be replaced: with `force`, or where it says the same.
pub(crate) fn check_manifest(
    path: &Path,
    manifest: &impl serde::Serialize,
    force: bool,
) -> Result<(), Error> {
    if force || !path.exists() {
        return Ok(());
    }
    // Of texts, in which numbers of 32 and 64 bits look alike.
    let text = serde_json::to_string(manifest).map_err(|error| Error::file(path, error))?;
    let said = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    if said(&read_text(path)?) == said(&text) {
        return Ok(());
    }
    let problem = "exists and says something else: name another folder with -o, or replace it with --force";
    Err(Error::file(path, problem))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_what_is_read_nor_another_models_manifest_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (model, manifest) = (folder.path().join("model.onnx"), folder.path().join("manifest.json"));
        let said = |checked: Result<(), Error>| checked.unwrap_err().to_string();
        check_model(&model, &[folder.path().join("weights.caffemodel")]).unwrap();
        assert!(said(check_model(&manifest, &[])).contains("name an .onnx file"));
        for read in [&model, &manifest] {
            fs::write(read, "{}").unwrap();
            let by_another_name = folder.path().join(".").join(read.file_name().unwrap());
            let refused = said(check_model(&model, &[by_another_name]));
            assert!(
                refused.contains(read.to_str().unwrap()) && refused.contains("is read as well"),
                "{refused}"
            );
        }

        let mine = crate::config::Description {
            manifest: frcnn_bundle::Manifest::new(vec!["__background__".into(), "a".into()]),
            rpn: None,
        };
        let other = said(check_manifest(&manifest, &mine, false));
        assert!(other.contains("manifest.json") && other.contains("--force"), "{other}");
        check_manifest(&manifest, &mine, true).unwrap();
        write_json(&manifest, &mine).unwrap();
        check_manifest(&manifest, &mine, false).unwrap();
        fs::remove_file(&manifest).unwrap();
        check_manifest(&manifest, &mine, false).unwrap();
    }
}
