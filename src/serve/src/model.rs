//! The detector that serves, and those that come over ZeroMQ.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use frcnn::{Bundle, Detector, Options, Tuned, Tuning};
use frcnn_bundle::Scores;

use crate::budget::Budget;

/// Bundles that are kept in the folder of those that came over the network.
const MAX_KEPT: usize = 16;
/// Bytes of the longest name of such a bundle.
const MAX_NAME: usize = 100;
const EXTENSION: &str = ".frcnn";

/// A detector and what the interfaces call it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) detector: Detector,
    /// Another has taken its place: no buffers are to be kept for it.
    retired: AtomicBool,
}

impl Loaded {
    /// Opens a bundle, with what `frcnn tune` has measured of it.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Loaded, String> {
        let bundle = Bundle::open(path).map_err(|error| error.to_string())?;
        let tuning = Tuning::beside(path).unwrap_or_else(|problem| {
            crate::say(format_args!("{} is not used: {problem}", Tuning::path(path).display()));
            None
        });
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let loaded = Loaded::new(bundle, name.into_owned(), &Options { tuning, ..options.clone() })?;
        if let Tuned::Misfit(why) = loaded.detector.tuned() {
            crate::say(format_args!("{} is not used: {why}", Tuning::path(path).display()));
        }
        Ok(loaded)
    }

    /// Makes a bundle ready to run.
    ///
    /// # Errors
    /// It is not within the limits, or its scores are none of those that the interfaces know.
    fn new(bundle: Bundle, name: String, options: &Options) -> Result<Loaded, String> {
        let detector = Detector::new(bundle, options).map_err(|error| error.to_string())?;
        if detector.manifest().scores != Scores::Probabilities {
            return Err(
                "its scores are margins of SVMs, of any size, and these interfaces know probabilities only"
                    .to_string(),
            );
        }
        Ok(Loaded { name, detector, retired: AtomicBool::new(false) })
    }

    /// The classes of objects in the order of their ids, from class 1 on.
    pub(crate) fn labels(&self) -> &[String] {
        self.detector.manifest().classes.get(1..).unwrap_or_default()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// The bundle of the command line, and at most one that came over the network.
pub(crate) struct Models {
    pub(crate) base: Arc<Loaded>,
    wire: Option<Wire>,
}

/// Where bundles from the network are kept.
struct Wire {
    folder: PathBuf,
    options: Options,
    max_bytes: usize,
    /// For bundles on their way: together they are no larger than one may be.
    arriving: Budget,
    /// The one that was asked for last.
    loaded: Mutex<Option<Arc<Loaded>>>,
    /// Held while one is opened or kept.
    busy: Mutex<()>,
}

impl Models {
    pub(crate) fn new(base: Arc<Loaded>) -> Models {
        Models { base, wire: None }
    }

    /// Takes bundles of at most `max_bytes` from the network, and keeps them in `folder`, which exists.
    pub(crate) fn with_folder(self, folder: &Path, options: &Options, max_bytes: usize) -> Models {
        Models { wire: Some(Wire::new(folder, options, max_bytes)), ..self }
    }

    /// Bytes of the largest bundle that is taken from the network, and memory for such; none is taken where there is no number.
    pub(crate) fn arriving(&self) -> Option<(usize, &Budget)> {
        self.wire.as_ref().map(|wire| (wire.max_bytes, &wire.arriving))
    }

    /// The model that a client calls `name`, if it is ready to run.
    pub(crate) fn ready(&self, name: &str) -> Option<Arc<Loaded>> {
        let Some(wire) = &self.wire else { return Some(self.base.clone()) };
        let stem = stem(name);
        if stem == self.base.name {
            return Some(self.base.clone());
        }
        let loaded = wire.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clone().filter(|loaded| loaded.name == stem)
    }

    /// The same; one that is kept in the folder is loaded, in place of the one that was before. Takes its time.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be loaded.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Loaded>, String> {
        if let Some(ready) = self.ready(name) {
            return Ok(ready);
        }
        let Some(wire) = &self.wire else { return Ok(self.base.clone()) };
        let path = wire.path(name)?;
        let _busy = wire.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, bytes) = frcnn_files::open_regular(&path).map_err(|error| error.to_string())?;
        if bytes > wire.max_bytes as u64 {
            return Err(format!("has {bytes} bytes, and the most is {} (--max-model-mb)", wire.max_bytes));
        }
        let loaded = Arc::new(Loaded::open(&path, &wire.options)?);
        wire.replace(loaded.clone());
        Ok(loaded)
    }

    /// Validates a bundle wholly and makes it ready to run; only then it is kept, under `name`. Takes its time.
    ///
    /// # Errors
    /// What is wrong with the bundle or its name; nothing is kept then.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8]) -> Result<Arc<Loaded>, String> {
        let wire = self.wire.as_ref().ok_or("bundles are not taken from the network (--models DIR)")?;
        let path = wire.path(name)?;
        if stem(name) == self.base.name {
            return Err("is the name of the bundle that serves already".to_string());
        }
        let _busy = wire.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = Bundle::from_bytes(bytes).map_err(|error| error.to_string())?;
        let loaded = Arc::new(Loaded::new(bundle, stem(name).to_string(), &wire.options)?);
        if !path.exists() && wire.kept()? >= MAX_KEPT {
            return Err(format!("{} has {MAX_KEPT} bundles already; remove some", wire.folder.display()));
        }
        frcnn_files::write_atomically(&path, bytes).map_err(|error| error.to_string())?;
        wire.replace(loaded.clone());
        Ok(loaded)
    }
}

impl Wire {
    fn new(folder: &Path, options: &Options, max_bytes: usize) -> Wire {
        Wire {
            folder: folder.to_path_buf(),
            options: options.clone(),
            max_bytes,
            arriving: Budget::new(max_bytes),
            loaded: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// Where the bundle of that name lies, or would.
    fn path(&self, name: &str) -> Result<PathBuf, String> {
        let stem = stem(name);
        frcnn_files::check_name(stem).map_err(|problem| format!("the model's name {problem}"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if stem.starts_with('.') || stem.len() > MAX_NAME || !stem.bytes().all(plain) {
            return Err(format!(
                "the model's name may have {MAX_NAME} letters, digits, `-`, `_` and `.`, and no `.` at its start"
            ));
        }
        Ok(self.folder.join(format!("{stem}{EXTENSION}")))
    }

    fn kept(&self) -> Result<usize, String> {
        let entries = std::fs::read_dir(&self.folder).map_err(|error| error.to_string())?;
        let bundle = |name: std::ffi::OsString| name.to_string_lossy().ends_with(EXTENSION);
        Ok(entries.flatten().filter(|entry| bundle(entry.file_name())).count())
    }

    fn replace(&self, loaded: Arc<Loaded>) {
        crate::say(format_args!("{} serves who asks for it over ZeroMQ", loaded.name));
        let mut place = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = place.replace(loaded) {
            before.retired.store(true, Ordering::Relaxed);
        }
    }
}

/// Clients name models with their extension or without.
fn stem(name: &str) -> &str {
    name.strip_suffix(EXTENSION).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let wire = Wire::new(Path::new("/models"), &Options::default(), 1);
        for (name, file) in [("cells.frcnn", "/models/cells.frcnn"), ("yolo.onnx", "/models/yolo.onnx.frcnn")]
        {
            assert_eq!(wire.path(name).unwrap(), PathBuf::from(file));
        }
        let long = "x".repeat(MAX_NAME + 1);
        for name in
            ["", ".frcnn", "..", "../x", "/etc/x", "a\\b", "a\0b", ".hidden", "a b", "a\nb", "\u{e9}", &long]
        {
            assert!(wire.path(name).is_err(), "{name:?}");
        }
    }
}
