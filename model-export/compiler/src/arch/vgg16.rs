//! VGG16, the paper's network L: thirteen 3x3 convolutions, four 2x2 pools, stride 16.

use super::net::{Blob, Conv, Crop, Head, Net};

pub(super) const HEAD: Head = Head { pooled: 7, stride: 16, fc6: 4096, fc7: 4096 };

pub(super) const CROP: Crop = Crop { side: 224, pool: (2, 2) };

pub(super) fn trunk(net: &mut Net, data: Blob) -> Blob {
    let mut top = data;
    for (stage, layers, channels) in [(1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512)] {
        for layer in 1..=layers {
            top = net.conv(&top, &format!("conv{stage}_{layer}"), Conv { pad: 1, ..Conv::new(channels, 3) });
        }
        // RoI pooling stands in for pool5.
        if stage < 5 {
            top = net.max_pool(&top, &format!("pool{stage}"), 2, 2, 0);
        }
    }
    top
}
