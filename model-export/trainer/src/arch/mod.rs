//! The networks that can be trained, untrained: their layers, and how they are usually trained.
//!
//! ```text
//! data [N,3,H,W] ─▶ trunk ─▶ pool5 [R,C,P,P] ─▶ fc6 ─▶ fc7 ─┬▶ cls_score ─▶ cls_prob [R,K+1]
//! rois [R,5] ───────────────────┘                           └▶ bbox_pred [R,4(K+1)]
//! ```

mod build;
mod trunks;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::network::Network;
use build::Builder;
pub(crate) use build::PIXEL_RMS;

/// A network's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Arch {
    /// The paper's L: 13 convolutions of 3x3, stride 16, pooled 7x7
    #[value(name = "vgg16")]
    #[serde(rename = "vgg16")]
    Vgg16,
    /// The paper's M: 5 convolutions, stride 16, pooled 6x6, fc7 of 1024
    #[value(name = "vgg_cnn_m_1024")]
    #[serde(rename = "vgg_cnn_m_1024")]
    VggCnnM1024,
    /// The paper's S: AlexNet in one tower, stride 16, pooled 6x6
    #[value(name = "caffenet")]
    #[serde(rename = "caffenet")]
    CaffeNet,
    /// torchvision's AlexNet, for its ImageNet weights: stride 16, pooled 6x6
    #[value(name = "alexnet")]
    #[serde(rename = "alexnet")]
    AlexNet,
    /// SqueezeNet v1.0 up to fire8, stride 8, pooled 6x6, hidden layers of 512
    #[value(name = "squeezenet")]
    #[serde(rename = "squeezenet")]
    SqueezeNet,
    /// Five small convolutions, stride 8, pooled 6x6, hidden layers of 128: trained from scratch
    #[value(name = "tiny")]
    #[serde(rename = "tiny")]
    Tiny,
}

impl Arch {
    /// As it is given on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Arch::Vgg16 => "vgg16",
            Arch::VggCnnM1024 => "vgg_cnn_m_1024",
            Arch::CaffeNet => "caffenet",
            Arch::AlexNet => "alexnet",
            Arch::SqueezeNet => "squeezenet",
            Arch::Tiny => "tiny",
        }
    }

    /// The layers that are not trained unless asked for: those nearest the pixels, which the paper found not worth it.
    pub(crate) fn frozen(self) -> &'static [&'static str] {
        match self {
            Arch::Vgg16 => &["conv1_1", "conv1_2", "conv2_1", "conv2_2"],
            Arch::VggCnnM1024 | Arch::CaffeNet | Arch::AlexNet | Arch::SqueezeNet => &["conv1"],
            // It starts from random weights.
            Arch::Tiny => &[],
        }
    }

    /// The network for `classes` object classes (background is added), with weights drawn from libtorch's generator.
    ///
    /// cls_score and bbox_pred are drawn as in the paper, N(0, 0.01) and N(0, 0.001), all others by He's rule. Biases are
    /// 0.
    pub(crate) fn network(self, classes: usize) -> Network {
        let mut net = Builder::default();
        match self {
            Arch::Vgg16 => trunks::vgg16(&mut net),
            Arch::VggCnnM1024 => trunks::vgg_cnn_m_1024(&mut net),
            Arch::CaffeNet => trunks::caffenet(&mut net),
            Arch::AlexNet => trunks::alexnet(&mut net),
            Arch::SqueezeNet => trunks::squeezenet(&mut net),
            Arch::Tiny => trunks::tiny(&mut net),
        }
        let (stride, pooled, fc6, fc7) = match self {
            Arch::Vgg16 => (16, 7, 4096, 4096),
            Arch::VggCnnM1024 => (16, 6, 4096, 1024),
            Arch::CaffeNet | Arch::AlexNet => (16, 6, 4096, 4096),
            Arch::SqueezeNet => (8, 6, 512, 512),
            Arch::Tiny => (8, 6, 128, 128),
        };
        net.roi_pool("pool5", pooled, stride);
        net.hidden("fc6", fc6);
        net.hidden("fc7", fc7);
        net.outputs(classes as i64 + 1);
        net.finish()
    }
}
