//! What would compute something else is refused by name.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{FunctionProto, ModelProto, OperatorSetIdProto};

use super::example;
use crate::common::heads;
use crate::common::people::*;

fn assert_refused(model: &ModelProto, words: &[&str]) {
    let error = refusal(model);
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn operators_of_others_are_refused() {
    for op in ["Conv", "Relu", "MaxRoiPool", "Softmax"] {
        let mut model = example();
        let node = graph(&mut model)
            .node
            .iter_mut()
            .find(|node| node.op_type == op)
            .unwrap_or_else(|| panic!("{op}"));
        node.domain = "com.example".to_string();
        let name = node.name.clone();
        assert_refused(&model, &["com.example", op, &name]);
    }
}

#[test]
fn functions_of_the_models_own_are_refused() {
    for domain in ["", "ai.onnx", "pkg.example"] {
        let mut model = example();
        let relu =
            FunctionProto { name: Some("Softmax".into()), domain: Some(domain.into()), ..Default::default() };
        model.functions.push(relu);
        for node in graph(&mut model).node.iter_mut().filter(|node| node.op_type == "Softmax") {
            node.domain = domain.to_string();
        }
        assert_refused(&model, &["Softmax", "function", "inline"]);
    }
}

#[test]
fn operator_sets_are_told() {
    let mut model = example();
    model.opset_import[0].version = 6;
    assert_refused(&model, &["operator set 6", "sets 7 to 28", "opset_version=17"]);
    model.opset_import[0].version = 29;
    assert_refused(&model, &["operator set 29", "sets 7 to 28"]);
    model.opset_import.clear();
    assert_refused(&model, &["operator set"]);
    model.opset_import =
        [13, 17].map(|version| OperatorSetIdProto { version, ..Default::default() }).to_vec();
    assert_refused(&model, &["[13, 17]"]);
}

#[test]
fn training_is_told() {
    const WORDS: [&str; 2] = ["training mode", "model.eval()"];
    let batch_norm = |model: &mut ModelProto| {
        graph(model).node.iter().position(|node| node.op_type == "BatchNormalization").unwrap()
    };
    let mut model = example();
    let at = batch_norm(&mut model);
    graph(&mut model).node[at].attribute.push(int("training_mode", 1));
    assert_refused(&model, &WORDS);

    let mut model = example();
    let at = batch_norm(&mut model);
    graph(&mut model).node[at].output.extend(["mean_out".to_string(), "var_out".to_string()]);
    assert_refused(&model, &WORDS);

    let bool_tensor = |name: &str, value| tensor(name, DataType::Bool, &[], vec![u8::from(value)]);
    let dropped = |mode: Option<bool>, as_node: bool| {
        let mut model = full(&heads::dropout_and_identity());
        let g = graph(&mut model);
        g.initializer.retain(|tensor| tensor.name != "ratio");
        g.initializer.push(f32s("ratio", &[], &[0.5]));
        if let Some(mode) = mode {
            if as_node {
                let constant =
                    node("Constant", "mode", &[], vec![tensor_attribute("value", bool_tensor("", mode))]);
                g.node.insert(0, constant);
            } else {
                g.initializer.push(bool_tensor("mode", mode));
            }
        }
        for node in g.node.iter_mut().filter(|node| node.op_type == "Dropout") {
            node.input.truncate(1);
            node.input.push("ratio".to_string());
            node.input.extend(mode.map(|_| "mode".to_string()));
        }
        model
    };
    for as_node in [false, true] {
        assert_refused(&dropped(Some(true), as_node), &[&WORDS[..], &["Dropout"]].concat());
        try_compile(&dropped(Some(false), as_node)).unwrap();
    }
    try_compile(&dropped(None, false)).unwrap();

    // What a dropout is made of where the operator set has none.
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
    g.node[at].output[0] = "fc6_kept".to_string();
    g.node.insert(at + 1, node("RandomUniformLike", "mask", &["fc6_kept"], vec![]));
    g.node.insert(at + 2, node("Mul", "fc6_relu", &["fc6_kept", "mask"], vec![]));
    assert_refused(&model, &[&WORDS[..], &["RandomUniformLike"]].concat());
}

#[test]
fn quantised_models_are_told() {
    const WORDS: [&str; 2] = ["quantised", "export the float model"];
    let scale = || f32s("scale", &[], &[0.1]);
    // Weights as integers, made real by a node, of either domain.
    for domain in ["", "com.microsoft"] {
        let mut model = full(&heads::gemm_trans_b());
        let g = graph(&mut model);
        let weight = g.initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        let len = weight.dims.iter().product::<i64>() as usize;
        *weight = tensor("fc6.quantised", DataType::Int8, &weight.dims.clone(), vec![3; len]);
        g.initializer.push(scale());
        let mut made = node("DequantizeLinear", "fc6.weight", &["fc6.quantised", "scale"], vec![]);
        made.domain = domain.to_string();
        g.node.insert(0, made);
        assert_refused(&model, &[&WORDS[..], &["DequantizeLinear"]].concat());
    }
    // By arithmetic, and as an operand.
    for data_type in [DataType::Int8, DataType::Uint8, DataType::Int4, DataType::Float8e4m3fn] {
        let mut model = full(&heads::gemm_trans_b());
        let g = graph(&mut model);
        let weight = g.initializer.iter_mut().find(|tensor| tensor.name == "fc6.weight").unwrap();
        let len = weight.dims.iter().product::<i64>() as usize;
        *weight = tensor("fc6.quantised", data_type, &weight.dims.clone(), vec![3; len]);
        g.initializer.push(scale());
        g.node.insert(0, node("Cast", "fc6.real", &["fc6.quantised"], vec![int("to", 1)]));
        g.node.insert(1, node("Mul", "fc6.weight", &["fc6.real", "scale"], vec![]));
        assert_refused(&model, &[&WORDS[..], &["fc6.quantised"]].concat());
    }
    // Wide integers, which hold shapes elsewhere, where real numbers belong.
    for (data_type, bytes) in [(DataType::Int32, 4), (DataType::Int64, 8)] {
        for operand in ["fc6.weight", "fc6.bias"] {
            let mut model = full(&heads::gemm_trans_b());
            let weight =
                graph(&mut model).initializer.iter_mut().find(|tensor| tensor.name == operand).unwrap();
            let len = weight.dims.iter().product::<i64>() as usize;
            *weight = tensor(operand, data_type, &weight.dims.clone(), vec![0; bytes * len]);
            assert_refused(&model, &[&WORDS[..], &[operand]].concat());
        }
    }
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    g.node.iter_mut().find(|node| node.name == "fc6").unwrap().op_type = "QLinearMatMul".to_string();
    assert_refused(&model, &[&WORDS[..], &["QLinearMatMul"]].concat());
}

#[test]
fn integers_are_no_real_numbers() {
    for (input, data_type) in [("data", DataType::Int32), ("rois", DataType::Int64)] {
        let mut model = full(&heads::gemm_trans_b());
        wrap_ends(&mut model, |given, made| node("Cast", made, &[given], vec![int("to", 1)]));
        let info = graph(&mut model).input.iter_mut().find(|info| info.name == input).unwrap();
        element_type(info, data_type);
        assert_refused(&model, &[input, data_type.as_str_name(), "float input"]);
    }
    let mut model = full(&heads::gemm_trans_b());
    let g = graph(&mut model);
    let at = g.node.iter().position(|node| node.output[0] == "fc6_relu").unwrap();
    g.node[at].output[0] = "fc6_real".to_string();
    g.node.insert(at + 1, node("Cast", "fc6_whole", &["fc6_real"], vec![int("to", 7)]));
    g.node.insert(at + 2, node("Cast", "fc6_relu", &["fc6_whole"], vec![int("to", 1)]));
    assert_refused(&model, &["fc6_whole", "cast to real numbers"]);
}
