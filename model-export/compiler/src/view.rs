//! An exported graph, looked at along its values: who makes one, who reads it, and what it is where it is constant.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::prelude::Tensor;

use crate::constants::{Evaluator, floats, integers, load};
use crate::error::Problem;
use crate::onnx::{Attributes, name};

/// Nodes between a constant and what it was computed from, at most.
const DEEPEST: usize = 16;
/// What is computed where all that it reads is constant.
const EVALUATED: [&str; 7] = ["Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Concat", "Neg"];
/// Operators that hand on their first input, whatever its shape.
pub(crate) const RESHAPING: [&str; 7] =
    ["Identity", "Cast", "Reshape", "Flatten", "Unsqueeze", "Squeeze", "Transpose"];

/// A graph with the nodes of its `If` branches, which see all of its values.
pub(crate) struct View<'a> {
    pub(crate) graph: &'a GraphProto,
    /// All nodes in the order in which they run, those of branches before the `If` that has them.
    nodes: Vec<&'a NodeProto>,
    place: HashMap<*const NodeProto, usize>,
    makers: HashMap<&'a str, &'a NodeProto>,
    readers: HashMap<&'a str, Vec<&'a NodeProto>>,
    tensors: HashMap<&'a str, &'a TensorProto>,
    evaluator: RefCell<Evaluator<'a>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(model: &'a ModelProto, graph: &'a GraphProto) -> View<'a> {
        let mut view = View {
            graph,
            nodes: Vec::new(),
            place: HashMap::new(),
            makers: HashMap::new(),
            readers: HashMap::new(),
            tensors: HashMap::new(),
            evaluator: RefCell::new(Evaluator::new(model)),
        };
        view.tensors.extend(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)));
        for node in &graph.node {
            for branch in branches(node) {
                view.tensors.extend(branch.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)));
                branch.node.iter().for_each(|node| view.add(node));
            }
            view.add(node);
        }
        view
    }

    fn add(&mut self, node: &'a NodeProto) {
        self.place.insert(std::ptr::from_ref(node), self.nodes.len());
        self.nodes.push(node);
        self.makers.extend(node.output.iter().map(|output| (output.as_str(), node)));
        for read in reads(node) {
            self.readers.entry(read).or_default().push(node);
        }
    }

    /// The nodes of one operator, in order.
    pub(crate) fn all(&self, op: &str) -> Vec<&'a NodeProto> {
        self.nodes.iter().copied().filter(|node| node.op_type == op).collect()
    }

    pub(crate) fn maker(&self, value: &str) -> Option<&'a NodeProto> {
        self.makers.get(value).copied()
    }

    pub(crate) fn readers(&self, value: &str) -> &[&'a NodeProto] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The node that makes `value`, if it is of one of these operators; the error says what was looked for.
    pub(crate) fn made_by(&self, value: &str, ops: &[&str], what: &str) -> Result<&'a NodeProto, Problem> {
        let expected = || format!("{what} was expected there, from {}", ops.join(" or "));
        match self.maker(value) {
            Some(node) if ops.contains(&&*node.op_type) => Ok(node),
            Some(node) => Err(not_understood(node, expected())),
            None => Err(Problem::NotUnderstood {
                node: value.to_string(),
                op: "an input or a constant".to_string(),
                why: expected(),
            }),
        }
    }

    /// The first value that no node of `ops` makes of its first input.
    pub(crate) fn behind(&self, mut value: &'a str, ops: &[&str]) -> &'a str {
        // Each step goes to an earlier node: at most once to each.
        for _ in 0..self.nodes.len() {
            match self.maker(value).filter(|node| ops.contains(&&*node.op_type)) {
                Some(node) if !node.input.is_empty() => value = input(node, 0),
                _ => break,
            }
        }
        value
    }

    /// Whether a value lies in the file.
    pub(crate) fn is_stored(&self, value: &str) -> bool {
        self.tensors.contains_key(value) || self.maker(value).is_some_and(|node| node.op_type == "Constant")
    }

    /// What a value is, if it is constant.
    pub(crate) fn constant(&self, value: &str) -> Option<Arc<Tensor>> {
        self.constant_within(value, DEEPEST)
    }

    fn constant_within(&self, value: &str, deepest: usize) -> Option<Arc<Tensor>> {
        if let Some(tensor) = self.tensors.get(value) {
            return plain(load(tensor).ok()?);
        }
        let node = self.maker(value)?;
        if node.op_type == "Constant" {
            return plain(self.evaluator.borrow_mut().run(node, &[]).ok()?.into_iter().next()?);
        }
        if deepest == 0 || !EVALUATED.contains(&&*node.op_type) {
            return None;
        }
        let inputs: Option<Vec<_>> = node
            .input
            .iter()
            .map(|name| Some((name.as_str(), self.constant_within(name, deepest - 1)?)))
            .collect();
        let inputs = inputs?;
        plain(self.evaluator.borrow_mut().run(node, &inputs).ok()?.into_iter().next()?)
    }

    /// A constant of one value.
    pub(crate) fn number(&self, value: &str) -> Option<f32> {
        match self.constant(value).and_then(|tensor| floats(&tensor))?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// The same, of whole numbers.
    pub(crate) fn whole(&self, value: &str) -> Option<i64> {
        match self.constant(value).and_then(|tensor| integers(&tensor))?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// The input of a node with two that is not a number, and the number.
    pub(crate) fn with_number(&self, node: &'a NodeProto) -> Option<(&'a str, f32)> {
        let [a, b] = &node.input[..] else { return None };
        match (self.number(a), self.number(b)) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) => Some((b, number)),
            _ => None,
        }
    }

    /// The nodes that `values` depend on, in order, but for what stands behind a node that `stop` knows; those themselves are
    /// there.
    pub(crate) fn ancestors(
        &self,
        values: &[&'a str],
        stop: &dyn Fn(&NodeProto) -> bool,
    ) -> Vec<&'a NodeProto> {
        let (mut seen, mut found) = (HashSet::new(), vec![false; self.nodes.len()]);
        let mut open = values.to_vec();
        while let Some(value) = open.pop() {
            let Some(node) = self.maker(value).filter(|_| seen.insert(value)) else { continue };
            let place = self.place.get(&std::ptr::from_ref(node)).and_then(|&place| found.get_mut(place));
            if place.is_none_or(|found| std::mem::replace(found, true)) {
                continue;
            }
            if !stop(node) {
                open.extend(reads(node));
            }
        }
        self.nodes.iter().zip(found).filter_map(|(&node, found)| found.then_some(node)).collect()
    }

    /// Two values that are the same weights, under one name or two.
    pub(crate) fn same_weights(&self, a: &'a str, b: &'a str) -> bool {
        self.behind(a, &["Identity"]) == self.behind(b, &["Identity"])
    }
}

/// Real numbers of any width as f32.
fn plain(tensor: Arc<Tensor>) -> Option<Arc<Tensor>> {
    if tensor.datum_type().is_float() {
        return Some(Arc::new(tensor.cast_to::<f32>().ok()?.into_owned()));
    }
    Some(tensor)
}

/// The graphs of an `If` and its like.
fn branches(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// What a node reads, and of an `If` what its branches read and give.
fn reads(node: &NodeProto) -> impl Iterator<Item = &str> {
    let inside = branches(node)
        .flat_map(|graph| {
            let read = graph.node.iter().flat_map(|node| &node.input);
            read.chain(graph.output.iter().map(|output| &output.name))
        })
        .map(String::as_str);
    node.input.iter().map(String::as_str).chain(inside).filter(|name| !name.is_empty())
}

/// An input of a node; empty where it has none there.
pub(crate) fn input(node: &NodeProto, position: usize) -> &str {
    node.input.get(position).map_or("", String::as_str)
}

/// The first output of a node.
pub(crate) fn output(node: &NodeProto) -> &str {
    node.output.first().map_or("", String::as_str)
}

/// A node of which something else was expected.
pub(crate) fn not_understood(node: &NodeProto, why: impl Into<String>) -> Problem {
    Problem::NotUnderstood { node: name(node).to_string(), op: node.op_type.clone(), why: why.into() }
}

/// An integer attribute of a node that must be there.
pub(crate) fn axis(node: &NodeProto) -> i64 {
    Attributes(node).int("axis", 0).unwrap_or(0)
}
