//! VGG_CNN_M_1024, the paper's network M: five convolutions, normalised before they are pooled, stride 16.

use super::net::{Blob, Conv, Crop, Head, Lrn, Net};

pub(super) const HEAD: Head = Head { pooled: 6, stride: 16, fc6: 4096, fc7: 1024 };

const LRN: Lrn = Lrn { alpha: 5e-4, k: 2.0 };

pub(super) const CROP: Crop = Crop { side: 224, pool: (3, 2) };

pub(super) fn trunk(net: &mut Net, data: Blob) -> Blob {
    let mut top = net.conv(&data, "conv1", Conv { stride: 2, ..Conv::new(96, 7) });
    top = net.lrn(&top, "norm1", LRN);
    top = net.max_pool(&top, "pool1", 3, 2, 0);
    top = net.conv(&top, "conv2", Conv { stride: 2, pad: 1, ..Conv::new(256, 5) });
    top = net.lrn(&top, "norm2", LRN);
    top = net.max_pool(&top, "pool2", 3, 2, 0);
    for name in ["conv3", "conv4", "conv5"] {
        top = net.conv(&top, name, Conv { pad: 1, ..Conv::new(512, 3) });
    }
    top
}
