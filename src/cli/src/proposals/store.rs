//! The file that `frcnn proposals` writes, and continues.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use frcnn::BBox;
use frcnn_proposals::{BoxFile, BoxFileError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use crate::error::Error;
use crate::files;

/// What decides which boxes an image gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) method: &'static str,
    pub(super) seed: u64,
    pub(super) max_proposals: u32,
}

impl Settings {
    fn made_by(&self) -> String {
        format!("{}, seed {}, at most {} boxes", self.method, self.seed, self.max_proposals)
    }
}

/// The boxes of all images so far.
pub(super) struct Store {
    path: PathBuf,
    made_by: String,
    /// By image stem: boxes as the file has them.
    tensors: BTreeMap<String, Vec<u8>>,
    /// There are boxes that the file does not have yet.
    changed: bool,
    /// The file that is to be begun anew, as it was.
    discarded: Option<State>,
}

/// Enough of a file's metadata to see that another file took its place.
type State = (u64, Option<SystemTime>);

fn state(path: &Path) -> Option<State> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

impl Store {
    /// Opens a file to continue it, unless it is absent or `force` says to begin anew. Other processes may do so at the same
    /// time: what each makes is added to what the others have saved.
    pub(super) fn open(path: &Path, settings: Settings, force: bool) -> Result<Store, Error> {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            return Err(Error::file(path, "proposals are written as a .safetensors file"));
        }
        let made_by = settings.made_by();
        let discarded = if force { state(path) } else { None };
        let (path_buf, tensors) = (path.to_path_buf(), BTreeMap::new());
        let mut store = Store { path: path_buf, made_by, tensors, changed: false, discarded };
        if path.is_file() && !force {
            store.load(files::read(path)?).map_err(|problem| {
                Error::file(path, format!("{problem}; name another file, or write it anew with --force"))
            })?;
        }
        Ok(store)
    }

    /// Adds the images of a file that are not here yet.
    fn load(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let cannot = |problem: BoxFileError| format!("cannot be continued: {problem}");
        let file = BoxFile::parse(bytes).map_err(cannot)?;
        if file.made_by() != Some(&self.made_by) {
            let made_by = file.made_by().unwrap_or("something else");
            return Err(format!("has boxes of {made_by}, not of {}", self.made_by));
        }
        for stem in file.stems() {
            if let Entry::Vacant(place) = self.tensors.entry(stem) {
                let boxes = encoded(&file.boxes(place.key()).map_err(cannot)?);
                place.insert(boxes);
            }
        }
        Ok(())
    }

    /// Images.
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn has(&self, stem: &str) -> bool {
        self.tensors.contains_key(stem)
    }

    /// Boxes of an image.
    pub(super) fn count(&self, stem: &str) -> usize {
        self.tensors.get(stem).map_or(0, |bytes| bytes.len() / (4 * size_of::<u16>()))
    }

    pub(super) fn add(&mut self, stem: &str, boxes: &[BBox]) {
        self.tensors.insert(stem.to_string(), encoded(boxes));
        self.changed = true;
    }

    /// Writes the file if anything is new: what was there before stays as long as nothing takes its place.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        if !self.changed {
            return Ok(());
        }
        // Held until the new file is in its place, so that none is lost that another process saves meanwhile.
        let _lock = frcnn_files::lock_folder_of(&self.path);
        if self.path.is_file() && self.discarded.take() != state(&self.path) {
            self.load(files::read(&self.path)?).map_err(|problem| {
                Error::file(&self.path, format!("was written by another program meanwhile and {problem}"))
            })?;
        }
        let metadata = HashMap::from([(BoxFile::MADE_BY.to_string(), self.made_by.clone())]);
        let views = self.tensors.iter().map(|(stem, bytes)| {
            let shape = vec![bytes.len() / (4 * size_of::<u16>()), 4];
            Ok((stem, TensorView::new(Dtype::U16, shape, bytes)?))
        });
        let bytes = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .and_then(|views| serialize(views, Some(metadata)))
            .map_err(|error| Error::file(&self.path, error))?;
        files::write(&self.path, &bytes)?;
        self.changed = false;
        Ok(())
    }
}

/// Whole pixels inside a frame, whose sides are below 2^16, as the file has them.
fn encoded(boxes: &[BBox]) -> Vec<u8> {
    let corners = boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]);
    corners.flat_map(|v| (v as u16).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { method: "grid", seed: 0, max_proposals: 10 };

    #[test]
    fn what_was_saved_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.safetensors");
        let mut store = Store::open(&path, SETTINGS, false).unwrap();
        store.add("a", &[BBox::new(1.0, 2.0, 300.0, 4.0), BBox::new(0.0, 0.0, 32767.0, 9.0)]);
        store.add("none", &[]);
        store.save().unwrap();
        let store = Store::open(&path, SETTINGS, false).unwrap();
        assert_eq!((store.len(), store.count("a"), store.count("none")), (2, 2, 0));
        assert!(store.has("none") && !store.has("b"));
        assert_eq!(Store::open(&path, SETTINGS, true).unwrap().len(), 0);
    }

    #[test]
    fn what_others_save_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.safetensors");
        let open = |force| Store::open(&path, SETTINGS, force).unwrap();
        let (mut first, mut second) = (open(false), open(false));
        first.add("a", &[]);
        first.save().unwrap();
        second.add("b", &[BBox::new(1.0, 2.0, 3.0, 4.0)]);
        second.save().unwrap();
        assert_eq!((open(false).len(), open(false).count("b")), (2, 1));
        // Begun anew by two at once: the old file is gone, what both made is there.
        let (mut first, mut second) = (open(true), open(true));
        first.add("c", &[]);
        first.save().unwrap();
        second.add("d", &[]);
        second.save().unwrap();
        let store = open(false);
        assert!(store.len() == 2 && store.has("c") && store.has("d"));
        let mut other = Store::open(&path, Settings { seed: 7, ..SETTINGS }, true).unwrap();
        first.add("e", &[]);
        first.save().unwrap();
        other.add("f", &[]);
        let error = other.save().unwrap_err().to_string();
        assert!(error.contains("meanwhile and has boxes of grid, seed 0"), "{error}");
        assert_eq!(open(false).len(), 3);
    }

    #[test]
    fn other_settings_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boxes.safetensors");
        let mut store = Store::open(&path, SETTINGS, false).unwrap();
        store.save().unwrap();
        assert!(!path.exists(), "a file of nothing");
        store.add("a", &[]);
        store.save().unwrap();
        let problem = |settings| Store::open(&path, settings, false).map(|_| ()).unwrap_err().to_string();
        let error = problem(Settings { seed: 7, ..SETTINGS });
        assert!(
            error.contains("has boxes of grid, seed 0, at most 10 boxes, not of grid, seed 7")
                && error.contains("--force"),
            "{error}"
        );
        std::fs::write(&path, "something else").unwrap();
        assert!(problem(SETTINGS).contains("cannot be continued"));
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
