//! Weights that are not finite are refused wherever they come from, by layer and count.

use crate::common::people::*;
use crate::common::{heads, trunks};
use frcnn_compiler::{Options, Precision};
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TensorProto};

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn set(tensor: &mut TensorProto, place: usize, value: f32) {
    let mut all = values(tensor);
    all[place] = value;
    *tensor = f32s(&tensor.name, &tensor.dims, &all);
}

fn assert_told(what: &str, model: &ModelProto, words: &[&str]) {
    let error = refusal(model);
    for word in words.iter().chain(&["not finite", "did the training diverge?"]) {
        assert!(error.contains(word), "{what}: `{word}` is not in: {error}");
    }
    assert!(!error.contains("mistake in the compiler"), "{what}: {error}");
}

/// The name of the node that reads a value.
fn reader(model: &ModelProto, value: &str) -> String {
    let nodes = &model.graph.as_ref().unwrap().node;
    let node = nodes.iter().find(|node| node.input.iter().any(|input| input == value)).unwrap();
    node.name.clone()
}

/// In every tensor of models of every kind, first, last and in the middle.
#[test]
fn every_weight_counts() {
    let sources = [
        trunks::resnet_like(),
        trunks::preactivation(),
        heads::sppnet_boxes_from_pooled(),
        heads::matmul_initializer(),
    ];
    for source in sources {
        let source = full(&source);
        for position in 0..source.graph.as_ref().unwrap().initializer.len() {
            let tensor = &source.graph.as_ref().unwrap().initializer[position];
            if tensor.data_type != DataType::Float as i32 {
                continue;
            }
            let len = values(tensor).len();
            for (number, place) in [0, len / 2, len - 1].into_iter().enumerate() {
                let mut model = source.clone();
                let tensor = &mut graph(&mut model).initializer[position];
                let name = tensor.name.clone();
                set(tensor, place, BAD[(number + position) % 3]);
                let layer = format!("layer `{}`", reader(&model, &name));
                let count = format!("1 of {len} values of `{name}`");
                assert_told(&name, &model, &[&layer, &count]);
            }
        }
    }
}

#[test]
fn all_layers_are_counted() {
    let mut model = full(&heads::gemm_trans_b());
    for tensor in &mut graph(&mut model).initializer {
        match &*tensor.name {
            "fc6.weight" => (0..5).for_each(|place| set(tensor, 7 * place, f32::NAN)),
            "bbox_pred.bias" => set(tensor, 3, f32::INFINITY),
            _ => {}
        }
    }
    let words = ["`fc6`: 5 of ", "`fc6.weight`", "`bbox_pred`: 1 of 16 values of `bbox_pred.bias`"];
    assert_told("two layers", &model, &words);
}

#[test]
fn however_the_weights_are_written() {
    for width in [DataType::Float16, DataType::Bfloat16, DataType::Double, DataType::Float] {
        for form in [Form::Raw, Form::Numbers] {
            let mut model = full(&heads::gemm_trans_b());
            let tensor = graph(&mut model).initializer.iter_mut().find(|t| t.name == "fc7.bias").unwrap();
            set(tensor, 2, f32::NAN);
            narrow(tensor, width, form);
            assert_told("typed", &model, &["`fc7`", "1 of 24"]);
        }
    }
    // Finite in f64, and not in f32.
    let mut model = full(&heads::gemm_trans_b());
    let tensor = graph(&mut model).initializer.iter_mut().find(|t| t.name == "fc7.bias").unwrap();
    narrow(tensor, DataType::Double, Form::Numbers);
    tensor.double_data[5] = -1e300;
    assert_told("too large", &model, &["`fc7`", "1 of 24"]);

    // In a Constant node, behind an Identity, and made by a constant expression.
    for source in [
        heads::matmul_constant_node(),
        heads::matmul_identity_weight(),
        heads::matmul_transposed_initializer(),
    ] {
        let mut model = full(&source);
        let tensor = tensors(&mut model).find(|tensor| tensor.dims.len() == 2).unwrap();
        set(tensor, 9, f32::NAN);
        assert_told("constant", &model, &["`fc6", "1 of "]);
    }
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    g.initializer.push(f32s("zero", &[1], &[0.0]));
    g.node.insert(0, node("Div", "fc7.divided", &["fc7.bias", "zero"], vec![]));
    g.node.iter_mut().find(|node| node.name == "fc7").unwrap().input[2] = "fc7.divided".to_string();
    assert_told("divided", &model, &["`fc7`", "24 of 24 values of `fc7.divided`"]);
}

#[test]
fn bounds_may_be_infinite_but_not_nan() {
    for (low, high, fits) in [
        (f32::NEG_INFINITY, f32::INFINITY, true),
        (0.0, f32::INFINITY, true),
        (f32::NAN, 6.0, false),
        (0.0, f32::NAN, false),
        (6.0, 0.0, false),
    ] {
        let mut model = full(&trunks::mobilenetv2_like());
        for (name, value) in [("zero", low), ("six", high)] {
            set(graph(&mut model).initializer.iter_mut().find(|t| t.name == name).unwrap(), 0, value);
        }
        let result = try_compile(&model).map(drop).map_err(|error| error.to_string());
        match result {
            Ok(()) => assert!(fits, "{low} {high}"),
            Err(error) => assert!(!fits && error.contains("its bounds are"), "{low} {high}: {error}"),
        }
    }
}

#[test]
fn folding_and_rounding_are_told() {
    let with = |source: &ModelProto, name: &str, change: &dyn Fn(&mut TensorProto)| {
        let mut model = source.clone();
        change(graph(&mut model).initializer.iter_mut().find(|t| t.name == name).unwrap());
        model
    };
    let resnet = full(&trunks::resnet_like());
    let negative = with(&resnet, "conv1_bn.running_var", &|tensor| set(tensor, 4, -3.0));
    let error = refusal(&negative);
    assert!(
        error.contains("`conv1_bn`") && error.contains("1 of 12 running variances are negative"),
        "{error}"
    );
    let large = with(&resnet, "conv1_bn.weight", &|tensor| set(tensor, 4, f32::MAX));
    let large = with(&large, "conv1_bn.running_mean", &|tensor| set(tensor, 4, f32::MAX));
    let error = refusal(&large);
    assert!(
        error.contains("layer `conv1`") && error.contains("folded") && error.contains("not finite"),
        "{error}"
    );

    // Finite weights whose products are not.
    let huge = with(&full(&heads::gemm_trans_b()), "fc6.weight", &|tensor| {
        (0..144).for_each(|i| set(tensor, i, 1e38))
    });
    let error = refusal(&huge);
    for words in ["values overflow f32 in layer `fc6` (Gemm)", "infinity or NaN", "did the training diverge?"]
    {
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }

    // A unit that is never active may have any weights, which f32 holds and bf16 does not.
    let silent = with(&full(&heads::gemm_trans_b()), "fc6.bias", &|tensor| set(tensor, 0, -1e9));
    let silent = with(&silent, "fc7.weight", &|tensor| set(tensor, 0, f32::MAX));
    try_compile(&silent).unwrap();
    let refused = |model: &ModelProto, precision: Precision, words: &[&str]| {
        let options = Options { precision, ..Options::default() };
        let error = try_compile_bytes(&model.encode_to_vec(), &options).unwrap_err().to_string();
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    };
    refused(
        &silent,
        Precision::Bf16,
        &["layer `fc7`: 1 of", "rounded to bf16: compile with --precision f32"],
    );
    // Half a step above f16's largest value, and the value just below it.
    let beyond = |value: f32| with(&silent, "fc7.weight", &|tensor| set(tensor, 0, value));
    let what_to_do = "largest value is 65504: compile with --precision bf16 or f32";
    refused(&beyond(65520.0), Precision::F16, &["layer `fc7`: 1 of", "rounded to f16", "int8", what_to_do]);
    let options = Options { precision: Precision::F16, ..Options::default() };
    try_compile_bytes(&beyond(65519.0).encode_to_vec(), &options).unwrap();
}

/// Of numbers beyond a million f32 keeps no fractions: what softmax makes of them is chance, on both sides.
#[test]
fn values_too_large_for_f32_are_no_mistake_of_the_compiler() {
    let scaled = |source: &ModelProto, names: &[&str], factor: f32| {
        let mut model = source.clone();
        for name in names {
            let tensor = graph(&mut model).initializer.iter_mut().find(|t| t.name == *name).unwrap();
            *tensor =
                f32s(name, &tensor.dims, &values(tensor).iter().map(|v| v * factor).collect::<Vec<_>>());
        }
        model
    };
    let plain = full(&heads::gemm_trans_b());
    let mut told = 0;
    for (names, layer) in
        [(&["conv1.weight"][..], "conv1"), (&["fc6.weight"], "fc6"), (&["fc6.weight", "fc7.weight"], "fc6")]
    {
        for factor in [1e8, 1e16, 1e25, 1e35] {
            // What agrees all the same is compiled.
            let Err(error) = try_compile(&scaled(&plain, names, factor)) else { continue };
            let error = error.to_string();
            assert!(!error.contains("mistake in the compiler"), "{names:?} times {factor}: {error}");
            assert!(
                error.contains(&format!("in layer `{layer}")) && error.contains("did the training diverge?"),
                "{names:?} times {factor}: {error}"
            );
            told += 1;
        }
    }
    assert!(told >= 2, "{told} were refused");
}
