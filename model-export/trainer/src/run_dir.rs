//! A folder that a training run writes, and everything in it that is read again.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | everything that was decided before training began |
//! | `checkpoint.safetensors` | weights, velocities and iteration; replaced atomically |
//! | `log.jsonl` | one line of JSON for every few iterations |
//! | `loss.png` | losses and learning rate of it as curves |
//! | `proposals.safetensors` | the boxes that selective search made |
//! | `data-problems.txt` | what was wrong with the data, if anything |
//! | `lock` | nothing; the program that trains here holds a lock on it |

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use tch::{Device, Tensor};

use crate::config::{Config, TrainingMethod};
use crate::error::Error;
use crate::files;
use crate::network::{Normalisation, TorchNetwork};
use crate::tensors::TensorFile;

const VELOCITY: &str = "velocity/";
const MEAN: &str = "bbox_targets.mean";
const STD: &str = "bbox_targets.std";

/// The state of a run after some iterations.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) iteration: u64,
    /// As they are trained: bbox_pred gives normalised regressions.
    pub(crate) weights: BTreeMap<String, Tensor>,
    pub(crate) velocities: BTreeMap<String, Tensor>,
    pub(crate) normalisation: Normalisation,
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn new(path: &Path) -> RunDir {
        RunDir(path.to_path_buf())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the boxes are kept that were made for its photos.
    pub(crate) fn boxes(&self) -> PathBuf {
        self.path("proposals.safetensors")
    }

    /// What is read of it to know the network.
    pub(crate) fn inputs(&self) -> [PathBuf; 2] {
        [self.path("config.json"), self.checkpoint_path()]
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.path("checkpoint.safetensors")
    }

    /// Keeps every other program from training in the folder as long as the result lives. Nothing is held where the file
    /// system knows no locks. The file stays: who removed it could remove another's.
    pub(crate) fn lock(&self) -> Result<Option<File>, Error> {
        files::make_folder(&self.0)?;
        let path = self.path("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| Error::file(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::Error(_)) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let problem =
                    "another frcnn-train is at work in this folder; wait for its end, or name another folder";
                Err(Error::file(&self.0, problem))
            }
        }
    }

    /// # Errors
    /// There is a run in it.
    pub(crate) fn check_new(&self) -> Result<(), Error> {
        if self.path("config.json").exists() {
            let problem = "holds a run already; go on with --resume, or name another folder";
            return Err(Error::file(&self.0, problem));
        }
        Ok(())
    }

    pub(crate) fn write_config(&self, config: &Config) -> Result<(), Error> {
        files::make_folder(&self.0)?;
        files::write_json(&self.path("config.json"), config)
    }

    pub(crate) fn read_config(&self) -> Result<Config, Error> {
        let path = self.path("config.json");
        if !path.is_file() {
            return Err(Error::file(
                &self.0,
                "is not a folder that `frcnn-train fit` wrote: it has no config.json",
            ));
        }
        serde_json::from_str(&files::read_text(&path)?).map_err(|error| Error::file(&path, error))
    }

    pub(crate) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let copy = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        let mut tensors: BTreeMap<String, Tensor> = checkpoint.weights.iter().map(copy).collect();
        for (name, velocity) in &checkpoint.velocities {
            tensors.insert(format!("{VELOCITY}{name}"), velocity.shallow_clone());
        }
        for (name, rows) in [(MEAN, &checkpoint.normalisation.mean), (STD, &checkpoint.normalisation.std)] {
            tensors.insert(name.to_string(), Tensor::from_slice(rows.as_flattened()).view([-1, 4]));
        }
        let metadata = [("iteration".to_string(), checkpoint.iteration.to_string())].into();
        TensorFile { tensors, metadata }.write(&self.checkpoint_path())
    }

    pub(crate) fn read_checkpoint(&self) -> Result<Checkpoint, Error> {
        let path = self.checkpoint_path();
        if !path.is_file() {
            return Err(Error::file(
                &path,
                "there is no checkpoint yet: the run was stopped before its first",
            ));
        }
        let mut file = TensorFile::read(&path)?;
        let damaged = |what: &str| Error::file(&path, format!("is no checkpoint of this program: {what}"));
        let iteration = file.metadata.get("iteration").and_then(|i| i.parse().ok());
        let iteration = iteration.ok_or_else(|| damaged("no iteration in its metadata"))?;
        let mut rows = |name: &str| {
            let tensor = file.tensors.remove(name).ok_or_else(|| damaged(&format!("no `{name}`")))?;
            let flat =
                Vec::<f32>::try_from(tensor.reshape([-1])).map_err(|error| damaged(&error.to_string()))?;
            Ok::<_, Error>(flat.as_chunks::<4>().0.to_vec())
        };
        let normalisation = Normalisation { mean: rows(MEAN)?, std: rows(STD)? };
        let mut velocities = BTreeMap::new();
        let mut weights = BTreeMap::new();
        for (name, tensor) in file.tensors {
            match name.strip_prefix(VELOCITY) {
                Some(name) => velocities.insert(name.to_string(), tensor),
                None => weights.insert(name, tensor),
            };
        }
        Ok(Checkpoint { iteration, weights, velocities, normalisation })
    }

    /// The trained network as runtimes see it, its bounding-box normalisation folded in.
    pub(crate) fn read_network(&self, device: Device) -> Result<(Config, TorchNetwork), Error> {
        let config = self.read_config()?;
        if config.method != TrainingMethod::FastRcnn {
            let problem =
                "is no Fast R-CNN; its training ended by writing model.onnx there, for `frcnn compile`";
            return Err(Error::file(&self.0, problem));
        }
        let checkpoint = self.read_checkpoint()?;
        let mut network = config.network();
        fill(&mut network, checkpoint.weights).map_err(|what| Error::file(&self.checkpoint_path(), what))?;
        network.fold_bbox(&checkpoint.normalisation);
        network.move_to(device);
        Ok((config, network))
    }
}

/// Replaces every weight of a network; the error names what is missing or has another shape.
pub(crate) fn fill(network: &mut TorchNetwork, mut weights: BTreeMap<String, Tensor>) -> Result<(), String> {
    for (name, weight) in &mut network.weights {
        let found = weights.remove(name).ok_or_else(|| format!("has no `{name}`"))?;
        if found.size() != weight.size() {
            return Err(format!("`{name}` has shape {:?}, not {:?}", found.size(), weight.size()));
        }
        *weight = found;
    }
    Ok(())
}
