//! Real numbers of every width, and constants of every form, are read as f32.

use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::{WIDTHS, example, same};
use crate::common::graph::{Blob, Conv, Graph};
use crate::common::heads;
use crate::common::people::*;

#[test]
fn real_numbers_of_every_width_are_read_as_f32() {
    for width in WIDTHS {
        let mut plain = example();
        tensors(&mut plain).for_each(|tensor| widen(tensor, width));
        for form in [Form::Raw, Form::Numbers] {
            let mut model = example();
            tensors(&mut model).for_each(|tensor| narrow(tensor, width, form));
            declare(&mut model, width);
            same(&format!("{width:?} {form:?}"), &model, &plain);
            // f32 outside, and casts at the ends.
            declare(&mut model, DataType::Float);
            let to = |made: &str| if made.ends_with("inner") { width } else { DataType::Float };
            wrap_ends(&mut model, |given, made| {
                node("Cast", made, &[given], vec![int("to", to(made) as i64)])
            });
            same(&format!("{width:?} {form:?} inside"), &model, &plain);
        }
    }
}

#[test]
fn a_part_of_a_model_may_be_of_another_width() {
    let mut model = full(&heads::gemm_trans_b());
    let mut plain = model.clone();
    let in_head = |name: &str| name.starts_with("fc") || name.starts_with("bbox");
    tensors(&mut model).filter(|t| in_head(&t.name)).for_each(|t| narrow(t, DataType::Float16, Form::Raw));
    tensors(&mut plain).filter(|t| in_head(&t.name)).for_each(|t| widen(t, DataType::Float16));
    let g = graph(&mut model);
    let reads =
        g.node.iter_mut().filter(|node| node.input.first().is_some_and(|input| input == "pool5_flat"));
    reads.for_each(|node| node.input[0] = "half".to_string());
    let at = g.node.iter().position(|node| node.output[0] == "pool5_flat").unwrap();
    // To the type of a weight, as PyTorch's dynamo exporter writes it.
    g.node.insert(at + 1, node("CastLike", "half", &["pool5_flat", "fc6.weight"], vec![]));
    same("CastLike", &model, &plain);

    // An integer constant that a CastLike makes a bound of.
    let mut model = example();
    let g = graph(&mut model);
    for bound in ["zero", "six"] {
        let tensor = g.initializer.iter_mut().find(|tensor| tensor.name == bound).unwrap();
        let value = values(tensor)[0] as i64;
        *tensor = i64s(&format!("{bound}_integer"), &[value]);
        tensor.dims.clear();
    }
    let casts =
        ["zero", "six"].map(|bound| node("CastLike", bound, &[&format!("{bound}_integer"), "data"], vec![]));
    g.node.splice(0..0, casts);
    same("integer bounds", &model, &example());
}

/// A Clip in both halves with the same bounds, and a convolution of one weight before and behind RoI pooling.
pub(crate) fn shared(constant_nodes: bool) -> ModelProto {
    let (mut g, data) = Graph::new("shared");
    for (name, value) in [("low", 0.0), ("high", 6.0)] {
        g.scalar(name, value);
    }
    let clip = |g: &mut Graph, x: &Blob| {
        let name = format!("{}_clip", x.name);
        g.onnx.node("Clip", &name, &[&x.name, "low", "high"], []);
        Blob { name, channels: x.channels }
    };
    let conv = g.conv("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let mut top = clip(&mut g, &conv);
    g.weight("shared.weight", &[16, 16, 1, 1], 0.0, 0.3);
    g.onnx.node("Conv", "conv2", &[&top.name, "shared.weight"], []);
    top = g.roi_pool("pool5", &Blob { name: "conv2".to_owned(), ..top }, 3, 4);
    g.onnx.node("Conv", "conv3", &[&top.name, "shared.weight"], []);
    let flat = g.flatten("pool5_flat", &Blob { name: "conv3".to_owned(), ..top }, 3);
    let fc6 = g.fc("fc6", &flat, 32);
    let top = clip(&mut g, &fc6);
    g.predictors(&top);
    let mut model = full(&g.finish());
    if constant_nodes {
        let g = graph(&mut model);
        let weights = std::mem::take(&mut g.initializer);
        let nodes = weights.into_iter().map(|weight| {
            let name = weight.name.clone();
            node("Constant", &name, &[], vec![tensor_attribute("value", weight)])
        });
        g.node.splice(0..0, nodes.collect::<Vec<_>>());
    }
    model
}
