//! How a head ends in a row of features: a map of one pixel that is squeezed, flattened or reshaped, and means over axes.

use frcnn_compiler::onnx_writer::attr;
use tract_onnx::pb::ModelProto;

use super::same;
use crate::common::graph::{Blob, Conv, Graph};
use crate::common::people::*;

/// How a map of one pixel becomes a row, or a row a row, by nodes that `make` from its argument `x` to `flat`.
fn ending(name: &str, make: impl Fn(&mut Graph)) -> (String, ModelProto) {
    let (mut g, data) = Graph::new(name);
    let conv = g.conv_relu("conv1", &data, Conv { stride: 4, ..Conv::same(16, 5) });
    let pool5 = g.roi_pool("pool5", &conv, 3, 4);
    let top = g.conv_relu("conv2", &pool5, Conv::same(20, 3));
    g.unary("GlobalAveragePool", "x", &top, []);
    for (axis, value) in [("a1", 1), ("a2", 2), ("a3", 3), ("last", -1), ("before_last", -2)] {
        g.integers(axis, &[value]);
    }
    g.integers("both", &[2, 3]);
    g.integers("both_reversed", &[-1, 2]);
    g.integers("from_end", &[-1, -2]);
    make(&mut g);
    g.predictors(&Blob { name: "flat".to_owned(), channels: 20 });
    (name.to_string(), full(&g.finish()))
}

pub(crate) fn endings() -> Vec<(String, ModelProto)> {
    let mut all = Vec::new();
    let mut chain = |name: &str, steps: &[(&'static str, &'static str)]| {
        all.push(ending(name, |g| {
            let mut x = "x".to_string();
            for (position, (op, argument)) in steps.iter().enumerate() {
                let made =
                    if position + 1 == steps.len() { "flat".to_string() } else { format!("s{position}") };
                let attributes = matches!(*op, "Flatten").then(|| attr::int("axis", 1));
                let inputs: Vec<&str> =
                    [x.as_str()].into_iter().chain((!argument.is_empty()).then_some(*argument)).collect();
                g.onnx.node(op, &made, &inputs, attributes);
                x = made;
            }
        }));
    };
    chain("rows then columns", &[("Squeeze", "a2"), ("Squeeze", "a2")]);
    chain("columns then rows", &[("Squeeze", "a3"), ("Squeeze", "a2")]);
    chain("from the end", &[("Squeeze", "last"), ("Squeeze", "last")]);
    chain("before the last", &[("Squeeze", "before_last"), ("Squeeze", "last")]);
    chain("both at once", &[("Squeeze", "both")]);
    chain("both in another order", &[("Squeeze", "both_reversed")]);
    chain("all from the end, the last first", &[("Squeeze", "from_end")]);
    chain("all of 1", &[("Squeeze", "")]);
    chain("with a layer between", &[("Squeeze", "last"), ("Relu", ""), ("Squeeze", "last")]);
    chain("then flattened", &[("Squeeze", "a3"), ("Flatten", "")]);
    chain("and back", &[("Squeeze", "last"), ("Unsqueeze", "last"), ("Flatten", "")]);
    chain("and back in the middle", &[("Squeeze", "a3"), ("Unsqueeze", "a2"), ("Squeeze", "both")]);
    chain("a row and back", &[("Flatten", ""), ("Unsqueeze", "a2"), ("Squeeze", "last")]);
    chain(
        "a row, a layer and back",
        &[("Flatten", ""), ("Unsqueeze", "last"), ("Relu", ""), ("Squeeze", "a2")],
    );
    for (name, shape) in [
        ("to a line", vec![0, 20, 1]),
        ("to a free line", vec![-1, 20, 1]),
        ("to a pixel", vec![0, -1, 1, 1]),
    ] {
        all.push(ending(name, |g| {
            g.integers("shape", &shape);
            g.onnx.node("Reshape", "s0", &["x", "shape"], []);
            g.onnx.node("Squeeze", "flat", &["s0", if shape.len() == 3 { "a2" } else { "both" }], []);
        }));
    }
    // Means over one axis at a time, of which either is kept or not.
    for (first, second) in [(3, 2), (2, 3), (-1, -2), (-2, -1)] {
        for (first_kept, second_kept) in [(1, 1), (0, 0), (1, 0), (0, 1)] {
            let mean = |axis, kept| [attr::ints("axes", &[axis]), attr::int("keepdims", kept)];
            // Behind rows that are gone, columns are axis 2; before columns that are gone, rows are axis -1.
            let second = match (first_kept, first, second) {
                (0, 2, 3) => 2,
                (0, -1, -2) => -1,
                (_, _, second) => second,
            };
            all.push(ending(
                &format!("means over {first} ({first_kept}) and {second} ({second_kept})"),
                |g| {
                    g.onnx.node("ReduceMean", "s0", &["conv2_relu"], mean(first, first_kept));
                    g.onnx.node("ReduceMean", "s1", &["s0"], mean(second, second_kept));
                    g.onnx.node("Flatten", "flat", &["s1"], [attr::int("axis", 1)]);
                },
            ));
        }
    }
    all
}

/// Since operator set 18 the axes of a mean are an input: an initializer, or a constant of any form.
#[test]
fn axes_of_means_are_read_wherever_they_stand() {
    for (name, model) in endings().into_iter().filter(|(name, _)| name.starts_with("means")) {
        for form in 0..3 {
            let mut new = model.clone();
            new.opset_import[0].version = 18;
            let g = graph(&mut new);
            let mut constants = Vec::new();
            for (position, mean) in g.node.iter_mut().filter(|node| node.op_type == "ReduceMean").enumerate()
            {
                let place = mean.attribute.iter().position(|attribute| attribute.name == "axes").unwrap();
                let axes = mean.attribute.remove(place).ints;
                let name = format!("axes{position}");
                mean.input.push(name.clone());
                let attribute = match form {
                    0 => {
                        g.initializer.push(i64s(&name, &axes));
                        continue;
                    }
                    1 => tensor_attribute("value", i64s("", &axes)),
                    _ => ints("value_ints", &axes),
                };
                constants.push(node("Constant", &name, &[], vec![attribute]));
            }
            g.node.splice(0..0, constants);
            same(&name, &new, &model);
        }
    }
}

#[test]
fn means_over_other_axes_are_refused() {
    let axes = |axis| [attr::ints("axes", &[axis])];
    for (first, second) in [(1, 2), (3, 3), (0, 3), (3, 1), (2, 5)] {
        let (_, model) = ending("wrong", |g| {
            g.onnx.node("ReduceMean", "s0", &["conv2_relu"], axes(first));
            g.onnx.node("ReduceMean", "s1", &["s0"], axes(second));
            g.onnx.node("Flatten", "flat", &["s1"], [attr::int("axis", 1)]);
        });
        let error = refusal(&model);
        assert!(error.contains("(ReduceMean)"), "{first} {second}: {error}");
    }
}

#[test]
fn maps_of_one_pixel_become_rows_in_every_way() {
    for (name, model) in endings() {
        try_compile(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Before operator set 13, axes were attributes.
        let mut old = model.clone();
        old.opset_import[0].version = 11;
        let g = graph(&mut old);
        for node in g.node.iter_mut().filter(|n| ["Squeeze", "Unsqueeze"].contains(&&*n.op_type)) {
            if let Some(axes) = node.input.get(1).cloned() {
                let axes = g.initializer.iter().find(|tensor| tensor.name == axes).unwrap();
                let axes: Vec<i64> =
                    axes.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
                node.attribute = vec![ints("axes", &axes)];
                node.input.truncate(1);
            }
        }
        same(&name, &old, &model);
    }
}

#[test]
fn axes_that_are_none_or_too_long_are_refused() {
    for (axes, words) in [
        (&[4i64][..], "axes [4]"),
        (&[-5], "axes [-5]"),
        (&[2, 2], "axes [2, 2]"),
        (&[1], "1 x 1"),
        (&[0], "1 x 1"),
    ] {
        let (_, mut model) = ending("wrong", |g| g.onnx.node("Squeeze", "flat", &["x", "both"], []));
        let tensor = graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == "both").unwrap();
        *tensor = i64s("both", axes);
        let error = refusal(&model);
        assert!(error.contains("`flat` (Squeeze)") && error.contains(words), "{axes:?}: {error}");
    }
}
