//! The published Fast R-CNN networks, untrained, as ONNX: to train from, to measure, and to test on at full size.
//!
//! ```text
//! data [1,3,H,W] ─▶ trunk ─▶ MaxRoiPool pool5 ─▶ fc6 ─▶ fc7 ─┬▶ cls_score ─▶ cls_prob [R,K+1]
//! rois [R,5] ───────────────────┘                            └▶ bbox_pred [R,4(K+1)]
//! ```
//!
//! Layers and initializers carry the published names (`conv5_3`, `fc6.weight`). Weights are drawn by He's rule from a
//! seed, so that on a photo activations stay of order 1 from conv1 to fc7 and scores differ from RoI to RoI. Dropout does
//! nothing when a network is run, and is left out.

mod caffenet;
mod classes;
mod net;
mod squeezenet;
mod vgg16;
mod vgg_cnn_m_1024;
mod weights;

use std::fmt;
use std::str::FromStr;

use frcnn_bundle::Manifest;
use frcnn_onnx::pb::ModelProto;

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
        match self {
            Self::Vgg16 => "vgg16",
            Self::VggCnnM1024 => "vgg_cnn_m_1024",
            Self::CaffeNet => "caffenet",
            Self::SqueezeNet => "squeezenet",
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
    if !(1..=MAX_CLASSES).contains(&classes) {
        return Err(ArchError::Classes { classes });
    }
    let (mut net, data) = Net::new(arch.name(), seed);
    let (conv, head) = match arch {
        Arch::Vgg16 => (vgg16::trunk(&mut net, data), vgg16::HEAD),
        Arch::VggCnnM1024 => (vgg_cnn_m_1024::trunk(&mut net, data), vgg_cnn_m_1024::HEAD),
        Arch::CaffeNet => (caffenet::trunk(&mut net, data), caffenet::HEAD),
        Arch::SqueezeNet => (squeezenet::trunk(&mut net, data), squeezenet::HEAD),
    };
    let manifest = Manifest { name: arch.to_string(), ..Manifest::new(classes::class_names(classes)) };
    Ok(NewModel { onnx: net.head(&conv, &head, classes as usize), manifest })
}
