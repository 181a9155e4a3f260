//! The file that `frcnn proposals` writes, and continues.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use frcnn::BBox;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};

use crate::error::Error;
use crate::files;

/// What decides which boxes an image gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) method: &'static str,
    pub(super) seed: u64,
    pub(super) max_proposals: u32,
}

/// Key of the settings in the file's metadata. A single one, because several would be written in any order, and equal boxes
/// should give equal files.
const MADE_BY: &str = "made_by";

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
    changed: bool,
}

impl Store {
    /// Opens a file to continue it, unless it is absent or `force` says to begin anew.
    pub(super) fn open(path: &Path, settings: Settings, force: bool) -> Result<Store, Error> {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            return Err(Error::file(path, "proposals are written as a .safetensors file"));
        }
        let changed = !path.exists() || force;
        let made_by = settings.made_by();
        let mut store = Store { path: path.to_path_buf(), made_by, tensors: BTreeMap::new(), changed };
        if path.exists() && !force {
            store.load(&files::read(path)?).map_err(|problem| {
                Error::file(path, format!("{problem}; name another file, or write it anew with --force"))
            })?;
        }
        Ok(store)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let damaged = |error: safetensors::SafeTensorError| format!("cannot be continued: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let made_by = header.metadata().as_ref().and_then(|metadata| metadata.get(MADE_BY));
        if made_by != Some(&self.made_by) {
            let made_by = made_by.map_or("something else", String::as_str);
            return Err(format!("has boxes of {made_by}, not of {}", self.made_by));
        }
        for (stem, tensor) in SafeTensors::deserialize(bytes).map_err(damaged)?.iter() {
            if tensor.dtype() != Dtype::U16 || !matches!(tensor.shape(), [_, 4]) {
                return Err(format!("cannot be continued: `{stem}` is no [N, 4] of uint16"));
            }
            self.tensors.insert(stem.to_string(), tensor.data().to_vec());
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
        // Whole pixels inside a frame, whose sides are below 2^16.
        let corners = boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]);
        self.tensors.insert(stem.to_string(), corners.flat_map(|v| (v as u16).to_le_bytes()).collect());
        self.changed = true;
    }

    /// Writes the file if anything is new.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        if !self.changed {
            return Ok(());
        }
        let metadata = HashMap::from([(MADE_BY.to_string(), self.made_by.clone())]);
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
        Store::open(&path, SETTINGS, false).unwrap().save().unwrap();
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
