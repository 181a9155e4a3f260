//! How much a constant expression makes.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::Tensor;

use super::integers;
use crate::error::Problem;
use crate::onnx::{Attributes, name};

/// Bytes of the widest element, an i64.
const WIDEST: u64 = 8;

/// Bytes that `node` makes of constants, at most.
///
/// # Errors
/// An operator whose results are not known to be bounded, or sizes that make no sense.
pub(super) fn made(node: &NodeProto, inputs: &[(&str, Arc<Tensor>)]) -> Result<u64, Problem> {
    let at = Attributes(node);
    let values = values(at, inputs)?;
    values.and_then(|values| values.checked_mul(WIDEST)).ok_or_else(|| {
        at.problem("what it makes of constants has no size, or too large a one: a shape or count that it reads is wrong")
    })
}

/// Elements that it makes; none where the sizes make no sense.
fn values(at: Attributes, inputs: &[(&str, Arc<Tensor>)]) -> Result<Option<u64>, Problem> {
    let tensors = || inputs.iter().map(|(_, tensor)| tensor);
    let shape = |position: usize| inputs.get(position).map(|(_, tensor)| tensor.shape());
    let given = |position: usize| inputs.get(position).and_then(|(_, tensor)| integers(tensor));
    let read: u64 = tensors().map(|tensor| tensor.len() as u64).sum();
    Ok(match &*at.0.op_type {
        "Constant" => {
            let attribute = at.0.attribute.first();
            attribute.map(|a| {
                let tensor = a.t.as_ref().map_or(0, |tensor| tensor.raw_data.len());
                (tensor + a.floats.len() + a.ints.len() + 1) as u64
            })
        }
        // As many as they read, or fewer.
        "Identity" | "Cast" | "Neg" | "Abs" | "Sqrt" | "Exp" | "Log" | "Reciprocal" | "Floor" | "Ceil"
        | "Round" | "Sign" | "Not" | "Relu" | "Sigmoid" | "Tanh" | "Clip" | "Reshape" | "Transpose"
        | "Squeeze" | "Unsqueeze" | "Flatten" | "Slice" | "Split" | "ReduceMean" | "ReduceSum"
        | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL2" | "ArgMax" | "ArgMin" | "Dropout"
        | "Concat" | "ScatterND" | "ScatterElements" | "CumSum" => Some(read),
        "Shape" | "Size" => Some(64),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Max" | "Min" | "Sum" | "Mean" | "And" | "Or"
        | "Xor" | "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Where" => {
            broadcast(tensors().map(|tensor| tensor.shape().iter().map(|&d| d as u64).collect()))
        }
        "Expand" => {
            let target = given(1).and_then(|target| sizes(&target));
            target.zip(shape(0)).and_then(|(target, shape)| {
                broadcast([shape.iter().map(|&d| d as u64).collect(), target].into_iter())
            })
        }
        "ConstantOfShape" => given(0).and_then(|shape| sizes(&shape)).and_then(product),
        "Tile" => {
            let repeats = given(1).and_then(|repeats| sizes(&repeats)).and_then(product);
            repeats
                .zip(inputs.first())
                .and_then(|(times, (_, tensor))| times.checked_mul(tensor.len() as u64))
        }
        "Range" => {
            let bounds: Option<Vec<f64>> = tensors()
                .map(|tensor| super::floats(tensor)?.first().map(|&value| f64::from(value)))
                .collect();
            match bounds.as_deref() {
                Some(&[start, limit, step]) => {
                    let count = ((limit - start) / step).ceil();
                    (count.is_finite() && count < 1e15).then_some(count.max(0.0) as u64)
                }
                _ => None,
            }
        }
        "Gather" => {
            let (data, indices) = (shape(0).unwrap_or_default(), shape(1).unwrap_or_default());
            let axis = at.int("axis", 0)?;
            let axis = usize::try_from(if axis < 0 { axis + data.len() as i64 } else { axis }).ok();
            let axis = axis.filter(|&axis| axis < data.len());
            axis.and_then(|axis| {
                let rest =
                    data.iter().enumerate().filter(|(place, _)| *place != axis).map(|(_, &d)| d as u64);
                product(rest.chain(indices.iter().map(|&d| d as u64)))
            })
        }
        "GatherElements" | "GatherND" => Some(read),
        "Pad" => {
            let pads: Option<Vec<i64>> = at.ints("pads")?.map(<[i64]>::to_vec).or_else(|| given(1));
            let shape = shape(0).unwrap_or_default();
            pads.filter(|pads| pads.len() == 2 * shape.len()).and_then(|pads| {
                let (before, after) = pads.split_at(shape.len());
                let sides = shape.iter().zip(before.iter().zip(after));
                let sides: Option<Vec<u64>> = sides
                    .map(|(&d, (&b, &a))| u64::try_from((d as i64).checked_add(b)?.checked_add(a)?).ok())
                    .collect();
                product(sides?)
            })
        }
        "MatMul" | "Gemm" => {
            let matrices: Vec<u64> = tensors()
                .take(2)
                .map(|tensor| tensor.shape().iter().max().map_or(1, |&d| d as u64))
                .collect();
            let two = tensors().all(|tensor| tensor.rank() <= 2);
            if two { product(matrices) } else { None }
        }
        other => {
            return Err(Problem::Node {
                node: name(at.0).to_string(),
                op: other.to_string(),
                problem: "it reads only constants, and this operator is not evaluated when a model is compiled; export \
                          with constant folding, or simplify the model with onnxsim"
                    .to_string(),
            });
        }
    })
}

fn product(sizes: impl IntoIterator<Item = u64>) -> Option<u64> {
    sizes.into_iter().try_fold(1u64, u64::checked_mul)
}

fn sizes(values: &[i64]) -> Option<Vec<u64>> {
    values.iter().map(|&value| u64::try_from(value).ok()).collect()
}

/// Elements of what several shapes are spread to, each axis from the end.
fn broadcast(shapes: impl Iterator<Item = Vec<u64>>) -> Option<u64> {
    let mut joined: Vec<u64> = Vec::new();
    for shape in shapes {
        joined.resize(joined.len().max(shape.len()), 1);
        for (joined, size) in joined.iter_mut().zip(shape.iter().rev()) {
            *joined = if *size == 0 { 0 } else { (*joined).max(*size) };
        }
    }
    product(joined)
}
