//! The file that `frcnn proposals` writes, and continues.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

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
}

impl Store {
    /// Opens a file to continue it, unless it is absent or `force` says to begin anew.
    pub(super) fn open(path: &Path, settings: Settings, force: bool) -> Result<Store, Error> {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            return Err(Error::file(path, "proposals are written as a .safetensors file"));
        }
        let made_by = settings.made_by();
        let mut store = Store { path: path.to_path_buf(), made_by, tensors: BTreeMap::new(), changed: false };
        if path.exists() && !force {
            store.load(files::read(path)?).map_err(|problem| {
                Error::file(path, format!("{problem}; name another file, or write it anew with --force"))
            })?;
        }
        Ok(store)
    }

    fn load(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let cannot = |problem: BoxFileError| format!("cannot be continued: {problem}");
        let file = BoxFile::parse(bytes).map_err(cannot)?;
        if file.made_by() != Some(&self.made_by) {
            let made_by = file.made_by().unwrap_or("something else");
            return Err(format!("has boxes of {made_by}, not of {}", self.made_by));
        }
        for stem in file.stems() {
            self.tensors.insert(stem.clone(), encoded(&file.boxes(&stem).map_err(cannot)?));
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
