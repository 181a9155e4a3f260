//! Shapes of the published trunks' layers, and random weights: for errors and speeds of single layers.

use frcnn_kernels::{ConvShape, PoolShape};
use frcnn_networks::{Conv, Fire, MaxPool, PublishedNetwork, TrunkLayer};

/// A network and the height and width of the blob that it is measured with.
pub type Trunk = (&'static PublishedNetwork, [usize; 2]);

/// VGG16, VGG_CNN_M_1024, CaffeNet and SqueezeNet.
pub const TRUNKS: [Trunk; 4] = [
    (&frcnn_networks::VGG16, [600, 800]),
    (&frcnn_networks::VGG_CNN_M_1024, [600, 800]),
    (&frcnn_networks::CAFFENET, [600, 800]),
    (&frcnn_networks::SQUEEZENET, [480, 640]),
];

/// Rows, columns, channels of one map.
pub type Size = [usize; 3];

/// The shape of a convolution on a map of `size`.
pub fn conv_shape([height, width, in_channels]: Size, conv: Conv) -> ConvShape {
    ConvShape {
        batch: 1,
        height,
        width,
        in_channels,
        out_channels: conv.out,
        kernel: [conv.kernel; 2],
        stride: [conv.stride; 2],
        dilation: [1, 1],
        pads: [conv.pad; 4],
        group: conv.groups,
    }
}

/// The shape of a pooling on a map of `size`.
pub fn pool_shape([height, width, channels]: Size, pool: MaxPool) -> PoolShape {
    PoolShape {
        batch: 1,
        height,
        width,
        channels,
        kernel: [pool.window.kernel; 2],
        stride: [pool.window.stride; 2],
        dilation: [1, 1],
        pads: [pool.pad; 4],
        ceil_mode: pool.ceil,
    }
}

/// The convolutions of a fire module on a map of `size`: squeeze1x1, then the two expansions of what it gives.
pub fn fire_shapes(size: Size, fire: Fire) -> [(&'static str, ConvShape); 3] {
    let [squeeze, small, large] = fire.convolutions();
    let squeezed = [size[0], size[1], fire.squeeze];
    [
        (squeeze.0, conv_shape(size, squeeze.1)),
        (small.0, conv_shape(squeezed, small.1)),
        (large.0, conv_shape(squeezed, large.1)),
    ]
}

/// Every convolution of a trunk on a blob of `height` x `width`, by name.
pub fn convolutions(layers: &[TrunkLayer], [height, width]: [usize; 2]) -> Vec<(String, ConvShape)> {
    let mut size = [height, width, 3];
    let mut found = Vec::new();
    for layer in layers {
        match *layer {
            TrunkLayer::Conv(name, conv) => found.push((name.to_string(), conv_shape(size, conv))),
            TrunkLayer::Fire(name, fire) => {
                let shapes = fire_shapes(size, fire);
                found.extend(shapes.map(|(part, shape)| (format!("{name}_{part}"), shape)));
            }
            TrunkLayer::MaxPool(..) | TrunkLayer::Lrn(..) => {}
        }
        size = output_size(layer, size);
    }
    found
}

/// What a layer makes of a map of `size`.
pub fn output_size(layer: &TrunkLayer, size: Size) -> Size {
    match *layer {
        TrunkLayer::Conv(_, conv) => {
            let (height, width) = conv_shape(size, conv).output_size().unwrap();
            [height, width, conv.out]
        }
        TrunkLayer::MaxPool(_, pool) => {
            let (height, width) = pool_shape(size, pool).output_size().unwrap();
            [height, width, size[2]]
        }
        TrunkLayer::Lrn(..) => size,
        TrunkLayer::Fire(_, fire) => [size[0], size[1], 2 * fire.expand],
    }
}

/// Seeded values in [-1, 1).
pub fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Weights of variance `2 / K` (He), which keep the magnitude of maps as trained ones do.
pub fn weights(shape: &ConvShape, seed: u64) -> Vec<f32> {
    let taps = shape.kernel[0] * shape.kernel[1] * shape.in_channels / shape.group;
    // Values in [-1, 1) have a variance of 1/3.
    let scale = (6.0 / taps as f32).sqrt();
    random(shape.weight_len(), seed).into_iter().map(|w| w * scale).collect()
}
