//! What is decided before training begins: the method, the network, the data, the recipe.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use frcnn_bundle::Manifest;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::data::{BoxSource, Preprocessing};
use crate::network::TorchNetwork;
use crate::recipe::Recipe;

/// The contents of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) method: TrainingMethod,
    pub(crate) arch: Arch,
    /// The K + 1 names, background first.
    pub(crate) classes: Vec<String>,
    /// The data set's folder.
    pub(crate) data: PathBuf,
    pub(crate) split: String,
    pub(crate) proposals: BoxSource,
    pub(crate) init: Option<PathBuf>,
    /// Layers that `init` did not fill.
    pub(crate) new_layers: BTreeSet<String>,
    /// Whether the features of the trunk in `init` were brought to order 1.
    #[serde(default)]
    pub(crate) shrunk: bool,
    pub(crate) recipe: Recipe,
}

impl Config {
    pub(crate) fn preprocessing(&self) -> Preprocessing {
        let means = &self.recipe.pixel_means;
        Preprocessing {
            pixel_means_bgr: std::array::from_fn(|c| means.get(c).copied().unwrap_or_default()),
            max_long_side: self.recipe.max_long_side,
        }
    }

    /// What a runtime must know about the model.
    pub(crate) fn manifest(&self) -> Manifest {
        Manifest {
            name: self.arch.name().to_string(),
            pixel_means: self.preprocessing().pixel_means_bgr,
            scales: self.recipe.scales.clone(),
            max_long_side: self.recipe.max_long_side,
            ..Manifest::new(self.classes.clone())
        }
    }
}

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrainingMethod {
    /// One stage, one network
    #[default]
    FastRcnn,
    /// Trunk as it is, pooled at four levels; fc layers, then SVMs, then boxes
    Sppnet,
    /// The whole network on each warped proposal; fine-tuning, then SVMs, then boxes
    Rcnn,
}

impl TrainingMethod {
    /// The network that is trained first, with random weights.
    pub(crate) fn network(self, arch: Arch, classes: usize) -> TorchNetwork {
        match self {
            TrainingMethod::FastRcnn => arch.network(classes),
            TrainingMethod::Sppnet => arch.sppnet(classes),
            TrainingMethod::Rcnn => arch.classifier(classes),
        }
    }
}
