//! Shapes of a graph's values, from the shape of its input.

use crate::graph::{Conv, Graph, Layer, Op, Pool};

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
    /// Number of values.
    pub fn len(&self) -> usize {
        match *self {
            Shape::Map { height, width, channels } => height * width * channels,
            Shape::Flat { features } => features,
        }
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
        (
            Shape::Map { height, width, channels },
            Shape::Map { height: h, width: w, channels: more },
        ) if (h, w) == (height, width) => Ok(Shape::Map { height, width, channels: channels + more }),
        (Shape::Flat { features }, Shape::Flat { features: more }) => {
            Ok(Shape::Flat { features: features + more })
        }
        _ => Err(format!("it cannot join {joined} and {next}")),
    })
}

fn broadcast(a: Shape, b: Shape) -> Result<Shape, String> {
    let is_pixel = |s: Shape| matches!(s, Shape::Map { height: 1, width: 1, .. });
    match (a, b) {
        _ if a == b => Ok(a),
        (Shape::Map { channels, .. }, Shape::Map { channels: c, .. }) if channels == c && is_pixel(b) => Ok(a),
        (Shape::Map { channels, .. }, Shape::Map { channels: c, .. }) if channels == c && is_pixel(a) => Ok(b),
        _ => Err(format!("it cannot combine {a} and {b}")),
    }
}

impl Conv {
    /// Rows and columns made from a map of this size; `None` when the kernel does not fit.
    pub fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let [top, left, bottom, right] = self.pads.map(|p| p as usize);
        let axis = |d: usize, size: usize, before: usize, after: usize| {
            let extent = (self.kernel[d] as usize).checked_sub(1)? * self.dilation[d] as usize + 1;
            Some((size + before + after).checked_sub(extent)? / self.stride[d] as usize + 1)
        };
        Some((axis(0, height, top, bottom)?, axis(1, width, left, right)?))
    }
}

impl Pool {
    /// Rows and columns made from a map of this size; `None` when the window does not fit.
    ///
    /// In ceil mode a partial last window counts only if it starts inside the map or its leading
    /// padding: the rule of Caffe and PyTorch, and of ONNX since opset 19's clarification.
    pub fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let [top, left, bottom, right] = self.pads.map(|p| p as usize);
        let axis = |d: usize, size: usize, before: usize, after: usize| {
            let (kernel, stride) = (self.kernel[d] as usize, self.stride[d] as usize);
            let room = (size + before + after).checked_sub(kernel);
            if !self.ceil_mode {
                return Some(room? / stride + 1);
            }
            // A window larger than the map still makes one (partial) output in ceil mode.
            let windows = room.unwrap_or(0).div_ceil(stride) + 1;
            let starts_inside = (windows - 1) * stride < size + before;
            (size > 0).then_some(if starts_inside { windows } else { windows - 1 })
        };
        Some((axis(0, height, top, bottom)?, axis(1, width, left, right)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(kernel: u32, stride: u32, pad: u32, ceil_mode: bool) -> Pool {
        Pool { kernel: [kernel; 2], stride: [stride; 2], pads: [pad; 4], ceil_mode }
    }

    #[test]
    fn ceil_mode_pooling() {
        // Columns: (kernel, stride, pad), size, floor, ceil; figures by hand and as PyTorch gives them.
        for ((k, s, p), size, floor, ceil) in [
            ((3, 2, 0), 237, 118, 118),
            ((3, 2, 0), 118, 58, 59),
            ((3, 2, 1), 151, 76, 76),
            ((3, 2, 1), 150, 75, 76),
            ((2, 2, 0), 75, 37, 38),
            // Ceil would add a window that starts in the trailing padding: it does not count.
            ((2, 2, 1), 3, 2, 2),
            ((1, 2, 0), 4, 2, 2),
        ] {
            assert_eq!(pool(k, s, p, false).output_size(size, size), Some((floor, floor)), "{k} {s} {p} {size}");
            assert_eq!(pool(k, s, p, true).output_size(size, size), Some((ceil, ceil)), "{k} {s} {p} {size}");
        }
        assert_eq!(pool(3, 2, 0, false).output_size(2, 9), None);
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
