//! Models as text, with all that ONNX has.
//!
//! A line is a node: `outputs = Operator inputs | attributes`. An input `=5`, `=0.5` or `=[1,2]` is a `Constant` node's, and `_` is
//! none; `name:6x3x3x3` are weights, drawn where they are read first. Lines between `{` and `}` are the second branch of an `If`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};

/// The file of such nodes, which read `image`, with these outputs.
pub(crate) fn model(text: &str, outputs: &[&str]) -> ModelProto {
    model_of(text, &["image"], outputs)
}

/// The same with these inputs.
pub(crate) fn model_of(text: &str, inputs: &[&str], outputs: &[&str]) -> ModelProto {
    let mut file = File { graph: GraphProto::default(), constants: 0, rng: ChaCha8Rng::seed_from_u64(21) };
    let mut lines = text.lines();
    file.graph.node = file.nodes(&mut lines);
    let value = |name: &str| ValueInfoProto { name: name.to_string(), ..Default::default() };
    file.graph.input = inputs.iter().map(|input| value(input)).collect();
    file.graph.output = outputs.iter().map(|output| value(output)).collect();
    file.graph.name = "main_graph".to_string();
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(file.graph), ..Default::default() }
}

struct File {
    graph: GraphProto,
    constants: usize,
    rng: ChaCha8Rng,
}

impl File {
    /// The nodes of the lines up to a `}`.
    fn nodes<'a>(&mut self, lines: &mut impl Iterator<Item = &'a str>) -> Vec<NodeProto> {
        let mut nodes = Vec::new();
        while let Some(line) = lines.next().map(str::trim) {
            if line == "}" {
                break;
            }
            let Some((outputs, rest)) = line.split_once(" = ") else { continue };
            let (call, attributes) = rest.split_once(" | ").unwrap_or((rest, ""));
            let mut words = call.split_whitespace();
            let op = words.next().unwrap();
            let mut node = NodeProto {
                op_type: op.to_string(),
                output: outputs.split(", ").map(str::to_string).collect(),
                attribute: attributes.split_whitespace().map(attribute).collect(),
                ..Default::default()
            };
            node.name = node.output[0].clone();
            for word in words.filter(|&word| word != "{") {
                let input = self.input(word, &mut nodes);
                node.input.push(input);
            }
            if op == "If" {
                let branch = |nodes: Vec<NodeProto>| {
                    let output = nodes.last().unwrap().output[0].clone();
                    let output = vec![ValueInfoProto { name: output, ..Default::default() }];
                    GraphProto { node: nodes, output, ..Default::default() }
                };
                let mut nothing = Vec::new();
                self.input("=[0]", &mut nothing);
                for (name, nodes) in [("then_branch", nothing), ("else_branch", self.nodes(lines))] {
                    node.attribute.push(AttributeProto {
                        name: name.to_string(),
                        r#type: AttributeType::Graph as i32,
                        g: Some(branch(nodes)),
                        ..Default::default()
                    });
                }
            }
            nodes.push(node);
        }
        nodes
    }

    /// The name of an input, for which a constant is put before.
    fn input(&mut self, word: &str, nodes: &mut Vec<NodeProto>) -> String {
        if word == "_" {
            return String::new();
        }
        if let Some((name, dims)) = word.trim_start_matches('=').split_once(':') {
            let dims: Vec<i64> = dims.split('x').map(|size| size.parse().unwrap()).collect();
            let tensor = self.weights(name, &dims);
            if !word.starts_with('=') {
                if !self.graph.initializer.iter().any(|stored| stored.name == name) {
                    self.graph.initializer.push(tensor);
                }
                return name.to_string();
            }
            return self.constant(tensor, nodes);
        }
        let Some(text) = word.strip_prefix('=') else { return word.to_string() };
        let values = text.trim_matches(['[', ']']);
        let dims = if text.starts_with('[') { vec![values.split(',').count() as i64] } else { vec![] };
        let mut tensor = TensorProto { dims, ..Default::default() };
        if values.contains('.') {
            tensor.data_type = DataType::Float as i32;
            tensor.float_data = values.split(',').map(|value| value.parse().unwrap()).collect();
        } else {
            tensor.data_type = DataType::Int64 as i32;
            tensor.int64_data = values.split(',').map(|value| value.parse().unwrap()).collect();
        }
        self.constant(tensor, nodes)
    }

    fn constant(&mut self, tensor: TensorProto, nodes: &mut Vec<NodeProto>) -> String {
        self.constants += 1;
        let name = format!("constant_{}", self.constants);
        nodes.push(NodeProto {
            op_type: "Constant".to_string(),
            name: name.clone(),
            output: vec![name.clone()],
            attribute: vec![AttributeProto {
                name: "value".to_string(),
                r#type: AttributeType::Tensor as i32,
                t: Some(tensor),
                ..Default::default()
            }],
            ..Default::default()
        });
        name
    }

    fn weights(&mut self, name: &str, dims: &[i64]) -> TensorProto {
        let len = dims.iter().product::<i64>() as usize;
        let fan_in: i64 = dims.iter().skip(1).product();
        let half = (6.0 / fan_in as f32).sqrt();
        let values = match name {
            "mean" => vec![0.41, 0.42, 0.43],
            "std" => vec![0.21, 0.22, 0.23],
            _ if name.starts_with("anchors") => {
                let map: usize = name["anchors".len()..].parse().unwrap();
                super::detector::ANCHORS[map].as_flattened().to_vec()
            }
            _ if name.ends_with(".scale") => (0..len).map(|_| self.rng.random_range(0.6..1.4f32)).collect(),
            _ => (0..len).map(|_| half * self.rng.random_range(-1.0..1.0f32)).collect(),
        };
        TensorProto {
            name: name.to_string(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values,
            ..Default::default()
        }
    }
}

fn attribute(text: &str) -> AttributeProto {
    let (name, value) = text.split_once('=').unwrap();
    let mut made = AttributeProto { name: name.to_string(), ..Default::default() };
    if let Some(list) = value.strip_prefix('[') {
        made.r#type = AttributeType::Ints as i32;
        made.ints = list.trim_end_matches(']').split(',').map(|value| value.parse().unwrap()).collect();
    } else if let Ok(int) = value.parse() {
        made.r#type = AttributeType::Int as i32;
        made.i = int;
    } else if let Ok(float) = value.parse() {
        made.r#type = AttributeType::Float as i32;
        made.f = float;
    } else {
        made.r#type = AttributeType::String as i32;
        made.s = value.as_bytes().to_vec();
    }
    made
}
