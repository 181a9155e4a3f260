//! Files in: the ONNX model and its manifest.

use std::path::{Path, PathBuf};

use frcnn_bundle::{Manifest, ManifestError, Scores};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;

use crate::description::Description;
use crate::error::{Error, Problem};
use crate::limits;
use crate::prepare::{Folders, Plain, arrange, check_fields, prepare};
use crate::roi_align::state_corners;
use crate::signature;
use crate::torchvision::{self, Detector};

/// An ONNX file, decoded and made plain: see [`prepare`](crate::prepare).
pub(crate) struct ModelFile {
    pub(crate) model: ModelProto,
    /// What a detector that was exported whole says; of that the model is the parts alone.
    pub(crate) detector: Option<Detector>,
    pub(crate) plain: Plain,
    pub(crate) sha256: [u8; 32],
}

impl ModelFile {
    pub(crate) fn read(path: &Path) -> Result<ModelFile, Error> {
        let bytes = read_file(path, limits::FILE_BYTES)?;
        let sha256 = Sha256::digest(&bytes).into();
        let refused = |problem| Error::Model { path: path.to_path_buf(), problem };
        let not_onnx = |text: String| refused(Problem::NotOnnx(text));
        if let Some(what) = signature::of(&bytes) {
            return Err(not_onnx(what.to_string()));
        }
        check_fields(&bytes).map_err(refused)?;
        let mut model = ModelProto::decode(&*bytes).map_err(|error| not_onnx(error.to_string()))?;
        drop(bytes);
        if model.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(not_onnx("it has no graph".to_string()));
        }
        arrange(&mut model).map_err(refused)?;
        state_corners(&mut model);
        let detector = torchvision::take_apart(&mut model).map_err(refused)?;
        let plain = prepare(&mut model, &Folders::of(path)).map_err(refused)?;
        Ok(ModelFile { model, detector, plain, sha256 })
    }
}

/// The files in which an ONNX file keeps tensors. None of one that cannot be read: to compile it says why.
pub fn external_files(path: &Path) -> Vec<PathBuf> {
    let decoded = || {
        let bytes = read_file(path, limits::FILE_BYTES).ok()?;
        check_fields(&bytes).ok()?;
        ModelProto::decode(&*bytes).ok()?.graph
    };
    decoded().map_or(Vec::new(), |graph| Folders::of(path).files(&graph))
}

/// The bytes of a file of at most `limit`.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    frcnn_files::read_at_most(path, limit).map_err(|error| Error::Read { path: path.to_path_buf(), error })
}

/// Reads and checks a `manifest.json`.
///
/// # Errors
/// The file cannot be read, or has a mistake; the text names the file.
pub fn load_manifest(path: &Path) -> Result<Manifest, Error> {
    let description = Description::load(path)?;
    let refused = |problem| Error::Model { path: path.to_path_buf(), problem };
    description.manifest().cloned().map_err(refused)
}

/// The same for an R-CNN, whose scores are margins if the file does not say what they are.
///
/// # Errors
/// As [`load_manifest`], or the file says that they are probabilities, or how an RPN proposes.
pub fn load_rcnn_manifest(path: &Path) -> Result<Manifest, Error> {
    let description = Description::load_with(path, Scores::Margins)?;
    let refused = |problem| Error::Model { path: path.to_path_buf(), problem };
    description.check_rules(false, None).map_err(refused)?;
    let manifest = description.manifest().cloned().map_err(refused)?;
    if manifest.scores == Scores::Margins {
        return Ok(manifest);
    }
    let problem = "`scores` must be margins: an R-CNN scores with linear SVMs".to_string();
    Err(Error::Manifest { path: path.to_path_buf(), error: ManifestError::Value(problem) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_utf8_with_or_without_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let json = r#"{"classes": ["bg", "vélo"]}"#;
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load_manifest(&path).map(|manifest| manifest.classes).map_err(|error| error.to_string())
        };
        for mark in ["", "\u{feff}"] {
            assert_eq!(load(format!("{mark}{json}").as_bytes()).unwrap(), ["bg", "vélo"]);
        }
        let utf16 =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let marked = format!("\u{feff}{json}");
        for bytes in [
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(json, u16::to_le_bytes),
            utf16(json, u16::to_be_bytes),
        ] {
            let error = load(&bytes).unwrap_err();
            assert!(error.contains("manifest.json: it is UTF-16 text; save it as UTF-8"), "{error}");
        }
        let error = load(b"{\"classes\": [\"bg\", \"v\xe9lo\"]}").unwrap_err();
        assert!(error.contains("manifest.json: it is not UTF-8 text"), "{error}");
        assert!(load(b"").unwrap_err().contains("manifest.json"));
        assert!(load_manifest(folder.path()).unwrap_err().to_string().contains("is a folder"));
    }
}
