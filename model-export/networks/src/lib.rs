//! The published networks, layer by layer, as data.
//!
//! ```text
//! data ─▶ trunk ─▶ RoI pooling ─▶ fc6 ─▶ fc7 ─▶ the outputs
//!        ╰ trunk ╯                ╰── head ──╯     of a PublishedNetwork
//! ```
//!
//! This is the only place where their sizes stand. Whoever needs one in another form (ONNX, libtorch, kernels) walks over
//! [`PublishedNetwork::trunk`]. Weights are not part of it.
#![forbid(unsafe_code)]

mod published;

pub use published::{ALEXNET, CAFFENET, SQUEEZENET, VGG_CNN_M_1024, VGG16};

/// Channels over which [`TrunkLayer::Lrn`] normalises.
pub const LRN_SIZE: usize = 5;
/// Its exponent.
pub const LRN_BETA: f32 = 0.75;

/// A Fast R-CNN without its outputs, whose sizes depend on the number of classes.
#[derive(Clone, Copy, Debug)]
pub struct PublishedNetwork {
    /// As it is given on a command line.
    pub name: &'static str,
    /// From the pixels to the feature map.
    pub trunk: &'static [TrunkLayer],
    /// What follows the trunk.
    pub head: Head,
    /// The side in pixels of the images that the ImageNet classifier of this trunk reads, and an R-CNN.
    pub crop_side: usize,
    /// What pools the map of such an image, in place of RoI pooling, to as many cells.
    pub last_pool: SquareWindow,
    /// The trunk and the last pool of the published classifier, where its padding is another.
    pub classifier: Option<(&'static [TrunkLayer], SquareWindow)>,
}

/// One layer of a trunk, with its published name.
#[derive(Clone, Copy, Debug)]
pub enum TrunkLayer {
    /// A convolution with a bias, and a ReLU.
    Conv(&'static str, Conv),
    /// Max pooling.
    MaxPool(&'static str, MaxPool),
    /// Local response normalisation: `x / (k + alpha / 5 * sum of squares) ^ 0.75`.
    Lrn(&'static str, Lrn),
    /// SqueezeNet's fire module: three convolutions, see [`Fire`].
    Fire(&'static str, Fire),
}

/// A square convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Channels made.
    pub out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step down and right.
    pub stride: usize,
    /// Zeros added on each side.
    pub pad: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Conv {
    /// Stride 1, no padding, one group.
    pub const fn new(out: usize, kernel: usize) -> Conv {
        Conv { out, kernel, stride: 1, pad: 0, groups: 1 }
    }
}

/// A square window.
#[derive(Clone, Copy, Debug)]
pub struct SquareWindow {
    /// Its side.
    pub kernel: usize,
    /// Step down and right.
    pub stride: usize,
}

/// Max pooling over a square window.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// The window.
    pub window: SquareWindow,
    /// Cells added on each side; they never win.
    pub pad: usize,
    /// Whether the number of windows is rounded up, as Caffe does, or down, as torchvision does.
    pub ceil: bool,
}

/// Local response normalisation over [`LRN_SIZE`] channels with the exponent [`LRN_BETA`].
#[derive(Clone, Copy, Debug)]
pub struct Lrn {
    /// Weight of the squares' mean.
    pub alpha: f32,
    /// Added to the mean.
    pub k: f32,
}

/// SqueezeNet's fire module. It squeezes the channels with a 1x1 convolution, expands them with a 1x1 and a 3x3 convolution
/// side by side, and joins what these two give. Each has a ReLU.
#[derive(Clone, Copy, Debug)]
pub struct Fire {
    /// Channels squeezed to.
    pub squeeze: usize,
    /// Channels of each of the two expansions.
    pub expand: usize,
}

impl Fire {
    /// The convolutions with the endings of their names: the one that squeezes, then the two that expand.
    pub const fn convolutions(&self) -> [(&'static str, Conv); 3] {
        [
            ("squeeze1x1", Conv::new(self.squeeze, 1)),
            ("expand1x1", Conv::new(self.expand, 1)),
            ("expand3x3", Conv { pad: 1, ..Conv::new(self.expand, 3) }),
        ]
    }
}

/// What follows the trunk.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Network pixels per feature cell.
    pub stride: usize,
    /// Side of the pooled map.
    pub pooled: usize,
    /// Features of the first hidden layer.
    pub fc6: usize,
    /// Features of the second one.
    pub fc7: usize,
}

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
