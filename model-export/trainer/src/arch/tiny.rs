//! The one network that was never published.

use frcnn_networks::{Conv, Head, MaxPool, PublishedNetwork, SquareWindow, TrunkLayer};

/// Five small convolutions, stride 8: 85 thousand weights, trained from scratch.
pub(super) const TINY: PublishedNetwork = PublishedNetwork {
    name: "tiny",
    trunk: &[
        TrunkLayer::Conv("conv1", Conv { stride: 2, pad: 2, ..Conv::new(16, 5) }),
        TrunkLayer::MaxPool("pool1", POOL),
        TrunkLayer::Conv("conv2", conv3x3(32)),
        TrunkLayer::Conv("conv3", conv3x3(48)),
        TrunkLayer::MaxPool("pool2", POOL),
        TrunkLayer::Conv("conv4", conv3x3(64)),
        TrunkLayer::Conv("conv5", conv3x3(64)),
    ],
    head: Head { stride: 8, pooled: 6, fc6: 128, fc7: 128 },
    crop_side: 96,
    last_pool: SquareWindow { kernel: 3, stride: 2 },
    classifier: None,
};

const POOL: MaxPool = MaxPool { window: SquareWindow { kernel: 3, stride: 2 }, pad: 1, ceil: true };

const fn conv3x3(out: usize) -> Conv {
    Conv { pad: 1, ..Conv::new(out, 3) }
}
