//! Reading and writing files with errors that name them.

use std::path::{Path, PathBuf};

use frcnn::{Detector, Options, Tuned, Tuning};
use frcnn_bundle::Bundle;
use frcnn_core::Printable;
use frcnn_files::{Staged, write_atomically};

use crate::console;
use crate::error::Error;
use crate::units;

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

/// Threads with which `frcnn tune` measured the algorithms that the detector of a bundle was made with, if it did.
pub(crate) fn tuned_on(bundle: &Path, detector: &Detector) -> Option<u32> {
    let tuning = Tuning::beside(bundle).ok().flatten();
    tuning.filter(|_| *detector.tuned() == Tuned::Yes).map(|tuning| tuning.threads)
}

/// The same for people, `threads` being those of the detector.
pub(crate) fn tuned_by(measured_on: u32, threads: usize) -> String {
    let mut text =
        format!("as `frcnn tune` measured them on {}", units::several(measured_on as usize, "thread"));
    if measured_on as usize != threads {
        text +=
            &format!("; with {threads} others may be faster, which `frcnn tune --threads {threads}` tells");
    }
    text
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

/// The file `name` in the folder of `path`.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}
