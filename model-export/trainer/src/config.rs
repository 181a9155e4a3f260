//! What is decided before training begins: the method, the network, the data, the recipe.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use frcnn_bundle::{Manifest, Rpn};
use serde::{Deserialize, Serialize};

use crate::arch::{Arch, Regions};
use crate::data::{BoxSource, Preprocessing};
use crate::network::TorchNetwork;
use crate::recipe::Recipe;
use crate::rpn::{self, Rules};

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
            box_width_offset: self.recipe.width_offset(),
            nms_width_offset: self.recipe.width_offset(),
            ..Manifest::new(self.classes.clone())
        }
    }

    /// How proposals are made, if they are learned.
    pub(crate) fn rules(&self) -> Option<Rpn> {
        self.recipe.proposing.rules(self.arch.stride())
    }

    /// What a runtime must know about the model, all together.
    pub(crate) fn description(&self) -> Description {
        Description { manifest: self.manifest(), rpn: self.rules().map(rpn::in_manifest) }
    }

    /// The network that is trained, with random weights.
    pub(crate) fn network(&self) -> TorchNetwork {
        self.method.network(self.arch, self.classes.len().saturating_sub(1), regions(&self.recipe))
    }
}

/// A `manifest.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    #[serde(flatten)]
    pub(crate) manifest: Manifest,
    /// How a region proposal network's proposals are made, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rpn: Option<Rules>,
}

/// Where the regions of a network of this recipe come from, and how they are pooled.
pub(crate) fn regions(recipe: &Recipe) -> Regions {
    Regions { pooling: recipe.pool, anchors: recipe.proposing.anchors_per_cell() }
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
    pub(crate) fn network(self, arch: Arch, classes: usize, regions: Regions) -> TorchNetwork {
        match self {
            TrainingMethod::FastRcnn => arch.network(classes, regions),
            TrainingMethod::Sppnet => arch.sppnet(classes),
            TrainingMethod::Rcnn => arch.classifier(classes),
        }
    }
}
