//! The one network that was never published.

use frcnn_networks::{Conv, Head, Layer, MaxPool, Network, Window};

/// Five small convolutions, stride 8: 85 thousand weights, trained from scratch.
pub(super) const TINY: Network = Network {
    name: "tiny",
    trunk: &[
        Layer::Conv("conv1", Conv { stride: 2, pad: 2, ..Conv::new(16, 5) }),
        Layer::MaxPool("pool1", POOL),
        Layer::Conv("conv2", conv3x3(32)),
        Layer::Conv("conv3", conv3x3(48)),
        Layer::MaxPool("pool2", POOL),
        Layer::Conv("conv4", conv3x3(64)),
        Layer::Conv("conv5", conv3x3(64)),
    ],
    head: Head { stride: 8, pooled: 6, fc6: 128, fc7: 128 },
    crop_side: 96,
    last_pool: Window { kernel: 3, stride: 2 },
    classifier: None,
};

const POOL: MaxPool = MaxPool { window: Window { kernel: 3, stride: 2 }, pad: 1, ceil: true };

const fn conv3x3(out: usize) -> Conv {
    Conv { pad: 1, ..Conv::new(out, 3) }
}
