//! What ONNX Runtime writes of a graph that it has optimised (`SessionOptions.optimized_model_filepath`).
//!
//! From its level "extended" on an activation goes into the layer before it, as `FusedConv` or `FusedGemm` of its own domain; these
//! become the two layers that they are. Its other operators, and convolutions in a layout of one kind of CPU, are refused.

use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

use crate::error::Problem;
use crate::onnx::{Attributes, f32_tensor, float, name};

/// ONNX Runtime's own domain, and the beginning of its others.
const DOMAIN: &str = "com.microsoft";
/// The first operator set in which the bounds of a `Clip` are inputs.
const CLIP_OF_INPUTS: i64 = 11;

/// Takes apart what was fused; refuses what else is ONNX Runtime's own.
pub(super) fn split(model: &mut ModelProto) -> Result<(), Problem> {
    let opset = model.opset_import.iter().filter(|set| set.domain.is_empty()).map(|set| set.version).max();
    let Some(graph) = &mut model.graph else { return Ok(()) };
    for node in std::mem::take(&mut graph.node) {
        if !is_own(&node) {
            graph.node.push(node);
            continue;
        }
        let layer = match (&*node.domain, &*node.op_type) {
            (DOMAIN, "FusedConv") => "Conv",
            (DOMAIN, "FusedGemm") => "Gemm",
            _ => return Err(optimised(&node)),
        };
        parts(graph, node, layer, opset.is_some_and(|version| version < CLIP_OF_INPUTS))?;
    }
    Ok(())
}

fn is_own(node: &NodeProto) -> bool {
    node.domain == DOMAIN || node.domain.strip_prefix(DOMAIN).is_some_and(|rest| rest.starts_with('.'))
}

fn optimised(node: &NodeProto) -> Problem {
    Problem::Optimised { node: name(node).to_string(), domain: node.domain.clone(), op: node.op_type.clone() }
}

/// `layer`, the sum with a fourth input that a convolution may have, and the activation.
fn parts(graph: &mut GraphProto, node: NodeProto, layer: &str, old_clip: bool) -> Result<(), Problem> {
    let at = Attributes(&node);
    let ([output], 2..=4) = (&node.output[..], node.input.len()) else { return Err(optimised(&node)) };
    let (kind, numbers) = match layer {
        "Conv" => (at.string("activation")?.unwrap_or_default(), at.floats("activation_params")?.to_vec()),
        _ => {
            let [alpha, beta] = ["activation_alpha", "activation_beta"].map(|name| at.optional_float(name));
            (at.string("activation")?.unwrap_or_default(), [alpha?, beta?].into_iter().flatten().collect())
        }
    };
    let made = |what: &str| format!("{output}.{what}");
    let mut last = made("layer");
    let plain = |attribute: &&AttributeProto| !attribute.name.starts_with("activation");
    let mut nodes = vec![NodeProto {
        op_type: layer.to_string(),
        domain: String::new(),
        input: node.input.iter().take(3).cloned().collect(),
        output: vec![last.clone()],
        attribute: node.attribute.iter().filter(plain).cloned().collect(),
        ..node.clone()
    }];
    let of = |op: &str, input: Vec<String>, output: String, attribute: Vec<AttributeProto>| NodeProto {
        op_type: op.to_string(),
        input,
        output: vec![output],
        attribute,
        ..Default::default()
    };
    if let Some(summand) = node.input.get(3).filter(|input| !input.is_empty()) {
        nodes.push(of("Add", vec![last, summand.clone()], made("sum"), Vec::new()));
        last = made("sum");
    }
    let mut inputs = vec![last];
    let attribute = match (kind, &numbers[..]) {
        ("Relu" | "Sigmoid", _) => Vec::new(),
        ("LeakyRelu", &[alpha]) => vec![float("alpha", alpha)],
        ("HardSigmoid", &[alpha, beta]) => vec![float("alpha", alpha), float("beta", beta)],
        ("Clip", &[low, high]) if old_clip => vec![float("min", low), float("max", high)],
        ("Clip", &[low, high]) => {
            for (bound, value) in [("low", low), ("high", high)] {
                graph.initializer.push(f32_tensor(&made(bound), &[], &[value]));
                inputs.push(made(bound));
            }
            Vec::new()
        }
        _ => return Err(optimised(&node)),
    };
    nodes.push(of(kind, inputs, output.clone(), attribute));
    graph.node.append(&mut nodes);
    Ok(())
}
