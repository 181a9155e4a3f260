//! A whole Fast R-CNN from its two halves: which output is which, and the published names.

use frcnn_bundle::{Contents, Gemm, Graph, Layer, Manifest, Op, Precision, RoiPooling, Source};

use crate::error::Problem;
use crate::lower::{Attributes, Computed, Kind, Lowered, Lowering};
use crate::split::Split;
use crate::weights::name_sections;

/// A lowered network, its weights still apart.
pub(crate) struct Network {
    pub(crate) contents: Contents,
    /// Names by which a user may mean each layer of the head.
    pub(crate) known_as: Vec<Vec<String>>,
    /// Whether the model's first output is the class scores.
    pub(crate) scores_first: bool,
    /// Whether the model leaves the softmax to its reader; the head has it in any case.
    pub(crate) softmax_added: bool,
}

/// Lowers both halves of a model and joins them; the weights stay in `lowering`.
pub(crate) fn lower<'a>(
    split: &Split<'a>,
    lowering: &mut Lowering<'a>,
    manifest: &Manifest,
    source: Source,
) -> Result<Network, Problem> {
    let at = Attributes(split.roi_pool);
    let pooled = at.sizes::<2>("pooled_shape", [0, 0])?;
    let roi_pooling = RoiPooling { pooled, spatial_scale: at.float("spatial_scale", 1.0) };
    let (Some(feature_map), Some(pooled_name)) =
        (split.roi_pool.input.first(), split.roi_pool.output.first())
    else {
        return Err(at.problem("it must read a feature map and give pooled features"));
    };

    let image = Kind::Map { size: None, channels: 3 };
    let trunk = lowering.graph(&split.trunk, (split.data, image), 1, &[feature_map])?;
    let channels = match trunk.outputs[..] {
        [Computed { kind: Kind::Map { channels, .. }, .. }] => channels,
        _ => return Err(at.problem("it reads a row of features, not a map")),
    };
    let size = Some(pooled.map(|p| p as usize));
    let regions = Kind::Map { size, channels };
    let mut head = lowering.graph(&split.head, (pooled_name, regions), 0, &split.outputs)?;

    let scores_first = order_outputs(&mut head, manifest)?;
    let softmax_added = end_in_softmax(&mut head)?;
    name_layers(&mut head.graph);
    name_sections(&trunk.graph, &mut lowering.weights);
    name_sections(&head.graph, &mut lowering.weights);
    let contents = Contents {
        manifest: manifest.clone(),
        trunk: trunk.graph,
        roi_pooling,
        head: head.graph,
        sections: Vec::new(),
        factored: Vec::new(),
        precision: Precision::F32,
        source,
    };
    Ok(Network { contents, known_as: head.known_as, scores_first, softmax_added })
}

/// Puts the scores first; gives whether they were.
fn order_outputs(head: &mut Lowered, manifest: &Manifest) -> Result<bool, Problem> {
    let features = |computed: &Computed| match computed.kind {
        Kind::Flat { features, map: None } => Ok(features),
        _ => Err(Problem::Outputs(
            "they must be rows of class scores [R, K+1] and box deltas [R, 4(K+1)], not maps".to_string(),
        )),
    };
    let widths: Vec<usize> = head.outputs.iter().map(features).collect::<Result<_, _>>()?;
    let &[a, b] = &widths[..] else {
        return Err(Problem::Outputs(format!("expected two, found {}", widths.len())));
    };
    let (scores, boxes) = (a.min(b), a.max(b));
    if boxes != 4 * scores {
        return Err(Problem::Outputs(format!(
            "they are {a} and {b} wide; a Fast R-CNN gives K+1 class scores and 4(K+1) box deltas"
        )));
    }
    let classes = manifest.classes.len();
    if classes != scores {
        let hint =
            if classes + 1 == scores && manifest.classes.first().is_none_or(|c| !c.contains("background")) {
                "; the first class must be the background"
            } else {
                ""
            };
        return Err(Problem::Outputs(format!(
            "the model scores {scores} classes (the background included), but the manifest names {classes}{hint}"
        )));
    }
    let scores_first = a == scores;
    if !scores_first {
        head.outputs.reverse();
        head.graph.outputs.reverse();
    }
    Ok(scores_first)
}

/// Appends the softmax that a model leaves to its reader; gives whether it did.
fn end_in_softmax(head: &mut Lowered) -> Result<bool, Problem> {
    let Some(&scores) = head.graph.outputs.first() else { return Ok(false) };
    match (scores as usize).checked_sub(1).and_then(|position| head.graph.layers.get(position)) {
        Some(Layer { op: Op::Softmax, .. }) => Ok(false),
        Some(Layer { op: Op::Gemm(_) | Op::Affine(_) | Op::Flatten, .. }) => {
            head.graph.layers.push(Layer {
                name: "cls_prob".to_string(),
                op: Op::Softmax,
                inputs: vec![scores],
            });
            head.known_as.push(Vec::new());
            if let Some(output) = head.graph.outputs.first_mut() {
                *output = head.graph.layers.len() as u32;
            }
            Ok(true)
        }
        other => Err(Problem::Outputs(format!(
            "the class scores come from {}; a Fast R-CNN ends in a softmax or in plain scores",
            other.map_or("the pooled features themselves".to_string(), |l| format!(
                "`{}` ({})",
                l.name,
                l.op.name()
            ))
        ))),
    }
}

/// Gives the fully connected layers their published names: `fc6`, `fc7` and so on in order, then
/// `cls_score` and `bbox_pred`.
fn name_layers(head: &mut Graph) {
    let outputs = head.outputs.clone();
    let last: Vec<Option<usize>> = outputs.iter().map(|&value| gemm_behind(head, value)).collect();
    for (name, position) in ["cls_score", "bbox_pred"].into_iter().zip(&last) {
        if let Some(layer) = position.and_then(|position| head.layers.get_mut(position)) {
            layer.name = name.to_string();
        }
    }
    let hidden = head.layers.iter_mut().enumerate().filter(|(position, layer)| {
        matches!(layer.op, Op::Gemm(Gemm { .. })) && !last.contains(&Some(*position))
    });
    for (number, (_, layer)) in hidden.enumerate() {
        layer.name = format!("fc{}", number + 6);
    }
}

/// The fully connected layer that `value` comes from, with nothing but element-wise layers between.
fn gemm_behind(graph: &Graph, value: u32) -> Option<usize> {
    let position = (value as usize).checked_sub(1)?;
    let layer = graph.layers.get(position)?;
    match (&layer.op, &layer.inputs[..]) {
        (Op::Gemm(_), _) => Some(position),
        (Op::Softmax | Op::Affine(_), [input]) => gemm_behind(graph, *input),
        _ => None,
    }
}
