//! From the pixels to the feature map.

use super::build::{Builder, Conv};

/// Thirteen 3x3 convolutions, four 2x2 pools. RoI pooling stands in for the fifth.
pub(super) fn vgg16(net: &mut Builder) {
    for (stage, layers, channels) in [(1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512)] {
        for layer in 1..=layers {
            net.conv(&format!("conv{stage}_{layer}"), Conv { pad: 1, ..Conv::new(channels, 3) });
        }
        if stage < 5 {
            net.max_pool(&format!("pool{stage}"), [2, 2, 0], true);
        }
    }
}

/// Normalised before it is pooled.
pub(super) fn vgg_cnn_m_1024(net: &mut Builder) {
    net.conv("conv1", Conv { stride: 2, ..Conv::new(96, 7) });
    net.lrn("norm1", 5e-4, 2.0);
    net.max_pool("pool1", [3, 2, 0], true);
    net.conv("conv2", Conv { stride: 2, pad: 1, ..Conv::new(256, 5) });
    net.lrn("norm2", 5e-4, 2.0);
    net.max_pool("pool2", [3, 2, 0], true);
    for name in ["conv3", "conv4", "conv5"] {
        net.conv(name, Conv { pad: 1, ..Conv::new(512, 3) });
    }
}

/// Pooled before it is normalised. Padding 5 in conv1 and 1 in the pools centre feature cell (0, 0) on the image's first
/// pixel.
pub(super) fn caffenet(net: &mut Builder) {
    net.conv("conv1", Conv { stride: 4, pad: 5, ..Conv::new(96, 11) });
    net.max_pool("pool1", [3, 2, 1], true);
    net.lrn("norm1", 1e-4, 1.0);
    net.conv("conv2", Conv { pad: 2, groups: 2, ..Conv::new(256, 5) });
    net.max_pool("pool2", [3, 2, 1], true);
    net.lrn("norm2", 1e-4, 1.0);
    net.conv("conv3", Conv { pad: 1, ..Conv::new(384, 3) });
    net.conv("conv4", Conv { pad: 1, groups: 2, ..Conv::new(384, 3) });
    net.conv("conv5", Conv { pad: 1, groups: 2, ..Conv::new(256, 3) });
}

/// Neither groups nor normalisation. Padded like CaffeNet, so that cells lie on the pixels that they stand for.
pub(super) fn alexnet(net: &mut Builder) {
    net.conv("conv1", Conv { stride: 4, pad: 5, ..Conv::new(64, 11) });
    net.max_pool("pool1", [3, 2, 1], false);
    net.conv("conv2", Conv { pad: 2, ..Conv::new(192, 5) });
    net.max_pool("pool2", [3, 2, 1], false);
    net.conv("conv3", Conv { pad: 1, ..Conv::new(384, 3) });
    net.conv("conv4", Conv { pad: 1, ..Conv::new(256, 3) });
    net.conv("conv5", Conv { pad: 1, ..Conv::new(256, 3) });
}

/// SqueezeNet v1.0 up to fire8.
pub(super) fn squeezenet(net: &mut Builder) {
    net.conv("conv1", Conv { stride: 2, ..Conv::new(96, 7) });
    net.max_pool("pool1", [3, 2, 0], true);
    for (name, squeeze) in [("fire2", 16), ("fire3", 16), ("fire4", 32)] {
        net.fire(name, squeeze);
    }
    net.max_pool("pool4", [3, 2, 0], true);
    for (name, squeeze) in [("fire5", 32), ("fire6", 48), ("fire7", 48), ("fire8", 64)] {
        net.fire(name, squeeze);
    }
}

/// 85 thousand weights.
pub(super) fn tiny(net: &mut Builder) {
    net.conv("conv1", Conv { stride: 2, pad: 2, ..Conv::new(16, 5) });
    net.max_pool("pool1", [3, 2, 1], true);
    net.conv("conv2", Conv { pad: 1, ..Conv::new(32, 3) });
    net.conv("conv3", Conv { pad: 1, ..Conv::new(48, 3) });
    net.max_pool("pool2", [3, 2, 1], true);
    net.conv("conv4", Conv { pad: 1, ..Conv::new(64, 3) });
    net.conv("conv5", Conv { pad: 1, ..Conv::new(64, 3) });
}
