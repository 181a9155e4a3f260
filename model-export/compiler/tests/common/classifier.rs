//! An R-CNN's two files: a classifier, and the weights of SVMs and regressors.

use std::collections::HashMap;

use frcnn_compiler::onnx_writer::{Dim, attr};
use frcnn_onnx::pb::ModelProto;
use safetensors::tensor::{Dtype, TensorView};

use super::graph::{Blob, CLASSES, Conv, Graph};

/// Pixels a side that the classifier reads.
pub(crate) const SIDE: i64 = 45;

/// A classifier of `SIDE` pixels: a convolution, a pooling that leaves 4 x 4 cells of 10 channels, fc6, fc7 and fc8.
pub(crate) fn classifier(reshaped: bool) -> ModelProto {
    let mut g = Graph::empty("classifier");
    let batch = if reshaped { Dim::Size(1) } else { Dim::Symbol("N") };
    g.onnx.input("data", &[batch, Dim::Size(3), Dim::Size(SIDE), Dim::Size(SIDE)]);
    let data = Blob { name: "data".to_owned(), channels: 3 };
    let conv = g.conv_relu("conv1", &data, Conv { stride: 5, ..Conv::same(10, 7) });
    let pool5 = g.max_pool("pool5", &conv, [3, 2, 0], false);
    let flat = if reshaped {
        g.integers("row", &[1, 160]);
        g.onnx.node("Reshape", "pool5_flat", &["pool5", "row"], []);
        Blob { name: "pool5_flat".to_owned(), channels: 160 }
    } else {
        g.flatten("pool5_flat", &pool5, 4)
    };
    let mut top = flat;
    for (name, out) in [("fc6", 32), ("fc7", 24)] {
        let fc = g.fc(name, &top, out);
        top = g.relu(&fc);
    }
    let top = g.unary("Dropout", "drop7", &top, []);
    let fc8 = g.fc("fc8", &top, 1000);
    g.unary("Softmax", "prob", &fc8, [attr::int("axis", 1)]);
    g.onnx.output("prob", &[batch, Dim::Size(1000)]);
    g.onnx.finish()
}

/// SVMs and regressors of the widths given, with the metadata given.
pub(crate) fn svm(columns: usize, bbox_columns: Option<usize>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut noise = 1u32;
    let mut values = |len: usize| -> Vec<u8> {
        let value = |_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((noise >> 8) as f32 / (1u32 << 24) as f32 - 0.5).to_le_bytes()
        };
        (0..len).flat_map(value).collect()
    };
    let classes = CLASSES as usize;
    let mut tensors = vec![("svm.weight", vec![classes, columns]), ("svm.bias", vec![classes])];
    if let Some(columns) = bbox_columns {
        tensors.extend([("bbox.weight", vec![4 * classes, columns]), ("bbox.bias", vec![4 * classes])]);
    }
    let tensors: Vec<_> =
        tensors.into_iter().map(|(name, shape)| (name, values(shape.iter().product()), shape)).collect();
    let views = tensors
        .iter()
        .map(|(name, data, shape)| (*name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    safetensors::serialize(views, Some(metadata)).unwrap()
}
