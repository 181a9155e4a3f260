//! VGG16, VGG_CNN_M_1024, CaffeNet, AlexNet and SqueezeNet.

use crate::{Conv, Fire, Head, Lrn, MaxPool, PublishedNetwork, SquareWindow, TrunkLayer};

/// The paper's network L (Simonyan and Zisserman, 2015): thirteen 3x3 convolutions and four 2x2 pools, stride 16. RoI pooling
/// stands in for the fifth pool.
pub const VGG16: PublishedNetwork = PublishedNetwork {
    name: "vgg16",
    trunk: &[
        TrunkLayer::Conv("conv1_1", conv3x3(64)),
        TrunkLayer::Conv("conv1_2", conv3x3(64)),
        TrunkLayer::MaxPool("pool1", pool(2, 2, 0)),
        TrunkLayer::Conv("conv2_1", conv3x3(128)),
        TrunkLayer::Conv("conv2_2", conv3x3(128)),
        TrunkLayer::MaxPool("pool2", pool(2, 2, 0)),
        TrunkLayer::Conv("conv3_1", conv3x3(256)),
        TrunkLayer::Conv("conv3_2", conv3x3(256)),
        TrunkLayer::Conv("conv3_3", conv3x3(256)),
        TrunkLayer::MaxPool("pool3", pool(2, 2, 0)),
        TrunkLayer::Conv("conv4_1", conv3x3(512)),
        TrunkLayer::Conv("conv4_2", conv3x3(512)),
        TrunkLayer::Conv("conv4_3", conv3x3(512)),
        TrunkLayer::MaxPool("pool4", pool(2, 2, 0)),
        TrunkLayer::Conv("conv5_1", conv3x3(512)),
        TrunkLayer::Conv("conv5_2", conv3x3(512)),
        TrunkLayer::Conv("conv5_3", conv3x3(512)),
    ],
    head: Head { stride: 16, pooled: 7, fc6: 4096, fc7: 4096 },
    crop_side: 224,
    last_pool: SquareWindow { kernel: 2, stride: 2 },
    classifier: None,
};

/// The paper's network M (Chatfield et al., 2014): five convolutions, normalised before they are pooled, stride 16.
pub const VGG_CNN_M_1024: PublishedNetwork = PublishedNetwork {
    name: "vgg_cnn_m_1024",
    trunk: &[
        TrunkLayer::Conv("conv1", Conv { stride: 2, ..Conv::new(96, 7) }),
        TrunkLayer::Lrn("norm1", VGG_LRN),
        TrunkLayer::MaxPool("pool1", pool(3, 2, 0)),
        TrunkLayer::Conv("conv2", Conv { stride: 2, pad: 1, ..Conv::new(256, 5) }),
        TrunkLayer::Lrn("norm2", VGG_LRN),
        TrunkLayer::MaxPool("pool2", pool(3, 2, 0)),
        TrunkLayer::Conv("conv3", conv3x3(512)),
        TrunkLayer::Conv("conv4", conv3x3(512)),
        TrunkLayer::Conv("conv5", conv3x3(512)),
    ],
    head: Head { stride: 16, pooled: 6, fc6: 4096, fc7: 1024 },
    crop_side: 224,
    last_pool: SquareWindow { kernel: 3, stride: 2 },
    classifier: None,
};

const VGG_LRN: Lrn = Lrn { alpha: 5e-4, k: 2.0 };

/// The paper's network S: AlexNet in one tower (Jia et al., 2014), pooled before it is normalised, stride 16.
///
/// Padding 5 in conv1 and 1 in the pools centre feature cell (0, 0) on the image's first pixel; a 227 x 227 image becomes
/// 15 x 15 cells. The published classifier has none, and makes 13 x 13 cells of it.
pub const CAFFENET: PublishedNetwork = PublishedNetwork {
    name: "caffenet",
    trunk: &caffenet(5, 1),
    head: Head { stride: 16, pooled: 6, fc6: 4096, fc7: 4096 },
    crop_side: 227,
    last_pool: SquareWindow { kernel: 5, stride: 2 },
    classifier: Some((&caffenet(0, 0), SquareWindow { kernel: 3, stride: 2 })),
};

const CAFFENET_LRN: Lrn = Lrn { alpha: 1e-4, k: 1.0 };

const fn caffenet(conv_pad: usize, pool_pad: usize) -> [TrunkLayer; 9] {
    [
        TrunkLayer::Conv("conv1", Conv { stride: 4, pad: conv_pad, ..Conv::new(96, 11) }),
        TrunkLayer::MaxPool("pool1", pool(3, 2, pool_pad)),
        TrunkLayer::Lrn("norm1", CAFFENET_LRN),
        TrunkLayer::Conv("conv2", Conv { pad: 2, groups: 2, ..Conv::new(256, 5) }),
        TrunkLayer::MaxPool("pool2", pool(3, 2, pool_pad)),
        TrunkLayer::Lrn("norm2", CAFFENET_LRN),
        TrunkLayer::Conv("conv3", conv3x3(384)),
        TrunkLayer::Conv("conv4", Conv { groups: 2, ..conv3x3(384) }),
        TrunkLayer::Conv("conv5", Conv { groups: 2, ..conv3x3(256) }),
    ]
}

/// torchvision's AlexNet (Krizhevsky, 2014): neither groups nor normalisation. Padded like CaffeNet, so that cells lie on the
/// pixels that they stand for.
pub const ALEXNET: PublishedNetwork = PublishedNetwork {
    name: "alexnet",
    trunk: &[
        TrunkLayer::Conv("conv1", Conv { stride: 4, pad: 5, ..Conv::new(64, 11) }),
        TrunkLayer::MaxPool("pool1", MaxPool { ceil: false, ..pool(3, 2, 1) }),
        TrunkLayer::Conv("conv2", Conv { pad: 2, ..Conv::new(192, 5) }),
        TrunkLayer::MaxPool("pool2", MaxPool { ceil: false, ..pool(3, 2, 1) }),
        TrunkLayer::Conv("conv3", conv3x3(384)),
        TrunkLayer::Conv("conv4", conv3x3(256)),
        TrunkLayer::Conv("conv5", conv3x3(256)),
    ],
    head: Head { stride: 16, pooled: 6, fc6: 4096, fc7: 4096 },
    crop_side: 227,
    last_pool: SquareWindow { kernel: 5, stride: 2 },
    classifier: None,
};

/// SqueezeNet v1.0 (Iandola et al., 2016) up to fire8: stride 8, 512 channels, and a small head.
pub const SQUEEZENET: PublishedNetwork = PublishedNetwork {
    name: "squeezenet",
    trunk: &[
        TrunkLayer::Conv("conv1", Conv { stride: 2, ..Conv::new(96, 7) }),
        TrunkLayer::MaxPool("pool1", pool(3, 2, 0)),
        TrunkLayer::Fire("fire2", fire(16)),
        TrunkLayer::Fire("fire3", fire(16)),
        TrunkLayer::Fire("fire4", fire(32)),
        TrunkLayer::MaxPool("pool4", pool(3, 2, 0)),
        TrunkLayer::Fire("fire5", fire(32)),
        TrunkLayer::Fire("fire6", fire(48)),
        TrunkLayer::Fire("fire7", fire(48)),
        TrunkLayer::Fire("fire8", fire(64)),
    ],
    head: Head { stride: 8, pooled: 6, fc6: 512, fc7: 512 },
    crop_side: 227,
    // 27 x 27 cells become as many bins as RoI pooling makes.
    last_pool: SquareWindow { kernel: 7, stride: 4 },
    classifier: None,
};

const fn conv3x3(out: usize) -> Conv {
    Conv { pad: 1, ..Conv::new(out, 3) }
}

/// Windows rounded up.
const fn pool(kernel: usize, stride: usize, pad: usize) -> MaxPool {
    MaxPool { window: SquareWindow { kernel, stride }, pad, ceil: true }
}

const fn fire(squeeze: usize) -> Fire {
    Fire { squeeze, expand: 4 * squeeze }
}
