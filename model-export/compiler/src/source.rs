//! Files in: the ONNX model and its manifest.

use std::fs;
use std::path::{Path, PathBuf};

use frcnn_bundle::{Manifest, ManifestError, Scores};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;

use crate::Error;
use crate::error::Problem;

/// A decoded ONNX file.
pub(crate) struct Source {
    pub(crate) model: ModelProto,
    pub(crate) sha256: [u8; 32],
    /// Where external data lies, if the model keeps its weights outside.
    pub(crate) folder: PathBuf,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Source, Error> {
        let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let sha256 = Sha256::digest(&bytes).into();
        let problem =
            |text: String| Error::Model { path: path.to_path_buf(), problem: Problem::NotOnnx(text) };
        let model = ModelProto::decode(&*bytes).map_err(|error| problem(error.to_string()))?;
        if model.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(problem("it has no graph".to_string()));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Source { model, sha256, folder: folder.to_path_buf() })
    }
}

/// Reads and checks a `manifest.json`.
///
/// # Errors
/// The file cannot be read, or has a mistake; the text names the file.
pub fn load_manifest(path: &Path) -> Result<Manifest, Error> {
    load(path, Scores::Probabilities)
}

/// The same for an R-CNN, whose scores are margins if the file does not say what they are.
///
/// # Errors
/// As [`load_manifest`], or the file says that they are probabilities.
pub fn load_rcnn_manifest(path: &Path) -> Result<Manifest, Error> {
    let manifest = load(path, Scores::Margins)?;
    if manifest.scores == Scores::Margins {
        return Ok(manifest);
    }
    let problem = "`scores` must be margins: an R-CNN scores with linear SVMs".to_string();
    Err(Error::Manifest { path: path.to_path_buf(), source: ManifestError::Value(problem) })
}

fn load(path: &Path, scores: Scores) -> Result<Manifest, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Manifest::from_json_with(&text, scores)
        .map_err(|source| Error::Manifest { path: path.to_path_buf(), source })
}
