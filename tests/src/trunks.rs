//! The published trunks layer by layer, with random weights: for errors and speeds of single layers.

use frcnn_kernels::{ConvShape, PoolShape};

/// One layer; every convolution is followed by a ReLU.
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    /// Output channels, kernel, stride, padding, groups.
    Conv(&'static str, usize, usize, usize, usize, usize),
    /// Kernel, stride, padding, ceil mode.
    MaxPool(usize, usize, usize, bool),
    /// Over 5 channels with beta 0.75: alpha and k.
    Lrn(f32, f32),
    /// SqueezeNet's fire module: channels squeezed to, and of each of the two expansions.
    Fire(&'static str, usize, usize),
}

use Layer::{Conv, Fire, Lrn, MaxPool};

/// Name, height and width of the blob that it is measured with, layers.
pub type Trunk = (&'static str, [usize; 2], &'static [Layer]);

/// VGG16, VGG_CNN_M_1024, CaffeNet and SqueezeNet.
pub const TRUNKS: [Trunk; 4] = [
    (
        "VGG16",
        [600, 800],
        &[
            Conv("conv1_1", 64, 3, 1, 1, 1),
            Conv("conv1_2", 64, 3, 1, 1, 1),
            MaxPool(2, 2, 0, true),
            Conv("conv2_1", 128, 3, 1, 1, 1),
            Conv("conv2_2", 128, 3, 1, 1, 1),
            MaxPool(2, 2, 0, true),
            Conv("conv3_1", 256, 3, 1, 1, 1),
            Conv("conv3_2", 256, 3, 1, 1, 1),
            Conv("conv3_3", 256, 3, 1, 1, 1),
            MaxPool(2, 2, 0, true),
            Conv("conv4_1", 512, 3, 1, 1, 1),
            Conv("conv4_2", 512, 3, 1, 1, 1),
            Conv("conv4_3", 512, 3, 1, 1, 1),
            MaxPool(2, 2, 0, true),
            Conv("conv5_1", 512, 3, 1, 1, 1),
            Conv("conv5_2", 512, 3, 1, 1, 1),
            Conv("conv5_3", 512, 3, 1, 1, 1),
        ],
    ),
    (
        "VGG_CNN_M_1024",
        [600, 800],
        &[
            Conv("conv1", 96, 7, 2, 0, 1),
            Lrn(5e-4, 2.0),
            MaxPool(3, 2, 0, true),
            Conv("conv2", 256, 5, 2, 1, 1),
            Lrn(5e-4, 2.0),
            MaxPool(3, 2, 0, true),
            Conv("conv3", 512, 3, 1, 1, 1),
            Conv("conv4", 512, 3, 1, 1, 1),
            Conv("conv5", 512, 3, 1, 1, 1),
        ],
    ),
    (
        "CaffeNet",
        [600, 800],
        &[
            Conv("conv1", 96, 11, 4, 5, 1),
            MaxPool(3, 2, 1, true),
            Lrn(1e-4, 1.0),
            Conv("conv2", 256, 5, 1, 2, 2),
            MaxPool(3, 2, 1, true),
            Lrn(1e-4, 1.0),
            Conv("conv3", 384, 3, 1, 1, 1),
            Conv("conv4", 384, 3, 1, 1, 2),
            Conv("conv5", 256, 3, 1, 1, 2),
        ],
    ),
    (
        "SqueezeNet",
        [480, 640],
        &[
            Conv("conv1", 96, 7, 2, 0, 1),
            MaxPool(3, 2, 0, true),
            Fire("fire2", 16, 64),
            Fire("fire3", 16, 64),
            Fire("fire4", 32, 128),
            MaxPool(3, 2, 0, true),
            Fire("fire5", 32, 128),
            Fire("fire6", 48, 192),
            Fire("fire7", 48, 192),
            Fire("fire8", 64, 256),
            Fire("fire9", 64, 256),
        ],
    ),
];

/// Rows, columns, channels of one map.
pub type Size = [usize; 3];

/// The shape of a [`Layer::Conv`] on a map of `size`.
pub fn conv_shape([height, width, in_channels]: Size, out_channels: usize, window: [usize; 4]) -> ConvShape {
    let [kernel, stride, pad, group] = window;
    ConvShape {
        batch: 1,
        height,
        width,
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        pads: [pad; 4],
        group,
    }
}

/// The shape of a [`Layer::MaxPool`] on a map of `size`.
pub fn pool_shape([height, width, channels]: Size, window: [usize; 3], ceil_mode: bool) -> PoolShape {
    let [kernel, stride, pad] = window;
    PoolShape {
        batch: 1,
        height,
        width,
        channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        pads: [pad; 4],
        ceil_mode,
    }
}

/// The convolutions of a fire module on a map of `size`: squeeze1x1, then the two expansions of what it gives.
pub fn fire_shapes(size: Size, squeeze: usize, expand: usize) -> [(&'static str, ConvShape); 3] {
    let squeezed = [size[0], size[1], squeeze];
    [
        ("squeeze1x1", conv_shape(size, squeeze, [1, 1, 0, 1])),
        ("expand1x1", conv_shape(squeezed, expand, [1, 1, 0, 1])),
        ("expand3x3", conv_shape(squeezed, expand, [3, 1, 1, 1])),
    ]
}

/// Every convolution of a trunk on a blob of `height` x `width`, by name.
pub fn convolutions(layers: &[Layer], [height, width]: [usize; 2]) -> Vec<(String, ConvShape)> {
    let mut size = [height, width, 3];
    let mut found = Vec::new();
    for layer in layers {
        match *layer {
            Conv(name, channels, kernel, stride, pad, group) => {
                found.push((name.to_string(), conv_shape(size, channels, [kernel, stride, pad, group])));
            }
            Fire(name, squeeze, expand) => {
                let shapes = fire_shapes(size, squeeze, expand);
                found.extend(shapes.map(|(part, shape)| (format!("{name}_{part}"), shape)));
            }
            MaxPool(..) | Lrn(..) => {}
        }
        size = output_size(layer, size);
    }
    found
}

/// What a layer makes of a map of `size`.
pub fn output_size(layer: &Layer, size: Size) -> Size {
    match *layer {
        Conv(_, channels, kernel, stride, pad, group) => {
            let (height, width) =
                conv_shape(size, channels, [kernel, stride, pad, group]).output_size().unwrap();
            [height, width, channels]
        }
        MaxPool(kernel, stride, pad, ceil_mode) => {
            let (height, width) = pool_shape(size, [kernel, stride, pad], ceil_mode).output_size().unwrap();
            [height, width, size[2]]
        }
        Lrn(..) => size,
        Fire(_, _, expand) => [size[0], size[1], 2 * expand],
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
