//! Nodes that would be taken for something else than they are.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::error::Problem;
use crate::onnx::name;

/// Operators that compute with integers in place of real numbers, of any domain.
const QUANTISED: [&str; 18] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearAdd",
    "QLinearMul",
    "QLinearConcat",
    "QLinearSigmoid",
    "QLinearLeakyRelu",
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "MatMulIntegerToFloat",
];

/// The oldest set in which every operator that is read has today's broadcasting and attributes.
const OLDEST_OPSET: i64 = 7;
/// The newest one that there was when this was written; what a later one changes is not known.
const NEWEST_OPSET: i64 = 28;

pub(crate) fn check(model: &ModelProto) -> Result<(), Problem> {
    let Some(graph) = &model.graph else { return Ok(()) };
    check_opset(model)?;
    let functions: HashSet<(&str, &str)> = model
        .functions
        .iter()
        .map(|function| {
            let domain = function.domain.as_deref().unwrap_or_default();
            let domain = if domain == super::STANDARD { "" } else { domain };
            (domain, function.name.as_deref().unwrap_or_default())
        })
        .collect();
    let mut integers: HashSet<&str> = HashSet::new();
    let mut wide: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        if is_quantised(tensor.data_type) {
            integers.insert(&tensor.name);
        } else if matches!(DataType::try_from(tensor.data_type), Ok(DataType::Int32 | DataType::Int64)) {
            wide.insert(&tensor.name);
        }
    }
    for node in &graph.node {
        check_node(node, &functions, &integers)?;
        // Shapes and axes are wide integers, too, but no operand of these is one.
        let computes = matches!(&*node.op_type, "Conv" | "Gemm" | "BatchNormalization");
        if let Some(weight) = node.input.iter().find(|input| computes && wide.contains(input.as_str())) {
            let what = format!("the integer constant `{weight}`");
            return Err(Problem::Quantised { node: name(node).to_string(), what });
        }
    }
    Ok(())
}

/// Refuses a network of integers, a detector that was exported whole among them.
pub(super) fn check_quantised(graph: &GraphProto) -> Result<(), Problem> {
    match graph.node.iter().find(|node| QUANTISED.contains(&&*node.op_type)) {
        Some(node) => Err(Problem::Quantised { node: name(node).to_string(), what: node.op_type.clone() }),
        None => Ok(()),
    }
}

fn check_opset(model: &ModelProto) -> Result<(), Problem> {
    let mut versions: Vec<i64> =
        model.opset_import.iter().filter(|set| set.domain.is_empty()).map(|set| set.version).collect();
    versions.dedup();
    match versions[..] {
        [OLDEST_OPSET..=NEWEST_OPSET] => Ok(()),
        [version] => Err(Problem::NotOnnx(format!(
            "it is written for operator set {version}; sets {OLDEST_OPSET} to {NEWEST_OPSET} are read: export the model for one of \
             those, such as 17 (opset_version=17), or convert it with onnx.version_converter"
        ))),
        [] => Err(Problem::NotOnnx("it does not say which operator set it is written for".to_string())),
        _ => Err(Problem::NotOnnx(format!("it is written for several operator sets, {versions:?}"))),
    }
}

fn check_node(
    node: &NodeProto,
    functions: &HashSet<(&str, &str)>,
    integers: &HashSet<&str>,
) -> Result<(), Problem> {
    let (at, op) = (name(node).to_string(), node.op_type.clone());
    if functions.contains(&(&*node.domain, &*op)) {
        return Err(Problem::Function { node: at, domain: node.domain.clone(), op });
    }
    if !node.domain.is_empty() {
        return Err(Problem::Domain { node: at, domain: node.domain.clone(), op });
    }
    if let Some(weight) = node.input.iter().find(|input| integers.contains(input.as_str())) {
        return Err(Problem::Quantised { node: at, what: format!("the integer constant `{weight}`") });
    }
    for attribute in &node.attribute {
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            return Err(Problem::Operator { node: at, op });
        }
        if attribute.t.as_ref().is_some_and(|tensor| is_quantised(tensor.data_type)) {
            return Err(Problem::Quantised { node: at, what: "an integer constant".to_string() });
        }
    }
    Ok(())
}

/// Types of few bits, that hold weights only where a network is quantised.
fn is_quantised(data_type: i32) -> bool {
    use DataType::{
        Float4e2m1, Float8e4m3fn, Float8e4m3fnuz, Float8e5m2, Float8e5m2fnuz, Int4, Int8, Int16, Uint4,
        Uint8, Uint16,
    };
    matches!(
        DataType::try_from(data_type),
        Ok(Uint8
            | Int8
            | Uint16
            | Int16
            | Uint4
            | Int4
            | Float4e2m1
            | Float8e4m3fn
            | Float8e4m3fnuz
            | Float8e5m2
            | Float8e5m2fnuz)
    )
}
