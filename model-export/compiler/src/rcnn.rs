//! R-CNN: a classifier whose last layer gives way to linear SVMs and box regressors.
//!
//! ```text
//! data ─► conv1 ... pool5 ─► flat ─► fc6 ─► fc7 ─┬► fc8, softmax          the classifier, whose end goes
//!                      └► bbox_pred              └► cls_score             the weights of the other file
//!         ╰── trunk ──╯     ╰──────── head ──────────╯
//! ```
//!
//! The new layers are added in ONNX, so that what is lowered and what the referee runs are one and the same model.

use std::sync::Arc;

use frcnn_bundle::{Contents, Graph, Manifest, Op, Regions, Rewrite, Warp};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use crate::compiled::{CheckedNetwork, Compiled, origin};
use crate::error::Problem;
use crate::lower::{Kind, Lowering};
use crate::network::{check_classes, name_layers};
use crate::onnx::{self, Producers, f32_tensor, float_input, int, value};
use crate::options::Options;
use crate::referee::SampleRun;
use crate::source::ModelFile;
use crate::svm::{Linear, Svm};
use crate::weights::name_sections;

const CONTEXT: u32 = Warp::PUBLISHED_CONTEXT;
const SCORES: &str = "frcnn.cls_score";
const BOXES: &str = "frcnn.bbox_pred";

pub(crate) fn compile(
    source: ModelFile,
    svm: &Svm,
    manifest: &Manifest,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Compiled, Problem> {
    let ModelFile { model, sha256, .. } = source;

    progress("lowering the network");
    check_classes(svm.margins.rows + 1, manifest)?;
    let Joined { mut model, data, side } = join(model, svm)?;
    let graph = model.graph.as_ref().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    let nodes: Vec<&NodeProto> = graph.node.iter().collect();
    let mut lowering = Lowering::new(&model);
    let image = Kind::Map { size: Some([side, side]), channels: 3 };
    let whole = lowering.graph(&nodes, &[(&data, image)], 0, &[SCORES, BOXES])?;
    lowering.check_finite()?;
    let SplitGraph { mut trunk, mut head, map, aliases } = SplitGraph::of(whole.graph, &whole.aliases)?;
    let conv = lowering.name_of(map, &nodes).unwrap_or(&data).to_string();

    name_layers(&mut head);
    let (blob_means, input) = crate::input::fold(&mut trunk, &mut lowering.weights, manifest);
    name_sections(&trunk, &mut lowering.weights);
    name_sections(&head, &mut lowering.weights);
    let contents = Contents {
        manifest: manifest.clone(),
        blob_means,
        trunk,
        regions: Regions::Warp(Warp { side: side as u32, context: CONTEXT }),
        head,
        sections: Vec::new(),
        factored: Vec::new(),
        origin: origin(sha256),
        board: None,
        cascade: None,
        rpn: None,
    };
    let bundle = Arc::new(std::mem::take(&mut lowering.weights).into_bundle(contents)?);
    let for_referee = lowering.for_referee(&nodes);
    drop(lowering);

    progress("checking against tract-onnx");
    let sample = SampleRun::run(&bundle, None)?;
    if let Some(graph) = &mut model.graph {
        graph.node = for_referee;
        graph.output = [&*conv, SCORES, BOXES].map(value).to_vec();
    }
    let agreement = sample.compare_crops(&model, side, &bundle)?;
    CheckedNetwork { bundle, aliases, input, sample, agreement }.finish(options, progress)
}

/// A classifier with the new layers for its end.
struct Joined {
    model: ModelProto,
    data: String,
    side: usize,
}

fn join(mut model: ModelProto, svm: &Svm) -> Result<Joined, Problem> {
    let graph = model.graph.take().ok_or_else(|| Problem::NotOnnx("it has no graph".to_string()))?;
    let (data, side) = check_input(&graph)?;
    let data = data.to_string();
    let features = match &svm.features {
        Some(name) => name.clone(),
        None => last_features(&graph)?,
    };
    let bbox_features = match &svm.bbox_features {
        Some(name) => name.clone(),
        None => first_map(&graph)?,
    };
    let (nodes, reads) = Producers::new(&graph).needed_by(&[&features, &bbox_features], &[]);
    if let Some(unknown) = reads.iter().find(|name| **name != data) {
        return Err(Problem::Svm(format!("the classifier has no value `{unknown}`")));
    }
    let mut nodes: Vec<NodeProto> = nodes.into_iter().cloned().collect();
    let mut initializer = graph.initializer;

    // The background comes first in all that a detector gives; it has neither SVM nor regressor.
    let margins = with_background(&svm.margins, 1);
    add_linear(&mut nodes, &mut initializer, SCORES, &features, margins);
    match &svm.boxes {
        Some(boxes) => {
            add_linear(&mut nodes, &mut initializer, BOXES, &bbox_features, with_background(boxes, 4));
        }
        // Proposals as they are.
        None => {
            let (rows, columns) = (4 * (svm.margins.rows + 1), svm.margins.columns);
            let zeros = Linear { rows, columns, weight: vec![0.0; rows * columns], bias: vec![0.0; rows] };
            add_linear(&mut nodes, &mut initializer, BOXES, &features, zeros);
        }
    }
    let joined =
        GraphProto { node: nodes, initializer, input: vec![float_input(&data)], ..Default::default() };
    Ok(Joined { model: ModelProto { graph: Some(joined), ..model }, data, side })
}

/// The classifier's one input and its side.
fn check_input(graph: &GraphProto) -> Result<(&str, usize), Problem> {
    const EXPECTED: &str = "a classifier for R-CNN reads `data` [N, 3, S, S] of a fixed size S";
    let inputs: Vec<&ValueInfoProto> = onnx::inputs(graph).collect();
    let [data] = inputs[..] else {
        return Err(Problem::Classifier(format!("it has {} inputs; {EXPECTED}", inputs.len())));
    };
    onnx::check_real(data)?;
    match onnx::dims(data).as_deref() {
        Some(&[None | Some(1), Some(3), Some(height), Some(width)]) if height == width => {
            let side = usize::try_from(height).ok().filter(|side| *side > 2 * CONTEXT as usize);
            let too_small = || {
                Problem::Classifier(format!(
                    "`{}` has {height} pixels a side, of which {CONTEXT} on each side are context",
                    data.name
                ))
            };
            Ok((&data.name, side.ok_or_else(too_small)?))
        }
        Some(shape) => {
            Err(Problem::Classifier(format!("`{}` has shape {}; {EXPECTED}", data.name, onnx::show(shape))))
        }
        None => Err(Problem::Classifier(format!("`{}` has no shape; {EXPECTED}", data.name))),
    }
}

fn is_linear(node: &NodeProto) -> bool {
    ["Gemm", "MatMul"].contains(&&*node.op_type)
}

/// What the classifier's last fully connected layer reads.
fn last_features(graph: &GraphProto) -> Result<String, Problem> {
    let last = graph.node.iter().rev().find(|node| is_linear(node));
    last.and_then(|node| node.input.first()).cloned().ok_or_else(|| no_linear("features"))
}

/// The map that is flattened before the classifier's first fully connected layer.
fn first_map(graph: &GraphProto) -> Result<String, Problem> {
    let first = graph.node.iter().find(|node| is_linear(node)).ok_or_else(|| no_linear("bbox_features"))?;
    let mut value = first.input.first();
    // No further than through each node once: nodes may read each other in a circle.
    for _ in 0..graph.node.len() {
        let Some(name) = value else { break };
        let producer = graph.node.iter().find(|node| node.output.contains(name));
        let Some(node) = producer else { break };
        value = node.input.first();
        match &*node.op_type {
            "Flatten" | "Reshape" | "Squeeze" => {
                return value.cloned().ok_or_else(|| no_linear("bbox_features"));
            }
            "Dropout" | "Identity" | "Cast" => {}
            _ => return Ok(name.clone()),
        }
    }
    Err(no_linear("bbox_features"))
}

fn no_linear(key: &str) -> Problem {
    Problem::Classifier(format!(
        "it has no fully connected layer behind a flattened map; name the value to read as `{key}` in the metadata of \
         the SVM's file"
    ))
}

/// The same with `rows` rows of zeros before it.
fn with_background(linear: &Linear, rows: usize) -> Linear {
    Linear {
        rows: rows + linear.rows,
        columns: linear.columns,
        weight: [vec![0.0; rows * linear.columns], linear.weight.clone()].concat(),
        bias: [vec![0.0; rows], linear.bias.clone()].concat(),
    }
}

fn add_linear(
    nodes: &mut Vec<NodeProto>,
    initializer: &mut Vec<TensorProto>,
    name: &str,
    reads: &str,
    linear: Linear,
) {
    let [flat, weight, bias] = ["flat", "weight", "bias"].map(|part| format!("{name}.{part}"));
    let dims = [linear.rows as i64, linear.columns as i64];
    initializer.push(f32_tensor(&weight, &dims, &linear.weight));
    initializer.push(f32_tensor(&bias, &dims[..1], &linear.bias));
    let mut node = |op_type: &str, output: &str, inputs: &[&str], one: &str| {
        nodes.push(NodeProto {
            op_type: op_type.to_string(),
            name: output.to_string(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: vec![output.to_string()],
            attribute: vec![int(one, 1)],
            ..Default::default()
        });
    };
    // Of a row of features this does nothing.
    node("Flatten", &flat, &[reads], "axis");
    node("Gemm", name, &[&flat, &weight, &bias], "transB");
}

/// A lowered network, cut where its map is flattened.
struct SplitGraph {
    trunk: Graph,
    head: Graph,
    /// The whole graph's value that the head reads.
    map: u32,
    /// Of the head's layers.
    aliases: Vec<Vec<String>>,
}

impl SplitGraph {
    /// Layers lie in the order of the nodes: all before the first flattening make maps, and are the trunk.
    fn of(mut whole: Graph, aliases: &[Vec<String>]) -> Result<SplitGraph, Problem> {
        let (flatten, map) = first_flatten(&whole).ok_or_else(|| no_linear("features"))?;
        let head = whole.layers.split_off(flatten);
        let trunk = Graph { layers: whole.layers, outputs: vec![map] };

        let mut rewrite = Rewrite::default();
        rewrite.set(map, 0);
        let mut head_aliases = Vec::new();
        let mut flattened = None;
        for (position, layer) in (flatten..).zip(head) {
            let is_flatten = matches!(layer.op, Op::Flatten) && layer.inputs == [map];
            if is_flatten && let Some(first) = flattened {
                // The regressors' own; one does for both.
                rewrite.set(position as u32 + 1, first);
                continue;
            }
            let name = layer.name.clone();
            let value = rewrite.keep(position, layer).ok_or_else(|| reads_before_flatten(&name))?;
            head_aliases.push(aliases.get(position).cloned().unwrap_or_default());
            if is_flatten {
                flattened = Some(value);
            }
        }
        let head = rewrite.finish(&whole.outputs).ok_or_else(|| no_linear("features"))?;
        Ok(SplitGraph { trunk, head, map, aliases: head_aliases })
    }
}

/// The first layer that flattens a map, and the value that it reads.
fn first_flatten(graph: &Graph) -> Option<(usize, u32)> {
    let position = graph.layers.iter().position(|layer| matches!(layer.op, Op::Flatten))?;
    Some((position, *graph.layers.get(position)?.inputs.first()?))
}

fn reads_before_flatten(layer: &str) -> Problem {
    Problem::Svm(format!(
        "layer `{layer}` reads a map before the one that is flattened first; `features` and `bbox_features` must be that \
         map or come behind it"
    ))
}
