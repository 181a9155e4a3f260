//! SqueezeNet v1.0 up to fire8: stride 8, 512 channels, and a small head.
//!
//! A fire module squeezes the channels with a 1x1 convolution, expands them with 1x1 and 3x3 side by side, and stacks
//! the two results.

use super::net::{Blob, Conv, Crop, Head, Net};

pub(super) const HEAD: Head = Head { pooled: 6, stride: 8, fc6: 512, fc7: 512 };

/// 27 x 27 cells become as many bins as RoI pooling makes.
pub(super) const CROP: Crop = Crop { side: 227, pool: (7, 4) };

pub(super) fn trunk(net: &mut Net, data: Blob) -> Blob {
    let mut top = net.conv(&data, "conv1", Conv { stride: 2, ..Conv::new(96, 7) });
    top = net.max_pool(&top, "pool1", 3, 2, 0);
    for (name, squeeze) in [("fire2", 16), ("fire3", 16), ("fire4", 32)] {
        top = fire(net, &top, name, squeeze);
    }
    top = net.max_pool(&top, "pool4", 3, 2, 0);
    for (name, squeeze) in [("fire5", 32), ("fire6", 48), ("fire7", 48), ("fire8", 64)] {
        top = fire(net, &top, name, squeeze);
    }
    top
}

fn fire(net: &mut Net, bottom: &Blob, name: &str, squeeze: usize) -> Blob {
    let expand = 4 * squeeze;
    let squeezed = net.conv(bottom, &format!("{name}_squeeze1x1"), Conv::new(squeeze, 1));
    let small = net.conv(&squeezed, &format!("{name}_expand1x1"), Conv::new(expand, 1));
    let large = net.conv(&squeezed, &format!("{name}_expand3x3"), Conv { pad: 1, ..Conv::new(expand, 3) });
    net.concat(&small, &large, &format!("{name}_concat"))
}
