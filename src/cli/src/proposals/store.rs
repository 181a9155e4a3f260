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

impl Settings {
    fn metadata(&self) -> HashMap<String, String> {
        [
            ("method", self.method.to_string()),
            ("seed", self.seed.to_string()),
            ("max_proposals", self.max_proposals.to_string()),
            ("boxes", "x1, y1, x2, y2 in pixels from 0, corners inclusive, best first".to_string()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into()
    }
}

/// The boxes of all images so far.
pub(super) struct Store {
    path: PathBuf,
    metadata: HashMap<String, String>,
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
        let metadata = settings.metadata();
        let mut store =
            Store { path: path.to_path_buf(), metadata, tensors: BTreeMap::new(), changed: !path.exists() || force };
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
        for key in ["method", "seed", "max_proposals"] {
            let [there, here] = [header.metadata().as_ref(), Some(&self.metadata)]
                .map(|metadata| metadata.and_then(|metadata| metadata.get(key)).map_or("unknown", String::as_str));
            if there != here {
                return Err(format!("was made with {key} {there}, not {here}"));
            }
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
        let views = self.tensors.iter().map(|(stem, bytes)| {
            let shape = vec![bytes.len() / (4 * size_of::<u16>()), 4];
            Ok((stem, TensorView::new(Dtype::U16, shape, bytes)?))
        });
        let bytes = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .and_then(|views| serialize(views, Some(self.metadata.clone())))
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
        assert!(error.contains("made with seed 0, not 7") && error.contains("--force"), "{error}");
        std::fs::write(&path, "something else").unwrap();
        assert!(problem(SETTINGS).contains("cannot be continued"));
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
