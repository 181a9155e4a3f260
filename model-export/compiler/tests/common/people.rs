//! Models as people have them, made from the plain ones: other widths of numbers, tensors in other fields or files, nodes in
//! between. They are written by way of tract's copy of ONNX's messages, which has every field.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use frcnn_compiler::{Compiled, Error, Options, compile};
use frcnn_onnx::pb;
use half::{bf16, f16};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};

use super::graph::CLASSES;

/// The same model with every field that ONNX has.
pub(crate) fn full(model: &pb::ModelProto) -> ModelProto {
    ModelProto::decode(model.encode_to_vec().as_slice()).unwrap()
}

pub(crate) fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

pub(crate) fn manifest() -> frcnn_bundle::Manifest {
    let names = (1..=CLASSES).map(|i| format!("class{i}"));
    let classes = std::iter::once("__background__".to_string()).chain(names).collect();
    let mut manifest = frcnn_bundle::Manifest::new(classes);
    manifest.scales = vec![240];
    manifest
}

/// Compiles the model, in a folder of its own.
pub(crate) fn try_compile(model: &ModelProto) -> Result<Compiled, Error> {
    try_compile_bytes(&model.encode_to_vec(), &Options::default())
}

pub(crate) fn try_compile_bytes(bytes: &[u8], options: &Options) -> Result<Compiled, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    compile(&path, &manifest(), options, &mut |_| {})
}

/// Why the model is refused: the file is named in any case.
pub(crate) fn refusal(model: &ModelProto) -> String {
    let error = try_compile(model).expect_err("it compiles").to_string();
    assert!(error.contains("model.onnx"), "{error}");
    error
}

pub(crate) fn node(op: &str, output: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: format!("{output}_node"),
        input: inputs.iter().map(|input| input.to_string()).collect(),
        output: vec![output.to_string()],
        attribute,
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_string(), i, r#type: AttributeType::Int as i32, ..Default::default() }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (ints, r#type) = (values.to_vec(), AttributeType::Ints as i32);
    AttributeProto { name: name.to_string(), ints, r#type, ..Default::default() }
}

pub(crate) fn tensor_attribute(name: &str, tensor: TensorProto) -> AttributeProto {
    let (t, r#type) = (Some(tensor), AttributeType::Tensor as i32);
    AttributeProto { name: name.to_string(), t, r#type, ..Default::default() }
}

pub(crate) fn tensor(name: &str, data_type: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    let (name, data_type, dims) = (name.to_string(), data_type as i32, dims.to_vec());
    TensorProto { name, data_type, dims, raw_data, ..Default::default() }
}

pub(crate) fn i64s(name: &str, values: &[i64]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, DataType::Int64, &[values.len() as i64], bytes)
}

pub(crate) fn f32s(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, DataType::Float, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// The values of an f32 tensor that is given as bytes.
pub(crate) fn values(tensor: &TensorProto) -> Vec<f32> {
    assert_eq!(tensor.data_type, DataType::Float as i32, "{}", tensor.name);
    tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// How a tensor's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// As bytes.
    Raw,
    /// In the field for numbers of its type.
    Numbers,
}

/// Rounds an f32 tensor to another width.
pub(crate) fn narrow(tensor: &mut TensorProto, width: DataType, form: Form) {
    if tensor.data_type != DataType::Float as i32 {
        return;
    }
    let values = values(tensor);
    tensor.raw_data.clear();
    tensor.data_type = width as i32;
    let bits = |bits: Vec<u16>, tensor: &mut TensorProto| match form {
        Form::Raw => tensor.raw_data = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
        Form::Numbers => tensor.int32_data = bits.iter().map(|&bits| bits.into()).collect(),
    };
    match width {
        DataType::Float16 => bits(values.iter().map(|&v| f16::from_f32(v).to_bits()).collect(), tensor),
        DataType::Bfloat16 => bits(values.iter().map(|&v| bf16::from_f32(v).to_bits()).collect(), tensor),
        DataType::Double => {
            // A value between two f32, which rounds to the lower one.
            let wide = values.iter().map(|&v| f64::from(v) * (1.0 + 1e-9));
            match form {
                Form::Raw => tensor.raw_data = wide.flat_map(f64::to_le_bytes).collect(),
                Form::Numbers => tensor.double_data = wide.collect(),
            }
        }
        DataType::Float => match form {
            Form::Raw => *tensor = f32s(&tensor.name, &tensor.dims, &values),
            Form::Numbers => tensor.float_data = values,
        },
        other => panic!("{other:?} is no real number"),
    }
}

/// An f32 tensor with the values that the narrow one has.
pub(crate) fn widen(tensor: &mut TensorProto, width: DataType) {
    if tensor.data_type != DataType::Float as i32 {
        return;
    }
    let round = |v: f32| match width {
        DataType::Float16 => f16::from_f32(v).to_f32(),
        DataType::Bfloat16 => bf16::from_f32(v).to_f32(),
        _ => v,
    };
    let rounded: Vec<f32> = values(tensor).into_iter().map(round).collect();
    *tensor = f32s(&tensor.name, &tensor.dims, &rounded);
}

/// Every tensor of a model, those of `Constant` nodes, too.
pub(crate) fn tensors(model: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    let graph = graph(model);
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    graph.initializer.iter_mut().chain(constants.filter_map(|attribute| attribute.t.as_mut()))
}

/// What the inputs and outputs are declared as.
pub(crate) fn declare(model: &mut ModelProto, width: DataType) {
    let graph = graph(model);
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        element_type(info, width);
    }
}

pub(crate) fn element_type(info: &mut ValueInfoProto, width: DataType) {
    let Value::TensorType(tensor) = info.r#type.as_mut().unwrap().value.as_mut().unwrap();
    tensor.elem_type = width as i32;
}

/// Puts nodes between the inputs and outputs and what reads and makes them: `make(given, made)` gives one from `given`.
pub(crate) fn wrap_ends(model: &mut ModelProto, make: impl Fn(&str, &str) -> NodeProto) {
    let graph = graph(model);
    for node in &mut graph.node {
        for input in node.input.iter_mut().filter(|input| ["data", "rois"].contains(&&***input)) {
            *input = format!("{input}_inner");
        }
        for output in node.output.iter_mut().filter(|output| ["cls_prob", "bbox_pred"].contains(&&***output))
        {
            *output = format!("{output}_inner");
        }
    }
    let inputs = ["data", "rois"].map(|name| make(name, &format!("{name}_inner")));
    graph.node.splice(0..0, inputs);
    graph.node.extend(["cls_prob", "bbox_pred"].map(|name| make(&format!("{name}_inner"), name)));
}

/// Moves a tensor's bytes to the end of `file`, as exporters keep large weights.
pub(crate) fn move_out(tensor: &mut TensorProto, location: &str, file: &mut Vec<u8>) {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_string(), value };
    tensor.external_data = vec![
        entry("location", location.to_string()),
        entry("offset", file.len().to_string()),
        entry("length", tensor.raw_data.len().to_string()),
    ];
    tensor.data_location = Some(1);
    file.append(&mut tensor.raw_data);
}
