//! ONNX nodes to the bundle's layers: attributes made explicit, batch normalisation and constants folded
//! in, weights brought into channels-last order.
//!
//! A value is followed as what it is on the device, not as ONNX's NCHW tensor: a map, channels last, or a
//! row of features. A row that was flattened from a map remembers the map's size, because ONNX flattens
//! channels first: the fully connected layer that reads it gets its weights' rows permuted instead.
//!
//! Several RoI poolings (SPPnet's levels) are one value on the device, a row of all their bins. In ONNX each is flattened,
//! and all are joined: those nodes become nothing but the order of the levels, which is that of the `Concat`.

mod layers;
mod linear;
mod reshape;
mod select;
mod upsample;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use frcnn_bundle::{Graph, Layer, Op};
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};
use tract_onnx::prelude::Tensor;

use crate::constants::{self, Evaluator};
use crate::error::Problem;
use crate::limits;
use crate::onnx::{self, Attributes, name};
use crate::weights::WeightStore;

pub(crate) use linear::to_channels_last;

/// A value that the device computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Computed {
    /// Its number in the graph.
    pub(crate) value: u32,
    pub(crate) kind: Kind,
    /// Whether one node alone reads it, so that it may be changed for that node.
    sole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `size` is `[H, W]` where it does not depend on the image.
    Map {
        size: Option<[usize; 2]>,
        channels: usize,
    },
    Flat {
        features: usize,
        order: Order,
    },
    /// A map that is to get the size of another one, which it is added to; the value is that of the map as it is.
    Upsampled {
        channels: usize,
    },
    /// `[R, C, 1]`: on the device a map of one pixel, or a row in the order of `row`.
    Line {
        channels: usize,
        row: Option<Order>,
    },
    /// Not a value yet: one of several levels of RoI pooling, in the order in which the head is given them, `[H, W, C]`.
    /// ONNX's tensor has 4 dimensions, 3 of them where one of 1 is squeezed, or 2 as a row.
    Level {
        level: usize,
        map: [usize; 3],
        rank: usize,
    },
}

/// How ONNX orders the features of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    AsOnDevice,
    /// Those of a map `[H, W, C]`, channels first.
    Map([usize; 3]),
    /// Those of each of [`Lowering::levels`], channels first, level after level.
    Levels,
}

impl Kind {
    pub(crate) fn channels(self) -> usize {
        match self {
            Kind::Map { channels, .. } | Kind::Upsampled { channels } => channels,
            Kind::Line { channels, .. } => channels,
            Kind::Flat { features, .. } => features,
            // At most `limits::FEATURES`: see `network::lower`.
            Kind::Level { map: [height, width, channels], rank: 2, .. } => height * width * channels,
            Kind::Level { map: [.., channels], .. } => channels,
        }
    }
}

/// What an input of a node is.
enum Input {
    Computed(Computed),
    Constant(Arc<Tensor>),
    /// An optional input that is left out.
    Missing,
}

/// The state of lowering one model.
pub(crate) struct Lowering<'a> {
    evaluator: Evaluator<'a>,
    /// Bytes that the weights may take.
    weight_limit: u64,
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// How many nodes and outputs read a value.
    uses: HashMap<&'a str, usize>,
    constants: HashMap<&'a str, Arc<Tensor>>,
    values: HashMap<&'a str, Computed>,
    /// The leading dimension of ONNX's shapes: 1, or 0 for any number of RoIs.
    batch: i64,
    graph: Graph,
    /// The levels of RoI pooling, `[H, W, C]`, in the order in which they were joined; empty before, or with one level.
    levels: Vec<[usize; 3]>,
    /// How many levels there are.
    level_count: usize,
    /// For each layer of the graph, the ONNX names that a user may know it by.
    aliases: Vec<Vec<String>>,
    /// What each RoI's dimensions are behind a `Squeeze`, by its output.
    squeezed: HashMap<&'a str, Vec<usize>>,
    /// The names of the graph's layers.
    names: HashSet<String>,
    /// What is not finite, for the user.
    not_finite: Vec<String>,
    pub(crate) weights: WeightStore,
}

/// A lowered graph.
pub(crate) struct Lowered {
    pub(crate) graph: Graph,
    pub(crate) outputs: Vec<Computed>,
    pub(crate) aliases: Vec<Vec<String>>,
    /// Levels of RoI pooling in the order of the input's features, if there are several.
    pub(crate) levels: Vec<[usize; 3]>,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(model: &'a ModelProto) -> Lowering<'a> {
        let graph = model.graph.as_ref();
        let initializers = graph.iter().flat_map(|g| &g.initializer).map(|t| (t.name.as_str(), t)).collect();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        let reads = graph.iter().flat_map(|g| &g.node).flat_map(|n| &n.input);
        let gives = graph.iter().flat_map(|g| &g.output).map(|o| &o.name);
        for name in reads.chain(gives) {
            *uses.entry(name).or_default() += 1;
        }
        Lowering {
            evaluator: Evaluator::new(model),
            weight_limit: (limits::SHARED_BYTES + limits::SHARING * constants::tensor_bytes(model))
                .min(limits::WEIGHT_BYTES),
            initializers,
            uses,
            constants: HashMap::new(),
            values: HashMap::new(),
            batch: 1,
            graph: Graph::default(),
            levels: Vec::new(),
            level_count: 0,
            aliases: Vec::new(),
            squeezed: HashMap::new(),
            names: HashSet::new(),
            not_finite: Vec::new(),
            weights: WeightStore::default(),
        }
    }

    /// Lowers `nodes`, which compute `outputs` from `inputs`: one, or the levels of RoI pooling.
    pub(crate) fn graph(
        &mut self,
        nodes: &[&'a NodeProto],
        inputs: &[(&'a str, Kind)],
        batch: i64,
        outputs: &[&'a str],
    ) -> Result<Lowered, Problem> {
        self.batch = batch;
        self.graph = Graph::default();
        self.aliases.clear();
        self.names.clear();
        self.values.clear();
        self.levels.clear();
        self.level_count = inputs.len();
        let values = inputs.iter().map(|&(name, kind)| (name, Computed { value: 0, kind, sole: false }));
        self.values.extend(values);
        for node in nodes {
            self.node(node)?;
        }
        let outputs: Vec<Computed> =
            outputs.iter().map(|name| self.output(name)).collect::<Result<_, _>>()?;
        self.graph.outputs = outputs.iter().map(|o| o.value).collect();
        let (graph, aliases) = (std::mem::take(&mut self.graph), std::mem::take(&mut self.aliases));
        Ok(Lowered { graph, outputs, aliases, levels: self.levels.clone() })
    }

    /// The name that ONNX has for a value of the graph that was lowered last, of the last node that makes it.
    pub(crate) fn name_of(&self, value: u32, nodes: &[&'a NodeProto]) -> Option<&'a str> {
        let names = nodes.iter().rev().flat_map(|node| &node.output).map(String::as_str);
        names.into_iter().find(|name| self.values.get(name).is_some_and(|computed| computed.value == value))
    }

    fn output(&self, name: &str) -> Result<Computed, Problem> {
        self.values
            .get(name)
            .copied()
            .ok_or_else(|| Problem::Outputs(format!("`{name}` does not depend on the image")))
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<(), Problem> {
        let at = Attributes(node);
        let inputs: Vec<Input> =
            node.input.iter().map(|name| self.input(at, name)).collect::<Result<_, _>>()?;
        if node.op_type == "Shape" && matches!(inputs[..], [Input::Computed(_)]) {
            return self.shape(at, &inputs);
        }
        if inputs.iter().all(|input| !matches!(input, Input::Computed(_))) {
            return self.constant(node, &inputs);
        }
        self.find_not_finite(node, &inputs);
        if node.op_type == "Split" {
            return self.split(at, &inputs);
        }
        let result = self.layer(at, &inputs)?;
        if self.weights.bytes() > self.weight_limit {
            return Err(at.problem(format!(
                "with it the weights that layers read take {} bytes, and the limit for the tensors of this model is {}; do \
                 many layers read one tensor?",
                self.weights.bytes(),
                self.weight_limit
            )));
        }
        let mut outputs = node.output.iter().filter(|name| !name.is_empty());
        let first = outputs.next().ok_or_else(|| at.problem("it has no output"))?;
        if let Some(second) = outputs.find(|name| self.uses.contains_key(name.as_str())) {
            return Err(at.problem(format!("its output `{second}` is read; only the first one is supported")));
        }
        self.values.insert(first, result);
        Ok(())
    }

    fn input(&mut self, at: Attributes, name: &'a str) -> Result<Input, Problem> {
        if name.is_empty() {
            return Ok(Input::Missing);
        }
        if let Some(&computed) = self.values.get(name) {
            let sole = computed.sole && self.uses.get(name) == Some(&1);
            return Ok(Input::Computed(Computed { sole, ..computed }));
        }
        if let Some(constant) = self.constants.get(name) {
            return Ok(Input::Constant(constant.clone()));
        }
        let proto = self
            .initializers
            .get(name)
            .ok_or_else(|| at.problem(format!("no node gives its input `{name}`")))?;
        // Not kept: a large matrix is read once, by the layer that transposes it.
        Ok(Input::Constant(constants::load(proto)?))
    }

    fn constant(&mut self, node: &'a NodeProto, inputs: &[Input]) -> Result<(), Problem> {
        let named: Vec<(&str, Arc<Tensor>)> = node
            .input
            .iter()
            .zip(inputs)
            .filter_map(|(name, input)| match input {
                Input::Constant(tensor) => Some((name.as_str(), tensor.clone())),
                _ => None,
            })
            .collect();
        let outputs = self.evaluator.run(node, &named)?;
        for (name, tensor) in node.output.iter().filter(|name| !name.is_empty()).zip(outputs) {
            self.constants.insert(name, tensor);
        }
        Ok(())
    }

    /// Appends a layer that makes a value of `kind`.
    fn push(&mut self, at: Attributes, op: Op, inputs: &[Computed], kind: Kind) -> Result<Computed, Problem> {
        if kind.channels() > limits::FEATURES {
            return Err(at.problem(format!(
                "it makes {} channels; the limit is {}",
                kind.channels(),
                limits::FEATURES
            )));
        }
        if self.graph.layers.len() >= limits::LAYERS {
            return Err(
                at.problem(format!("it is a layer more than the {} that one half may have", limits::LAYERS))
            );
        }
        let mut name = layer_name(at.0);
        if self.names.contains(&name) {
            name = format!("{name}_{}", op.name().to_lowercase());
        }
        if !self.names.insert(name.clone()) {
            // No other has its number.
            name = format!("{name}_{}", self.graph.layers.len());
            self.names.insert(name.clone());
        }
        let inputs = inputs.iter().map(|input| input.value).collect();
        self.graph.layers.push(Layer { name, op, inputs });
        self.aliases.push(aliases(at.0));
        Ok(Computed { value: self.graph.layers.len() as u32, kind, sole: true })
    }

    /// The nodes as tract runs them: it cannot squeeze axes that are named from the end, in no order, or not at all in older
    /// operator sets, so that each `Squeeze` that was lowered becomes a `Reshape`. What a constant is less a convolution's
    /// result it computes with the convolution's sign lost.
    pub(crate) fn for_referee(&self, nodes: &[&NodeProto]) -> Vec<NodeProto> {
        let plain = |node: &NodeProto| {
            self.reshaped(node).or_else(|| self.negated(node)).unwrap_or_else(|| vec![node.clone()])
        };
        nodes.iter().flat_map(|&node| plain(node)).collect()
    }

    /// `constant - x` as `constant + (-x)`.
    fn negated(&self, node: &NodeProto) -> Option<Vec<NodeProto>> {
        let [constant, computed] = &node.input[..] else { return None };
        let is_constant =
            self.initializers.contains_key(&**constant) || self.constants.contains_key(&**constant);
        if node.op_type != "Sub" || !is_constant {
            return None;
        }
        let name = format!("{}.frcnn_negated", node.output.first()?);
        let neg = NodeProto {
            op_type: "Neg".to_string(),
            name: name.clone(),
            input: vec![computed.clone()],
            output: vec![name.clone()],
            ..Default::default()
        };
        let add =
            NodeProto { op_type: "Add".to_string(), input: vec![constant.clone(), name], ..node.clone() };
        Some(vec![neg, add])
    }

    fn reshaped(&self, node: &NodeProto) -> Option<Vec<NodeProto>> {
        let output = node.output.first()?;
        let dims = self.squeezed.get(output.as_str())?;
        // As many RoIs as before.
        let shape: Vec<i64> = [0].into_iter().chain(dims.iter().map(|&d| d as i64)).collect();
        let name = format!("{output}.frcnn_shape");
        let value = onnx::tensor("value", onnx::i64_tensor("", &[shape.len() as i64], &shape));
        let constant = NodeProto {
            op_type: "Constant".to_string(),
            name: name.clone(),
            output: vec![name.clone()],
            attribute: vec![value],
            ..Default::default()
        };
        let reshape = NodeProto {
            op_type: "Reshape".to_string(),
            input: vec![node.input.first()?.clone(), name],
            attribute: Vec::new(),
            ..node.clone()
        };
        Some(vec![constant, reshape])
    }

    /// Notes weights that are not finite. A bound may be infinite.
    fn find_not_finite(&mut self, node: &NodeProto, inputs: &[Input]) {
        if node.op_type == "Clip" {
            return;
        }
        for (weight, input) in node.input.iter().zip(inputs) {
            let Some(tensor) = input.constant() else { continue };
            let count = constants::not_finite(tensor);
            if count > 0 {
                let layer = name(node);
                self.not_finite
                    .push(format!("layer `{layer}`: {count} of {} values of `{weight}`", tensor.len()));
            }
        }
    }

    /// Whether all weights of the graphs that were lowered are numbers.
    pub(crate) fn check_finite(&self) -> Result<(), Problem> {
        const SHOWN: usize = 8;
        if self.not_finite.is_empty() {
            return Ok(());
        }
        let more = self.not_finite.len().saturating_sub(SHOWN);
        let mut text = self.not_finite.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            text = format!("{text}, and {more} tensors more");
        }
        Err(Problem::NotFinite(text))
    }

    /// The layer that makes `value`, if nothing else reads it.
    fn sole_producer(&mut self, computed: Computed) -> Option<&mut Op> {
        let position = (computed.value as usize).checked_sub(1)?;
        if computed.sole { self.graph.layers.get_mut(position).map(|layer| &mut layer.op) } else { None }
    }
}

/// The blob's name, without what PyTorch's exporter puts around it.
fn layer_name(node: &NodeProto) -> String {
    let blob = node.output.first().map_or("", String::as_str);
    let blob = blob.strip_suffix("_output_0").unwrap_or(blob);
    blob.trim_start_matches('/').to_string()
}

/// Names by which a user may mean the layer: the node, its output, and the stems of its weights' names.
fn aliases(node: &NodeProto) -> Vec<String> {
    let stems = node.input.iter().skip(1).filter_map(|weight| weight.strip_suffix(".weight"));
    let whole = node.input.iter().skip(1).chain([&node.name]).chain(&node.output).map(String::as_str);
    let mut names: Vec<String> = stems.chain(whole).map(str::to_string).collect();
    names.push(layer_name(node));
    names.push(name(node).trim_start_matches('/').to_string());
    names.retain(|name| !name.is_empty());
    names
}
