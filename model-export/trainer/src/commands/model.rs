//! A trained model on disk: a training run's folder, or an ONNX file with its manifest.json beside it.

use std::path::{Path, PathBuf};

use frcnn_bundle::{Manifest, Rpn};
use tch::Device;

use crate::data::BoxSource;
use crate::error::Error;
use crate::network::{AnyNetwork, Compiled};
use crate::run_dir::RunDir;

/// A network that is ready to detect.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) network: AnyNetwork,
    pub(crate) manifest: Manifest,
    /// How its proposals are made, if it learned them.
    pub(crate) rpn: Option<Rpn>,
    /// The proposals that a run was trained on.
    pub(crate) proposals: BoxSource,
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
                network: AnyNetwork::Trained(network),
                manifest,
                rpn: config.rules(),
                proposals: config.proposals,
                boxes: Some(run_dir.boxes()),
            });
        }
        std::fs::metadata(path).map_err(|error| Error::file(path, error))?;
        let description = frcnn_compiler::Description::load(&path.with_file_name("manifest.json"))?;
        let network = Compiled::read(path, &description, device)?;
        let (manifest, rpn) = (network.contents().manifest.clone(), network.contents().rpn.clone());
        let network = AnyNetwork::Compiled(Box::new(network));
        Ok(Model { network, manifest, rpn, proposals: BoxSource::default(), boxes: None })
    }
}
