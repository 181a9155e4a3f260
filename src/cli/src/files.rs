//! Reading and writing files with errors that name them.

use std::path::{Path, PathBuf};

use frcnn::{Detector, Options, Tuned, Tuning};
use frcnn_bundle::Bundle;
use frcnn_core::Printable;
use frcnn_files::{Staged, write_atomically};

use crate::console;
use crate::error::Error;

/// Opens and validates a bundle.
pub(crate) fn open_bundle(path: &Path) -> Result<Bundle, Error> {
    Bundle::open(path).map_err(|error| match error {
        frcnn_bundle::Error::Io { path, error } => Error::File { path, problem: error.to_string() },
        frcnn_bundle::Error::TooShort(_) | frcnn_bundle::Error::Magic => {
            Error::file(path, format!("{error}; `frcnn compile` makes one from an ONNX file"))
        }
        damaged => Error::file(path, damaged),
    })
}

/// Opens a bundle and makes it ready to run, with what `frcnn tune` has measured of it.
pub(crate) fn open_detector(path: &Path, options: &Options) -> Result<Detector, Error> {
    let tuning = Tuning::beside(path).unwrap_or_else(|problem| {
        not_used(path, &problem);
        None
    });
    let options = Options { tuning, ..options.clone() };
    let detector = Detector::new(open_bundle(path)?, &options).map_err(|error| match error {
        frcnn::Error::Options(problem) => Error::Usage(format!("{}: {problem}", Printable(path.display()))),
        other => Error::file(path, other),
    })?;
    if let Tuned::Misfit(why) = detector.tuned() {
        not_used(path, why);
    }
    Ok(detector)
}

fn not_used(bundle: &Path, why: &str) {
    let tuning = Tuning::path(bundle);
    console::warning(format_args!("{} is not used: {why}", Printable(tuning.display())));
}

/// Bytes of a file that is read into memory: more than any file of boxes has.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    frcnn_files::read_at_most(path, MAX_FILE_BYTES).map_err(|error| Error::file(path, error))
}

/// The file appears whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(path, bytes).map_err(|error| Error::file(path, error))
}

/// The same up to the renaming, which is left to the caller: for files that belong together.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn stage(path: &Path, bytes: &[u8]) -> Result<Staged, Error> {
    Staged::new(path, [bytes]).map_err(|error| Error::file(path, error))
}

/// Finds out before hours of work that a file could not be written, or would replace an input, be it one that is not there yet.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn check_output(path: &Path, inputs: &[&Path]) -> Result<(), Error> {
    check_folder_of(path)?;
    if path.is_dir() {
        return Err(Error::file(path, "is a folder; name a file"));
    }
    let written = path.canonicalize();
    let is_written = |input: &&Path| match (&written, input.canonicalize()) {
        (Ok(written), Ok(read)) => *written == read,
        _ => whole(input) == whole(path),
    };
    if inputs.iter().any(is_written) {
        return Err(Error::file(path, "is read as well; name another file to write"));
    }
    Ok(())
}

fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Whether there is a folder for what is to be made at `path`.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn check_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::file(path, format!("the folder {} does not exist", Printable(folder.display()))))
}

/// The same for several outputs, none of which may be another's.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn check_outputs(outputs: &[&Path], inputs: &[&Path]) -> Result<(), Error> {
    for (position, output) in outputs.iter().enumerate() {
        check_output(output, inputs)?;
        if outputs.iter().take(position).any(|other| whole(other) == whole(output)) {
            return Err(Error::file(output, "is to be written twice; name another file"));
        }
    }
    Ok(())
}

/// The file `name` in the folder of `path`.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_cannot_be_written_is_found_out_before() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("model.onnx");
        fs::write(&input, "").unwrap();
        let problem = |path: &Path| check_output(path, &[&input]).unwrap_err().to_string();
        assert!(problem(&folder.path().join("absent/b.frcnn")).contains("absent does not exist"));
        assert!(problem(folder.path()).contains("is a folder"));
        assert!(problem(&folder.path().join(".").join("model.onnx")).contains("is read as well"));
        assert!(check_output(&folder.path().join("b.frcnn"), &[&input]).is_ok());
        let twice = [folder.path().join("a"), folder.path().join("./a")];
        let error = check_outputs(&[&twice[0], &twice[1]], &[]).unwrap_err().to_string();
        assert!(error.contains("written twice"), "{error}");
        assert!(check_output(Path::new("b.frcnn"), &[&input]).is_ok());
        // What is to be written and read again, and is not there yet.
        let run = folder.path().join("run.jsonl");
        let error = check_output(&folder.path().join("./run.jsonl"), &[&run]).unwrap_err().to_string();
        assert!(error.contains("is read as well"), "{error}");
    }
}
