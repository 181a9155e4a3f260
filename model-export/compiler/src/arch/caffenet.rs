//! CaffeNet, the paper's network S: AlexNet in one tower, pooled before it is normalised, stride 16.
//!
//! Padding 5 in conv1 and 1 in the pools centre feature cell (0, 0) on the image's first pixel. The classifier has none: a
//! 227 x 227 image becomes 13 x 13 cells.

use super::net::{Blob, Conv, Crop, Head, Lrn, Net};

pub(super) const HEAD: Head = Head { pooled: 6, stride: 16, fc6: 4096, fc7: 4096 };

const LRN: Lrn = Lrn { alpha: 1e-4, k: 1.0 };

pub(super) const CROP: Crop = Crop { side: 227, pool: (3, 2) };

pub(super) fn trunk(net: &mut Net, data: Blob) -> Blob {
    layers(net, data, [5, 1])
}

pub(super) fn classifier_trunk(net: &mut Net, data: Blob) -> Blob {
    layers(net, data, [0, 0])
}

fn layers(net: &mut Net, data: Blob, [conv_pad, pool_pad]: [usize; 2]) -> Blob {
    let mut top = net.conv(&data, "conv1", Conv { stride: 4, pad: conv_pad, ..Conv::new(96, 11) });
    top = net.max_pool(&top, "pool1", 3, 2, pool_pad);
    top = net.lrn(&top, "norm1", LRN);
    top = net.conv(&top, "conv2", Conv { pad: 2, groups: 2, ..Conv::new(256, 5) });
    top = net.max_pool(&top, "pool2", 3, 2, pool_pad);
    top = net.lrn(&top, "norm2", LRN);
    top = net.conv(&top, "conv3", Conv { pad: 1, ..Conv::new(384, 3) });
    top = net.conv(&top, "conv4", Conv { pad: 1, groups: 2, ..Conv::new(384, 3) });
    net.conv(&top, "conv5", Conv { pad: 1, groups: 2, ..Conv::new(256, 3) })
}
