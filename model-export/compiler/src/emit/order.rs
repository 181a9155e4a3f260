//! Weights from channels last to channels first.

use std::rc::Rc;

use frcnn_bundle::{Layer, Op, Shape};

use super::EmitError;

pub(super) const PROBLEM: &str =
    "it reads a flattened map, whose values lie in another order in ONNX, and is no fully connected layer";

/// How the ONNX model orders a value's features, next to the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A map, where only the axes are in another order, or a row of features that are no map's.
    AsOnDevice,
    /// A row that was flattened from these maps (rows, columns, channels), one after the other: channels first in ONNX,
    /// last in the bundle.
    ChannelsFirst(Rc<[[usize; 3]]>),
}

impl Order {
    /// The order of what `layer` makes; `shape` is that of its first input.
    pub(super) fn after(layer: &Layer, read: &[Order], shape: Option<&Shape>) -> Result<Order, EmitError> {
        let first = read.first().cloned().unwrap_or(Order::AsOnDevice);
        let as_on_device = read.iter().all(|order| *order == Order::AsOnDevice);
        match (&layer.op, shape) {
            // With one pixel, or one channel, both orders are the same.
            (Op::Flatten, Some(&Shape::Map { height, width, channels }))
                if height * width > 1 && channels > 1 =>
            {
                Ok(Order::ChannelsFirst(Rc::new([[height, width, channels]])))
            }
            (Op::Flatten | Op::Gemm(_), _) => Ok(Order::AsOnDevice),
            (Op::Concat | Op::Softmax, _) if !as_on_device => {
                Err(EmitError { layer: layer.name.clone(), problem: PROBLEM.to_string() })
            }
            _ if read.iter().any(|order| *order != first) => {
                Err(EmitError { layer: layer.name.clone(), problem: PROBLEM.to_string() })
            }
            _ => Ok(first),
        }
    }

    /// One value per feature, reordered.
    pub(super) fn to_onnx(&self, values: &[f32]) -> Vec<f32> {
        (0..values.len()).map(|feature| values[self.place(feature)]).collect()
    }

    /// Where the bundle has ONNX's feature number `feature`.
    fn place(&self, feature: usize) -> usize {
        match self {
            Order::AsOnDevice => feature,
            Order::ChannelsFirst(maps) => {
                let mut first = 0;
                for [height, width, channels] in &**maps {
                    let (pixels, features) = (height * width, height * width * channels);
                    if feature < first + features {
                        let (channel, pixel) = ((feature - first) / pixels, (feature - first) % pixels);
                        return first + pixel * channels + channel;
                    }
                    first += features;
                }
                feature
            }
        }
    }
}

/// `[taps, Ci/g, Co]` to `[Co, Ci/g, taps]`.
pub(super) fn conv_weight<T: Copy>(data: &[T], taps: usize, ci: usize, co: usize) -> Vec<T> {
    let filter =
        |o: usize| (0..ci).flat_map(move |c| (0..taps).map(move |tap| data[(tap * ci + c) * co + o]));
    (0..co).flat_map(filter).collect()
}

/// `[in, out]` to `[out, in]`, the inputs in ONNX's order.
pub(super) fn gemm_weight<T: Copy + Default>(
    data: &[T],
    rows: usize,
    columns: usize,
    order: &Order,
) -> Vec<T> {
    // Columns in blocks, so that the lines of `data` being read stay in the cache.
    const BLOCK: usize = 64;
    let mut out = vec![T::default(); data.len()];
    for (block, rows_out) in out.chunks_mut((BLOCK * rows).max(1)).enumerate() {
        for row in 0..rows {
            let values = data[order.place(row) * columns..].iter().skip(block * BLOCK);
            for (out, value) in rows_out.chunks_exact_mut(rows).zip(values) {
                out[row] = *value;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_goes_to_its_place() {
        // Each value tells its own place in the bundle.
        let (taps, ci, co) = (6, 2, 3);
        let conv: Vec<f32> = (0..taps * ci * co).map(|v| v as f32).collect();
        let onnx = conv_weight(&conv, taps, ci, co);
        assert_eq!(onnx[(2 * ci + 1) * taps + 4], ((4 * ci + 1) * co + 2) as f32);

        // More columns than one block; a map of 2 x 3 with 5 channels.
        let (rows, columns) = (30, 130);
        let gemm: Vec<f32> = (0..rows * columns).map(|v| v as f32).collect();
        let order = Order::ChannelsFirst(Rc::new([[2, 3, 5]]));
        let onnx = gemm_weight(&gemm, rows, columns, &order);
        let (y, x, c) = (1, 2, 3);
        for column in [0, 63, 64, 129] {
            let (from, to) = (((y * 3 + x) * 5 + c) * columns + column, column * rows + (c * 2 + y) * 3 + x);
            assert_eq!(onnx[to], from as f32, "column {column}");
        }
        // A pixel of 5 channels, then 2 x 3 of them.
        let order = Order::ChannelsFirst(Rc::new([[1, 1, 5], [2, 3, 5]]));
        let (rows, columns) = (35, 1);
        let gemm: Vec<f32> = (0..rows).map(|v| v as f32).collect();
        let onnx = gemm_weight(&gemm, rows, columns, &order);
        assert_eq!(onnx[..5], gemm[..5]);
        assert_eq!(onnx[5 + (c * 2 + y) * 3 + x], (5 + (y * 3 + x) * 5 + c) as f32);
    }

    #[test]
    fn what_joins_a_flattened_map_is_refused() {
        let layer = |op| Layer { name: "join".to_string(), op, inputs: vec![1, 2] };
        let map = Order::ChannelsFirst(Rc::new([[2, 2, 3]]));
        let after = |op, read: &[Order]| Order::after(&layer(op), read, Some(&Shape::Flat { features: 12 }));
        assert_eq!(after(Op::Add, &[map.clone(), map.clone()]), Ok(map.clone()));
        assert_eq!(after(Op::Relu, std::slice::from_ref(&map)), Ok(map.clone()));
        for (op, read) in [(Op::Concat, [map.clone(), map.clone()]), (Op::Mul, [map, Order::AsOnDevice])] {
            assert!(after(op, &read).unwrap_err().to_string().contains("`join`"));
        }
    }
}
