//! Files in: the ONNX model and its manifest.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use frcnn_bundle::{Manifest, ManifestError, Scores};
use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::ModelProto;

use crate::Error;
use crate::error::Problem;
use crate::limits;
use crate::prepare::{Folders, check_fields, prepare};

/// An ONNX file, decoded and made plain: see [`prepare`](crate::prepare).
pub(crate) struct Source {
    pub(crate) model: ModelProto,
    pub(crate) sha256: [u8; 32],
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Source, Error> {
        let bytes = read_file(path, limits::FILE_BYTES)?;
        let sha256 = Sha256::digest(&bytes).into();
        let refused = |problem| Error::Model { path: path.to_path_buf(), problem };
        let not_onnx = |text: String| refused(Problem::NotOnnx(text));
        check_fields(&bytes).map_err(refused)?;
        let mut model = ModelProto::decode(&*bytes).map_err(|error| not_onnx(error.to_string()))?;
        drop(bytes);
        if model.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(not_onnx("it has no graph".to_string()));
        }
        prepare(&mut model, &Folders::of(path)).map_err(refused)?;
        Ok(Source { model, sha256 })
    }
}

/// The bytes of a file of at most `limit`.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let other = |text: String| read(io::Error::new(io::ErrorKind::InvalidInput, text));
    // Before it is opened: opening a pipe waits for its other end.
    let metadata = fs::metadata(path).map_err(read)?;
    if !metadata.is_file() {
        return Err(other("not a file".to_string()));
    }
    if metadata.len() > limit {
        return Err(other(format!("it has {} bytes; the limit is {limit}", metadata.len())));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(metadata.len() as usize).map_err(|error| other(error.to_string()))?;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(read)?;
    Ok(bytes)
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
