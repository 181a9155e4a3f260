//! A trained model on disk: a training run's folder, or an ONNX file with its manifest.json beside it.

use std::path::{Path, PathBuf};

use frcnn_bundle::Manifest;
use tch::Device;

use crate::data::Source;
use crate::error::Error;
use crate::files;
use crate::network::{Network, read_onnx};
use crate::run_dir::RunDir;

/// A network that is ready to detect.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) network: Network,
    pub(crate) manifest: Manifest,
    /// The proposals that a run was trained on.
    pub(crate) proposals: Source,
    /// Where a run keeps the boxes that it made.
    pub(crate) boxes: Option<PathBuf>,
}

impl Model {
    pub(crate) fn open(path: &Path, device: Device) -> Result<Model, Error> {
        if path.is_dir() {
            let run_dir = RunDir::new(path);
            let (config, network) = run_dir.read_network(device)?;
            let manifest = config.manifest();
            return Ok(Model {
                network,
                manifest,
                proposals: config.proposals,
                boxes: Some(run_dir.boxes()),
            });
        }
        let mut network = read_onnx(path)?;
        network.move_to(device);
        let manifest_path = path.with_file_name("manifest.json");
        let manifest = Manifest::from_json(&files::read_text(&manifest_path)?)
            .map_err(|error| Error::file(&manifest_path, error))?;
        let scores = network.class_count().unwrap_or(0);
        if scores != manifest.classes.len() as i64 {
            let problem = format!("names {} classes, the network scores {scores}", manifest.classes.len());
            return Err(Error::file(&manifest_path, problem));
        }
        Ok(Model { network, manifest, proposals: Source::default(), boxes: None })
    }
}
