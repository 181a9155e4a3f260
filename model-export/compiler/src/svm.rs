//! The weights that R-CNN's classifier does not have: linear SVMs and box regressors.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::Error;
use crate::error::Problem;
use crate::source::read_file;
use crate::{finite, limits};

/// Rows of weights, `[rows, columns]`, and a bias for each.
pub(crate) struct Linear {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// The contents of the file.
pub(crate) struct Svm {
    /// `[K, D]`: a margin for each object class.
    pub(crate) margins: Linear,
    /// `[4K, D5]`: tx, ty, tw, th for each.
    pub(crate) boxes: Option<Linear>,
    /// The ONNX values that they read, where the file names them.
    pub(crate) features: Option<String>,
    pub(crate) bbox_features: Option<String>,
}

impl Svm {
    pub(crate) fn read(path: &Path) -> Result<Svm, Error> {
        let bytes = read_file(path, limits::WEIGHT_BYTES)?;
        parse(&bytes)
            .map_err(|problem| Error::Model { path: path.to_path_buf(), problem: Problem::Svm(problem) })
    }
}

fn parse(bytes: &[u8]) -> Result<Svm, String> {
    let not_safetensors = |error| format!("not a safetensors file: {error}");
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    const KNOWN: [&str; 4] = ["svm.weight", "svm.bias", "bbox.weight", "bbox.bias"];
    if let Some(other) = file.names().into_iter().find(|name| !KNOWN.contains(name)) {
        return Err(format!("it has a tensor `{other}`; expected are {}", KNOWN.join(", ")));
    }
    let margins = linear(&file, "svm")?.ok_or("it has no `svm.weight`")?;
    let boxes = linear(&file, "bbox")?;
    if let Some(boxes) = &boxes
        && boxes.rows != 4 * margins.rows
    {
        return Err(format!(
            "`bbox.weight` has {} rows, not four for each of the {} SVMs",
            boxes.rows, margins.rows
        ));
    }
    let named = |key: &str| metadata.metadata().as_ref()?.get(key).cloned();
    Ok(Svm { margins, boxes, features: named("features"), bbox_features: named("bbox_features") })
}

/// `NAME.weight` and `NAME.bias`; none where neither is there.
fn linear(file: &SafeTensors, name: &str) -> Result<Option<Linear>, String> {
    let [weight_name, bias_name] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
    let (weight, bias) = match [&weight_name, &bias_name].map(|name| file.tensor(name).ok()) {
        [None, None] => return Ok(None),
        [Some(weight), Some(bias)] => (weight, bias),
        [None, _] => return Err(format!("it has `{bias_name}` but no `{weight_name}`")),
        [_, None] => return Err(format!("it has `{weight_name}` but no `{bias_name}`")),
    };
    let &[rows, columns] = weight.shape() else {
        return Err(format!("`{weight_name}` has shape {:?}, not [outputs, features]", weight.shape()));
    };
    if bias.shape() != [rows] || rows == 0 {
        return Err(format!(
            "`{bias_name}` has shape {:?} beside `{weight_name}` of {:?}",
            bias.shape(),
            weight.shape()
        ));
    }
    let values = |name: &str, tensor: &safetensors::tensor::TensorView| {
        let data = tensor.data();
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            Dtype::F16 => {
                data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
            }
            Dtype::BF16 => {
                data.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
            }
            other => return Err(format!("`{name}` is {other:?}; F32, F64, F16 and BF16 are read")),
        };
        match finite::count(&values) {
            0 => Ok(values),
            count => Err(format!(
                "{count} of the {} values of `{name}` are not finite; did the training diverge?",
                values.len()
            )),
        }
    };
    Ok(Some(Linear {
        rows,
        columns,
        weight: values(&weight_name, &weight)?,
        bias: values(&bias_name, &bias)?,
    }))
}
