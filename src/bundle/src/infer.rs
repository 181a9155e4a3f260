//! Shapes of a graph's values, from the shape of its input.

use frcnn_core::Window;

use crate::graph::{Conv, Graph, Layer, Op, Pool};
use crate::validate::MAX_CHANNELS;

/// Shape of one value, the leading batch or RoI dimension left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A feature map, channels last.
    Map {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels.
        channels: usize,
    },
    /// A row of features.
    Flat {
        /// How many.
        features: usize,
    },
}

impl Shape {
    /// Number of values; saturates.
    pub fn len(&self) -> usize {
        match *self {
            Shape::Map { height, width, channels } => height.saturating_mul(width).saturating_mul(channels),
            Shape::Flat { features } => features,
        }
    }

    /// Bytes of the values as f32; saturates.
    pub fn bytes(&self) -> u64 {
        (self.len() as u64).saturating_mul(4)
    }

    /// Whether it has no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of a map, features of a row.
    pub fn channels(&self) -> usize {
        match *self {
            Shape::Map { channels, .. } => channels,
            Shape::Flat { features } => features,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Map { height, width, channels } => write!(f, "{height}x{width}x{channels}"),
            Shape::Flat { features } => write!(f, "{features}"),
        }
    }
}

impl Graph {
    /// Shapes of all values, the input's first. The error names the layer and what does not fit; it is a
    /// pair of the layer's position and the problem.
    pub fn infer(&self, input: Shape) -> Result<Vec<Shape>, (usize, String)> {
        let mut shapes = Vec::with_capacity(self.layers.len() + 1);
        shapes.push(input);
        for (position, layer) in self.layers.iter().enumerate() {
            let inputs: Option<Vec<Shape>> =
                layer.inputs.iter().map(|&value| shapes.get(value as usize).copied()).collect();
            let inputs = inputs.ok_or_else(|| (position, "it reads a later layer".to_string()))?;
            shapes.push(layer.infer(&inputs).map_err(|problem| (position, problem))?);
        }
        Ok(shapes)
    }
}

impl Layer {
    fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        match (&self.op, inputs) {
            (Op::Conv(conv), &[Shape::Map { height, width, channels }]) => {
                let expected = conv.in_channels as usize;
                if channels != expected {
                    return Err(format!("it reads {expected} channels and is given {channels}"));
                }
                let (height, width) =
                    conv.output_size(height, width).ok_or_else(|| too_small(height, width))?;
                Ok(Shape::Map { height, width, channels: conv.out_channels as usize })
            }
            (Op::MaxPool(pool) | Op::AveragePool { pool, .. }, &[Shape::Map { height, width, channels }]) => {
                let (height, width) =
                    pool.output_size(height, width).ok_or_else(|| too_small(height, width))?;
                Ok(Shape::Map { height, width, channels })
            }
            (Op::GlobalAveragePool, &[Shape::Map { channels, .. }]) => {
                Ok(Shape::Map { height: 1, width: 1, channels })
            }
            (Op::Flatten, &[input @ Shape::Map { .. }]) => Ok(Shape::Flat { features: input.len() }),
            (Op::Gemm(gemm), &[Shape::Flat { features }]) => {
                let expected = gemm.in_features as usize;
                if features != expected {
                    return Err(format!("it reads {expected} features and is given {features}"));
                }
                Ok(Shape::Flat { features: gemm.out_features as usize })
            }
            (Op::Softmax, &[input @ Shape::Flat { .. }]) => Ok(input),
            (Op::Lrn { .. }, &[input @ Shape::Map { .. }]) => Ok(input),
            (
                Op::Relu
                | Op::LeakyRelu { .. }
                | Op::Clip { .. }
                | Op::Sigmoid
                | Op::HardSigmoid { .. }
                | Op::HardSwish,
                &[input],
            ) => Ok(input),
            (Op::Affine(affine), &[input]) if input.channels() == affine.channels as usize => Ok(input),
            (Op::Concat, [first, rest @ ..]) => concat(*first, rest),
            (Op::Add | Op::Mul, &[a, b]) => broadcast(a, b),
            (Op::Upsample, &[Shape::Map { channels, .. }, Shape::Map { height, width, .. }]) => {
                Ok(Shape::Map { height, width, channels })
            }
            (op, _) => Err(format!(
                "{} cannot read [{}]",
                op.name(),
                inputs.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

fn too_small(height: usize, width: usize) -> String {
    format!("a {height} x {width} map is smaller than its window")
}

fn concat(first: Shape, rest: &[Shape]) -> Result<Shape, String> {
    rest.iter().try_fold(first, |joined, next| match (joined, *next) {
        (Shape::Map { height, width, channels }, Shape::Map { height: h, width: w, channels: more })
            if (h, w) == (height, width) =>
        {
            Ok(Shape::Map { height, width, channels: joined_channels(channels, more)? })
        }
        (Shape::Flat { features }, Shape::Flat { features: more }) => {
            Ok(Shape::Flat { features: joined_channels(features, more)? })
        }
        _ => Err(format!("it cannot join {joined} and {next}")),
    })
}

fn joined_channels(some: usize, more: usize) -> Result<usize, String> {
    let joined = some.saturating_add(more);
    if joined <= MAX_CHANNELS { Ok(joined) } else { Err(format!("{joined} channels are too many")) }
}

fn broadcast(a: Shape, b: Shape) -> Result<Shape, String> {
    let is_pixel = |s: Shape| matches!(s, Shape::Map { height: 1, width: 1, .. });
    match (a, b) {
        _ if a == b => Ok(a),
        (Shape::Map { channels, .. }, Shape::Map { channels: c, .. }) if channels == c && is_pixel(b) => {
            Ok(a)
        }
        (Shape::Map { channels, .. }, Shape::Map { channels: c, .. }) if channels == c && is_pixel(a) => {
            Ok(b)
        }
        _ => Err(format!("it cannot combine {a} and {b}")),
    }
}

impl Conv {
    /// Rows and columns made from a map of this size; `None` when the kernel does not fit.
    pub fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        window(self.kernel, self.stride, self.dilation, self.pads, false).output_size(height, width)
    }
}

impl Pool {
    /// Rows and columns made from a map of this size; `None` when the window does not fit.
    pub fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        window(self.kernel, self.stride, [1, 1], self.pads, self.ceil_mode).output_size(height, width)
    }
}

fn window(kernel: [u32; 2], stride: [u32; 2], dilation: [u32; 2], pads: [u32; 4], ceil_mode: bool) -> Window {
    let [kernel, stride, dilation] = [kernel, stride, dilation].map(|pair| pair.map(|v| v as usize));
    Window { kernel, stride, dilation, pads: pads.map(|pad| pad as usize), ceil_mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsampled_map_has_the_size_of_the_other() {
        let upsample =
            |inputs: &[Shape]| Layer { name: "u".into(), op: Op::Upsample, inputs: vec![] }.infer(inputs);
        let coarse = Shape::Map { height: 3, width: 4, channels: 8 };
        let fine = Shape::Map { height: 5, width: 9, channels: 2 };
        assert_eq!(upsample(&[coarse, fine]), Ok(Shape::Map { height: 5, width: 9, channels: 8 }));
        for inputs in [&[coarse][..], &[coarse, fine, fine], &[Shape::Flat { features: 8 }, fine]] {
            assert!(upsample(inputs).unwrap_err().contains("Upsample cannot read"), "{inputs:?}");
        }
    }

    #[test]
    fn a_pixel_is_spread_over_a_map() {
        let map = Shape::Map { height: 4, width: 5, channels: 8 };
        let pixel = Shape::Map { height: 1, width: 1, channels: 8 };
        assert_eq!(broadcast(map, pixel), Ok(map));
        assert_eq!(broadcast(pixel, map), Ok(map));
        assert!(broadcast(map, Shape::Map { height: 4, width: 5, channels: 1 }).is_err());
        assert!(broadcast(map, Shape::Flat { features: 8 }).is_err());
    }
}
