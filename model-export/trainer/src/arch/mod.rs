//! The networks that can be trained, untrained: their layers, and how they are usually trained.
//!
//! ```text
//! data [N,3,H,W] ─▶ trunk ─▶ pool5 [R,C,P,P] ─▶ fc6 ─▶ fc7 ─┬▶ cls_score ─▶ cls_prob [R,K+1]
//! rois [R,5] ───────────────────┘                           └▶ bbox_pred [R,4(K+1)]
//!                    trunk ─▶ rpn_conv ─┬▶ rpn_logits [N,A,Hf,Wf]       where proposals are learned
//!                                       └▶ rpn_deltas [N,4A,Hf,Wf]
//! ```

mod build;
mod tiny;

use clap::ValueEnum;
use frcnn_networks::MaxPool;
use serde::{Deserialize, Serialize};

use crate::network::TorchNetwork;
use crate::recipe::Pooling;
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

/// Where a network's regions come from, and how they are pooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions {
    pub(crate) pooling: Pooling,
    /// Anchors of each cell that a region proposal network judges; 0 for none.
    pub(crate) anchors: usize,
}

impl Arch {
    /// Its layers.
    const fn layers(self) -> &'static frcnn_networks::PublishedNetwork {
        match self {
            Arch::Vgg16 => &frcnn_networks::VGG16,
            Arch::VggCnnM1024 => &frcnn_networks::VGG_CNN_M_1024,
            Arch::CaffeNet => &frcnn_networks::CAFFENET,
            Arch::AlexNet => &frcnn_networks::ALEXNET,
            Arch::SqueezeNet => &frcnn_networks::SQUEEZENET,
            Arch::Tiny => &tiny::TINY,
        }
    }

    /// As it is given on the command line.
    pub(crate) const fn name(self) -> &'static str {
        self.layers().name
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
    /// cls_score and bbox_pred are drawn as in the paper, N(0, 0.01) and N(0, 0.001), the region proposal network's layers by
    /// N(0, 0.01), all others by He's rule. Biases are 0.
    pub(crate) fn network(self, classes: usize, regions: Regions) -> TorchNetwork {
        let mut net = self.trunk();
        let head = self.layers().head;
        if regions.anchors > 0 {
            net.rpn(self.rpn_channels(), regions.anchors);
        }
        match regions.pooling {
            Pooling::Max => net.roi_pool("pool5", head.pooled, head.stride),
            Pooling::Align => net.roi_align("pool5", head.pooled, head.stride),
        }
        self.hidden(&mut net);
        net.outputs(classes as i64 + 1);
        net.finish()
    }

    /// The same trunk as an SPPnet: pooled at four levels, 50 bins, and classified only.
    pub(crate) fn sppnet(self, classes: usize) -> TorchNetwork {
        let mut net = self.trunk();
        net.spatial_pyramid("pool5", &[6, 3, 2, 1], self.layers().head.stride);
        self.hidden(&mut net);
        net.scores(classes as i64 + 1);
        net.finish()
    }

    /// The same trunk as the classifier of a whole picture of [`Arch::crop_side`] pixels, which is what R-CNN runs on each
    /// proposal. Its last pool gives as many cells as RoI pooling does.
    pub(crate) fn classifier(self, classes: usize) -> TorchNetwork {
        let mut net = self.trunk();
        net.max_pool("pool5", MaxPool { window: self.layers().last_pool, pad: 0, ceil: false });
        net.flatten(self.layers().head.pooled as i64);
        self.hidden(&mut net);
        net.scores(classes as i64 + 1);
        net.finish()
    }

    /// Pixels between cells of the feature map.
    pub(crate) const fn stride(self) -> usize {
        self.layers().head.stride
    }

    /// Channels of the region proposal network's 3x3 convolution: the published 512 of VGG16 and 256 of smaller networks with
    /// stride 16. Maps of stride 8 have four times the cells.
    const fn rpn_channels(self) -> usize {
        match self {
            Arch::Vgg16 => 512,
            Arch::VggCnnM1024 | Arch::CaffeNet | Arch::AlexNet => 256,
            Arch::SqueezeNet => 128,
            Arch::Tiny => 64,
        }
    }

    /// Sides in pixels of the pictures that [`Arch::classifier`] takes: those that the ImageNet classifiers were trained on.
    pub(crate) fn crop_side(self) -> u32 {
        self.layers().crop_side as u32
    }

    fn trunk(self) -> Builder {
        let mut net = Builder::default();
        net.trunk(self.layers().trunk);
        net
    }

    fn hidden(self, net: &mut Builder) {
        let head = self.layers().head;
        net.hidden("fc6", head.fc6);
        net.hidden("fc7", head.fc7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{DATA, Run};
    use tch::{Device, Kind, Tensor};

    #[test]
    fn the_last_pool_of_a_classifier_gives_as_many_cells_as_roi_pooling() {
        for &arch in Arch::value_variants() {
            let side = i64::from(arch.crop_side());
            let crop = Tensor::zeros([1, 3, side, side], (Kind::Float, Device::Cpu));
            let network = arch.classifier(2);
            let pooled = tch::no_grad(|| network.run_from(DATA, &crop, Run::default(), &[], &["pool5"]));
            let pooled_side = arch.layers().head.pooled as i64;
            assert_eq!(pooled["pool5"].size()[2..], [pooled_side, pooled_side], "{}", arch.name());
        }
    }
}
