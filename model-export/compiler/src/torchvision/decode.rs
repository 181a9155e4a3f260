//! Box deltas to boxes: the weights of `BoxCoder.decode`, and what its deltas are.

use tract_onnx::pb::NodeProto;

use crate::error::Problem;
use crate::onnx::Attributes;
use crate::view::{RESHAPING, View, input, not_understood, output};

/// `tw` and `th` are at most this, as the runtime has it, too.
const LARGEST: f32 = 4.135_166_6;

/// The coder of boxes among `nodes`.
pub(super) struct Coder<'a> {
    /// The deltas before they were reshaped.
    pub(super) deltas: &'a str,
    /// By which tx, ty, tw and th are divided.
    pub(super) weights: [f32; 4],
}

/// Reads the one coder among `nodes`, of which `end` is what they lead to.
pub(super) fn coder<'a>(
    view: &View<'a>,
    nodes: &[&'a NodeProto],
    end: &'a NodeProto,
) -> Result<Coder<'a>, Problem> {
    let mut weights = [None; 4];
    let mut deltas = None;
    let mut columns = Vec::new();
    for &node in nodes.iter().filter(|node| node.op_type == "Slice") {
        // Every fourth column, from each of the first four.
        let (start, step) = (view.whole(input(node, 1)), view.whole(input(node, 4)));
        let (Some(start), Some(4)) = (start, step) else { continue };
        let Some(weight) = usize::try_from(start).ok().and_then(|start| weights.get_mut(start)) else {
            return Err(not_understood(node, "box deltas have four columns"));
        };
        let [reader] = view.readers(output(node)) else {
            return Err(not_understood(node, "a column of box deltas is read once"));
        };
        let divisor = match &*reader.op_type {
            "Div" => view.number(input(reader, 1)),
            // Optimisers leave out a division by 1: what comes next is times the box's side, or the bound of a logarithm.
            "Mul" | "Clip" => Some(1.0),
            _ => None,
        };
        let divisor =
            divisor.ok_or_else(|| not_understood(reader, "box deltas are divided by their weights"))?;
        columns.push(if reader.op_type == "Div" { output(reader) } else { output(node) });
        if weight.replace(divisor).is_some() || *deltas.get_or_insert(input(node, 0)) != input(node, 0) {
            return Err(not_understood(node, "there are box deltas of two kinds"));
        }
    }
    let ([Some(tx), Some(ty), Some(tw), Some(th)], Some(deltas)) = (weights, deltas) else {
        return Err(not_understood(end, "no box deltas tx, ty, tw, th were found that its boxes come from"));
    };
    for &node in nodes.iter().filter(|node| node.op_type == "Clip" && columns.contains(&input(node, 0))) {
        let bound = view.number(input(node, 2));
        if bound.is_none_or(|bound| (bound - LARGEST).abs() > 1e-5) || !input(node, 1).is_empty() {
            return Err(not_understood(node, "tw and th are bounded by ln(1000 / 16), and by nothing below"));
        }
    }
    Ok(Coder { deltas: view.behind(deltas, &RESHAPING), weights: [tx, ty, tw, th] })
}

/// The convolutions that the inputs of a `Concat` are reshaped from, if all are; each with its node.
pub(super) fn joined_convs<'a>(view: &View<'a>, concat: &'a NodeProto) -> Option<Vec<&'a NodeProto>> {
    let conv = |value: &'a String| {
        let rearranged = view.behind(value, &RESHAPING);
        let conv = view.maker(rearranged).filter(|node| node.op_type == "Conv")?;
        // What was only reshaped is no row for each anchor.
        (rearranged != value).then_some(conv)
    };
    concat.input.iter().map(conv).collect()
}

/// Rows, columns, anchors and what there is of each, in that order.
pub(super) fn check_order<'a>(view: &View<'a>, concat: &'a NodeProto) -> Result<(), Problem> {
    for value in &concat.input {
        let transposed = view.behind(value, &["Identity", "Cast", "Reshape", "Flatten"]);
        let transpose =
            view.made_by(transposed, &["Transpose"], "logits or deltas with a row for each anchor")?;
        if Attributes(transpose).ints("perm")? != Some(&[0, 3, 4, 1, 2]) {
            return Err(not_understood(
                transpose,
                "anchors of a cell lie side by side, and cells row by row",
            ));
        }
    }
    Ok(())
}
