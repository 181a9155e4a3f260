//! A whole Fast R-CNN, or SPPnet, from its two halves: which output is which, and the published names.

use frcnn_bundle::{Contents, Gemm, Graph, Layer, Manifest, Op, Origin, Regions, RoiPooling, Rpn, Scores};

use crate::description::Description;
use crate::error::Problem;
use crate::limits;
use crate::lower::{Computed, Kind, Lowered, Lowering, Order};
use crate::onnx::Attributes;
use crate::prepare::Plain;
use crate::report::AssumedInput;
use crate::rpn::Rules;
use crate::split::{Pooling, Split};
use crate::torchvision::Detector;
use crate::weights::name_sections;

/// A lowered detector, its weights still apart.
pub(crate) struct LoweredNetwork {
    pub(crate) contents: Contents,
    /// Names by which a user may mean each layer of the head.
    pub(crate) aliases: Vec<Vec<String>>,
    /// The levels of RoI pooling in the model's order.
    pub(crate) levels: Vec<[u32; 2]>,
    /// What became of what the manifest says of the image.
    pub(crate) input: AssumedInput,
    /// Whether the model's first output is the class scores.
    pub(crate) scores_first: bool,
    /// Whether the model leaves the softmax to its reader; the head has it in any case.
    pub(crate) softmax_added: bool,
}

/// Lowers both halves of a model and joins them; the weights stay in `lowering`.
pub(crate) fn lower<'a>(
    split: &Split<'a>,
    lowering: &mut Lowering<'a>,
    said: &Said,
    origin: Origin,
) -> Result<LoweredNetwork, Problem> {
    said.description.check_rules(split.rpn.is_some(), said.detector)?;
    let image = Kind::Map { size: None, channels: 3 };
    let mut trunk = lowering.graph(&split.trunk, &[(split.data, image)], 1, &split.maps)?;
    let channels = channels(&trunk, split)?;
    let pooled = pooled(split, channels)?;
    let rpn = lower_rpn(split, lowering, channels, said)?;
    let regions = |(level, (name, map)): (usize, &(&'a str, [usize; 3]))| match (*map, pooled.len()) {
        ([height, width, channels], 1) => (*name, Kind::Map { size: Some([height, width]), channels }),
        (map, _) => (*name, Kind::Level { level, map, rank: 4 }),
    };
    let regions: Vec<(&str, Kind)> = pooled.iter().enumerate().map(regions).collect();
    let mut head = lowering.graph(&split.head, &regions, 0, &split.outputs)?;
    let sides = |&[height, width, _]: &[usize; 3]| [height as u32, width as u32];
    let levels: Vec<[u32; 2]> = pooled.iter().map(|(_, map)| sides(map)).collect();
    let regions = match &split.pooling {
        Pooling::Align { align, .. } => Regions::RoiAlign(align.clone()),
        Pooling::Max(nodes) => Regions::RoiPooling(RoiPooling {
            // With one there was nothing to join.
            pooled: if levels.len() == 1 { levels.clone() } else { head.levels.iter().map(sides).collect() },
            spatial_scale: match nodes.first() {
                Some(&node) => Attributes(node).float("spatial_scale", 1.0)?,
                None => 1.0,
            },
        }),
    };

    let (scores_first, scores) = order_outputs(&mut head)?;
    let manifest = said.manifest(scores)?;
    check_classes(scores, &manifest)?;
    let softmax_added = end_in_softmax(&mut head, manifest.scores)?;
    name_layers(&mut head.graph);
    let (blob_means, input) = crate::input::fold(&mut trunk.graph, &mut lowering.weights, &manifest);
    for graph in [&trunk.graph, &head.graph].into_iter().chain(rpn.iter().map(|rpn| &rpn.graph)) {
        name_sections(graph, &mut lowering.weights);
    }
    let contents = Contents {
        manifest,
        blob_means,
        trunk: trunk.graph,
        regions,
        head: head.graph,
        sections: Vec::new(),
        factored: Vec::new(),
        origin,
        board: None,
        cascade: None,
        rpn,
    };
    Ok(LoweredNetwork { contents, aliases: head.aliases, levels, input, scores_first, softmax_added })
}

/// What is said of a model, in its file and beside it.
pub(crate) struct Said<'a> {
    pub(crate) description: &'a Description,
    pub(crate) detector: Option<&'a Detector>,
    pub(crate) plain: Plain,
}

impl Said<'_> {
    fn manifest(&self, classes: usize) -> Result<Manifest, Problem> {
        let manifest = match self.detector {
            Some(detector) => self.description.of_detector(detector, classes)?,
            None => self.description.manifest()?.clone(),
        };
        self.plain.check(&manifest)?;
        Ok(manifest)
    }

    fn rules(&self) -> Result<&Rules, Problem> {
        self.detector.map_or_else(|| self.description.rules(), |detector| Ok(&detector.rules))
    }
}

/// Channels of the trunk's maps, of which all have the same number.
fn channels(trunk: &Lowered, split: &Split) -> Result<usize, Problem> {
    let mut channels = trunk.outputs.iter().zip(&split.maps).map(|(map, name)| match map.kind {
        Kind::Map { channels, .. } => Ok(channels),
        _ => Err(Problem::Outputs(format!(
            "regions are pooled from `{name}`, which is a row of features, not a map"
        ))),
    });
    let first = channels.next().unwrap_or(Ok(0))?;
    for (other, name) in channels.zip(split.maps.iter().skip(1)) {
        let other = other?;
        if other != first {
            return Err(Problem::Outputs(format!(
                "the map `{name}` has {other} channels, and the first one {first}"
            )));
        }
    }
    Ok(first)
}

/// What the head is given of a region: names of ONNX, `[H, W, C]`.
fn pooled<'a>(split: &Split<'a>, channels: usize) -> Result<Vec<(&'a str, [usize; 3])>, Problem> {
    let check = |[height, width]: [usize; 2]| {
        let features = height.checked_mul(width).and_then(|bins| bins.checked_mul(channels));
        if features.is_some_and(|features| features <= limits::FEATURES) {
            return Ok([height, width, channels]);
        }
        Err(Problem::Limit(format!(
            "a region of {height} x {width} cells of {channels} channels is too large"
        )))
    };
    match &split.pooling {
        Pooling::Align { align, pooled } => {
            Ok(vec![(pooled, check(align.pooled.map(|side| side as usize))?)])
        }
        Pooling::Max(nodes) => {
            let mut pooled = Vec::new();
            for &node in nodes {
                let sides = Attributes(node).sizes::<2>("pooled_shape", 1, [0, 0])?.map(|p| p as usize);
                let map = check(sides)?;
                pooled.extend(node.output.iter().map(|name| (name.as_str(), map)));
            }
            Ok(pooled)
        }
    }
}

fn lower_rpn<'a>(
    split: &Split<'a>,
    lowering: &mut Lowering<'a>,
    channels: usize,
    said: &Said,
) -> Result<Option<Rpn>, Problem> {
    let (Some(part), Some(&map)) = (&split.rpn, split.maps.first()) else { return Ok(None) };
    let map = (map, Kind::Map { size: None, channels });
    let lowered = lowering.graph(&part.nodes, &[map], 1, &part.outputs)?;
    Ok(Some(said.rules()?.with(lowered.graph)))
}

/// Puts the scores first; gives whether they were, and how wide they are.
fn order_outputs(head: &mut Lowered) -> Result<(bool, usize), Problem> {
    let features = |computed: &Computed| match computed.kind {
        Kind::Flat { features, order: Order::AsOnDevice } => Ok(features),
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
        let hint = if boxes == 4 * (scores - scores.min(1)) {
            "; where the background is the last class and has no box, as in detectron2, put its score and four zeros first: see `background_first` of model-export/pytorch"
        } else if scores == 4 {
            "; where all classes share one box, give it once for each of them"
        } else {
            ""
        };
        return Err(Problem::Outputs(format!(
            "they are {a} and {b} wide; a Fast R-CNN gives K+1 class scores and 4(K+1) box deltas{hint}"
        )));
    }
    let scores_first = a == scores;
    if !scores_first {
        head.outputs.reverse();
        head.graph.outputs.reverse();
    }
    Ok((scores_first, scores))
}

/// Whether the manifest names as many classes as the model scores, the background included.
pub(crate) fn check_classes(scores: usize, manifest: &Manifest) -> Result<(), Problem> {
    let classes = manifest.classes.len();
    if classes == scores {
        return Ok(());
    }
    let no_background = manifest.classes.first().is_none_or(|c| !c.contains("background"));
    let hint =
        if classes + 1 == scores && no_background { "; the first class must be the background" } else { "" };
    Err(Problem::Outputs(format!(
        "the model scores {scores} classes (the background included), but the manifest names {classes}{hint}"
    )))
}

/// Appends the softmax that a model leaves to its reader, unless its scores are margins; gives whether it did.
fn end_in_softmax(head: &mut Lowered, kind: Scores) -> Result<bool, Problem> {
    let Some(&scores) = head.graph.outputs.first() else { return Ok(false) };
    match (scores as usize).checked_sub(1).and_then(|position| head.graph.layers.get(position)) {
        Some(Layer { op: Op::Softmax, .. }) if kind == Scores::Margins => Err(Problem::Outputs(
            "the class scores come from a softmax, but the manifest says that they are margins".to_string(),
        )),
        Some(Layer { op: Op::Softmax, .. }) => Ok(false),
        Some(_) if kind == Scores::Margins => Ok(false),
        Some(Layer { op: Op::Gemm(_) | Op::Affine(_) | Op::Flatten, .. }) => {
            head.graph.layers.push(Layer {
                name: "cls_prob".to_string(),
                op: Op::Softmax,
                inputs: vec![scores],
            });
            head.aliases.push(Vec::new());
            if let Some(output) = head.graph.outputs.first_mut() {
                *output = head.graph.layers.len() as u32;
            }
            Ok(true)
        }
        other => Err(Problem::Outputs(format!(
            "the class scores come from {}; a detector ends in a softmax or in plain scores",
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
pub(crate) fn name_layers(head: &mut Graph) {
    let last = output_layers(head);
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

/// The fully connected layers that a head's outputs come from.
pub(crate) fn output_layers(head: &Graph) -> Vec<Option<usize>> {
    head.outputs.iter().map(|&value| gemm_behind(head, value)).collect()
}

/// The fully connected layer that `value` comes from, with nothing but element-wise layers between.
fn gemm_behind(graph: &Graph, mut value: u32) -> Option<usize> {
    // Each layer reads values before its own.
    loop {
        let position = (value as usize).checked_sub(1)?;
        let layer = graph.layers.get(position)?;
        match (&layer.op, &layer.inputs[..]) {
            (Op::Gemm(_), _) => return Some(position),
            (Op::Softmax | Op::Affine(_), [input]) => value = *input,
            _ => return None,
        }
    }
}
