//! The published networks, untrained, as ONNX: to train from, to measure, and to test on at full size. As Fast R-CNN:
//!
//! ```text
//! data [1,3,H,W] ─▶ trunk ─▶ MaxRoiPool pool5 ─▶ fc6 ─▶ fc7 ─┬▶ cls_score ─▶ cls_prob [R,K+1]
//! rois [R,5] ───────────────────┘                            └▶ bbox_pred [R,4(K+1)]
//! ```
//!
//! As SPPnet, RoIs are pooled to 6x6, 3x3, 2x2 and 1x1 bins, side by side; scores are margins of linear SVMs on fc7, and
//! `bbox_pred` reads the pooled features. As R-CNN, the network is a classifier of images of one size, and SVMs on fc7 and
//! regressors on pool5 lie in a file of their own.
//!
//! Layers and initializers carry the published names (`conv5_3`, `fc6.weight`). Weights are drawn by He's rule from a
//! seed, so that on a photo activations stay of order 1 from conv1 to fc7 and scores differ from RoI to RoI. Dropout does
//! nothing when a network is run, and is left out.

mod classes;
mod net;
mod weights;

use std::fmt;
use std::str::FromStr;

use frcnn_bundle::{Manifest, Scores};
use frcnn_onnx::pb::ModelProto;

use frcnn_networks::PublishedNetwork;

use net::Net;

/// The most object classes that [`new_model`] accepts: every network then stays below ONNX's 2 GiB.
pub const MAX_CLASSES: u32 = 10_000;

/// A network to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// The paper's L: 13 convolutions of 3x3, stride 16, pooled 7x7.
    Vgg16,
    /// The paper's M: 5 convolutions, stride 16, pooled 6x6, fc7 of 1024.
    VggCnnM1024,
    /// The paper's S: AlexNet in one tower, stride 16, pooled 6x6.
    CaffeNet,
    /// SqueezeNet v1.0 up to fire8, stride 8, pooled 6x6, hidden layers of 512.
    SqueezeNet,
}

impl Arch {
    /// Every network, largest first.
    pub const ALL: [Self; 4] = [Self::Vgg16, Self::VggCnnM1024, Self::CaffeNet, Self::SqueezeNet];

    /// The name that [`FromStr`] reads and [`Display`](fmt::Display) writes.
    pub const fn name(self) -> &'static str {
        self.network().name
    }

    /// Its layers.
    pub const fn network(self) -> &'static PublishedNetwork {
        match self {
            Self::Vgg16 => &frcnn_networks::VGG16,
            Self::VggCnnM1024 => &frcnn_networks::VGG_CNN_M_1024,
            Self::CaffeNet => &frcnn_networks::CAFFENET,
            Self::SqueezeNet => &frcnn_networks::SQUEEZENET,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = ArchError;

    fn from_str(name: &str) -> Result<Self, ArchError> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.name() == name)
            .ok_or_else(|| ArchError::Unknown { name: name.to_owned() })
    }
}

/// Why there is no such network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchError {
    /// No network has this name.
    #[error("unknown architecture {name:?}: expected one of {}", Arch::ALL.map(Arch::name).join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// No objects to tell apart, or more than a file can hold.
    #[error("{classes} object classes: expected 1 to {MAX_CLASSES} (background not counted)")]
    Classes {
        /// The number asked for.
        classes: u32,
    },
}

/// A network and what goes beside it.
#[derive(Debug)]
pub struct NewModel {
    /// The network, for `model.onnx`.
    pub onnx: ModelProto,
    /// Its class names and the published conventions, for `manifest.json`.
    pub manifest: Manifest,
}

/// Makes a network for `classes` object classes (background is added) with weights drawn from `seed`.
///
/// The same arguments give the same bytes on every machine.
///
/// # Errors
/// [`ArchError::Classes`] when `classes` is 0 or above [`MAX_CLASSES`].
pub fn new_model(arch: Arch, classes: u32, seed: u64) -> Result<NewModel, ArchError> {
    check(classes)?;
    let network = arch.network();
    let (mut net, data) = Net::new(network.name, seed);
    let conv = net.trunk(data, network.trunk);
    let manifest = manifest(arch, classes);
    Ok(NewModel { onnx: net.head(&conv, &network.head, classes as usize), manifest })
}

/// The same as an SPPnet: the manifest has the published five scales.
///
/// # Errors
/// As [`new_model`].
pub fn new_sppnet(arch: Arch, classes: u32, seed: u64) -> Result<NewModel, ArchError> {
    check(classes)?;
    let network = arch.network();
    let (mut net, data) = Net::new(network.name, seed);
    let conv = net.trunk(data, network.trunk);
    let manifest =
        Manifest { scales: SCALES.to_vec(), max_long_side: 2000, ..margins(manifest(arch, classes)) };
    Ok(NewModel { onnx: net.pyramid_head(&conv, &network.head, &LEVELS, classes as usize), manifest })
}

/// An R-CNN and what goes beside it.
#[derive(Debug)]
pub struct NewRcnn {
    /// The classifier, for `classifier.onnx`.
    pub onnx: ModelProto,
    /// SVMs and box regressors, for `svm.safetensors`.
    pub svm: Vec<u8>,
    /// For `manifest.json`.
    pub manifest: Manifest,
}

/// The same as an R-CNN.
///
/// # Errors
/// As [`new_model`].
pub fn new_rcnn(arch: Arch, classes: u32, seed: u64) -> Result<NewRcnn, ArchError> {
    check(classes)?;
    let network = arch.network();
    let (trunk, last_pool) = network.classifier.unwrap_or((network.trunk, network.last_pool));
    let (mut net, data) = Net::classifier(network, seed);
    let conv = net.trunk(data, trunk);
    let (onnx, svm) = net.classifier_head(&conv, &network.head, last_pool, classes as usize);
    Ok(NewRcnn { onnx, svm, manifest: margins(manifest(arch, classes)) })
}

/// The levels of SPPnet's pyramid: 50 bins.
const LEVELS: [usize; 4] = [6, 3, 2, 1];
/// SPPnet's scales.
const SCALES: [u32; 5] = [480, 576, 688, 864, 1200];

fn check(classes: u32) -> Result<(), ArchError> {
    if (1..=MAX_CLASSES).contains(&classes) { Ok(()) } else { Err(ArchError::Classes { classes }) }
}

fn manifest(arch: Arch, classes: u32) -> Manifest {
    Manifest { name: arch.to_string(), ..Manifest::new(classes::class_names(classes)) }
}

fn margins(manifest: Manifest) -> Manifest {
    let scores = Scores::Margins;
    Manifest { scores, score_threshold: scores.default_threshold(), ..manifest }
}
