//! What is said of a model beside its ONNX file.

use std::path::{Path, PathBuf};

use frcnn_compiler::{Description, Problem};

use crate::error::Error;
use crate::files;

/// The manifest of `model`: the one that is named, or `manifest.json` beside it.
pub(crate) fn manifest_of(model: &Path, named: Option<&PathBuf>) -> PathBuf {
    named.cloned().unwrap_or_else(|| files::beside(model, "manifest.json"))
}

/// What the manifest of `model` says. Only one that is named must be there: a file of torchvision's does without.
pub(crate) fn describe(model: &Path, named: Option<&PathBuf>) -> Result<Description, Error> {
    let manifest = manifest_of(model, named);
    if manifest.exists() {
        return Ok(Description::load(&manifest)?);
    }
    match named {
        Some(_) => Err(absent(&manifest, false)),
        None => Ok(Description::default()),
    }
}

/// The error of a model that does not do without a manifest, which is to be beside it.
pub(crate) fn explained(error: frcnn_compiler::Error, model: &Path) -> Error {
    match error {
        frcnn_compiler::Error::Model { problem: Problem::NoManifest, .. } => {
            absent(&manifest_of(model, None), true)
        }
        other => other.into(),
    }
}

pub(crate) fn absent(manifest: &Path, by_default: bool) -> Error {
    let or_name = if by_default { ", or name another with --manifest" } else { "" };
    let problem = format!(
        "there is no such manifest; write one{or_name}. Only the classes are required, background first:\n  \
         {{\"classes\": [\"__background__\", \"cat\", \"dog\"]}}"
    );
    Error::file(manifest, problem)
}
