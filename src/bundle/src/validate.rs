//! Whether a contents record describes a detector that can be run: checked once, then relied on.

use crate::graph::{Contents, Graph, Layer, Op, Precision, Regions, SectionId};
use crate::{Cascade, Error, Rpn, Scores, Shape, int8};

/// No manifest may ask for more detections per image than this.
pub const MAX_DETECTIONS: usize = 512;
/// Longest blob side.
pub(crate) const MAX_SIDE: u32 = 20_000;
pub(crate) const MAX_CLASSES: usize = 10_000;
pub(crate) const MAX_POOLED: u32 = 64;
/// Bytes of the name of a layer, a class, a section, the model, the compiler or the board.
const MAX_NAME: usize = 1_000;
/// Of pooling, or maps of a pyramid.
pub(crate) const MAX_LEVELS: usize = 16;
/// Kernels, strides, dilations and pads beyond this make no sense and could overflow sizes.
const MAX_WINDOW: u32 = 1_024;
/// Channels or features of one value.
pub(crate) const MAX_CHANNELS: usize = 1 << 24;
/// The side of a convolution's kernel. The largest of published networks is 61.
const MAX_KERNEL: u32 = 128;

pub(crate) fn contents(contents: &Contents) -> Result<(), Error> {
    contents.manifest.check().map_err(Error::Manifest)?;
    if contents.blob_means.iter().any(|mean| !mean.is_finite()) {
        return Err(Error::Manifest("the means to subtract must be numbers".to_string()));
    }
    regions(&contents.regions).map_err(Error::Network)?;
    maps(contents).map_err(Error::Network)?;
    let names = contents.sections.iter().map(|s| &s.name).chain(&contents.manifest.classes);
    let layers = contents.layers().map(|layer| &layer.name);
    let others = [&contents.manifest.name, &contents.origin.compiler];
    let others = others
        .into_iter()
        .chain(&contents.board)
        .chain(contents.factored.iter().map(|factored| &factored.layer));
    if let Some(name) = names.chain(layers).chain(others).find(|name| name.len() > MAX_NAME) {
        return Err(Error::Network(format!("a name of {} bytes is longer than {MAX_NAME}", name.len())));
    }
    // Each has become two of them.
    if contents.factored.len() > contents.head.layers.len() {
        let (factored, layers) = (contents.factored.len(), contents.head.layers.len());
        return Err(Error::Network(format!(
            "{factored} layers are said to be factored, and the head has {layers}"
        )));
    }
    for section in &contents.sections {
        if !section.length_fits() {
            let (shape, values) = (&section.shape, section.precision.name());
            let problem = format!("of shape {shape:?} in {values} cannot be {} bytes", section.bytes);
            return Err(Error::Section { name: section.name.clone(), problem });
        }
        int8::check_section(section, &contents.sections)
            .map_err(|problem| Error::Section { name: section.name.clone(), problem })?;
    }
    for (which, graph) in contents.graphs() {
        for layer in &graph.layers {
            check_layer(layer, contents).map_err(|problem| Error::Layer {
                graph: which,
                layer: layer.name.clone(),
                problem,
            })?;
        }
        if graph.outputs.iter().any(|&value| value as usize > graph.layers.len()) {
            return Err(Error::Network(format!("the {which} gives a value that no layer makes")));
        }
    }
    check_ends(contents)
}

fn regions(regions: &Regions) -> Result<(), String> {
    match regions {
        Regions::RoiAlign(align) => align.check()?,
        Regions::RoiPooling(pooling) => {
            let (levels, scale) = (&pooling.pooled, pooling.spatial_scale);
            if !(1..=MAX_LEVELS).contains(&levels.len()) {
                return Err(format!(
                    "{} levels of RoI pooling are not within 1 to {MAX_LEVELS}",
                    levels.len()
                ));
            }
            if !levels.iter().flatten().all(|p| (1..=MAX_POOLED).contains(p)) {
                return Err(format!("pooled shape {levels:?} is not within 1 to {MAX_POOLED}"));
            }
            if !(scale > 0.0 && scale <= 1.0) {
                return Err(format!("spatial scale {scale} is not in (0, 1]"));
            }
        }
        Regions::Warp(warp) => {
            if !(1..=MAX_WINDOW).contains(&warp.side) || warp.context >= warp.side.div_ceil(2) {
                return Err(format!(
                    "a crop of {} pixels a side, {} of them context on each side, makes no sense",
                    warp.side, warp.context
                ));
            }
        }
    }
    Ok(())
}

/// The trunk gives as many maps as are read, and the method is one that there is.
fn maps(contents: &Contents) -> Result<(), String> {
    let Contents { trunk, regions, rpn, manifest, .. } = contents;
    let (given, pooled) = (trunk.outputs.len(), contents.pooled_maps());
    if given < pooled || given > pooled && rpn.is_none() {
        let s = if pooled == 1 { "" } else { "s" };
        return Err(format!("the trunk gives {given} feature maps, and {pooled} map{s} are read"));
    }
    if given > MAX_LEVELS {
        return Err(format!("the trunk gives {given} feature maps, more than {MAX_LEVELS}"));
    }
    if trunk
        .outputs
        .iter()
        .enumerate()
        .any(|(at, value)| trunk.outputs.iter().skip(at + 1).any(|v| v == value))
    {
        return Err("the trunk gives a feature map twice".to_string());
    }
    if manifest.scales.len() > 1 {
        let other = match regions {
            Regions::RoiAlign(_) => "RoIAlign, which has a level of its own for each region",
            _ if rpn.is_some() => "an RPN, which would propose boxes at each scale",
            _ => return Ok(()),
        };
        return Err(format!("{} image scales do not go with {other}", manifest.scales.len()));
    }
    let Some(rpn) = rpn else { return Ok(()) };
    match regions {
        Regions::Warp(_) => {
            return Err("an RPN reads the maps of an image, and an R-CNN has none".to_string());
        }
        Regions::RoiPooling(pooling) if pooling.pooled.len() > 1 => {
            return Err("an RPN does not go with SPPnet's pooling to several levels".to_string());
        }
        _ => {}
    }
    rpn.check(given)
}

/// The graphs fit each other and the manifest.
fn check_ends(contents: &Contents) -> Result<(), Error> {
    // Each scale of a pyramid: a map may be too small for a window at one of them alone.
    if !matches!(contents.regions, Regions::Warp(_)) {
        for [height, width] in crate::nominal_blobs(contents) {
            infer("trunk", &contents.trunk, Shape::Map { height, width, channels: 3 })?;
        }
    }
    let (height, width) = crate::nominal_size(contents);
    let trunk = infer("trunk", &contents.trunk, Shape::Map { height, width, channels: 3 })?;
    let maps = outputs(&contents.trunk, &trunk);
    let Some(&map @ Shape::Map { channels, .. }) = maps.first() else {
        return Err(Error::Network("the trunk does not give a feature map".to_string()));
    };
    let pooled = maps.get(..contents.pooled_maps()).unwrap_or_default();
    if let Some(other) = pooled.iter().find(|other| other.channels() != channels) {
        let other = other.channels();
        return Err(Error::Network(format!(
            "regions are pooled from maps of {channels} and of {other} channels"
        )));
    }
    if let Some(rpn) = &contents.rpn {
        for &map in &maps {
            check_rpn(rpn, map)?;
        }
    }
    let head = infer("head", &contents.head, contents.region_shape(map))?;
    check_scores("head", &contents.head, contents.manifest.scores)?;
    if let Some(cascade) = &contents.cascade {
        check_cascade(cascade, contents, map)?;
    }
    let scores = contents.manifest.classes.len();
    match outputs(&contents.head, &head)[..] {
        [Shape::Flat { features: s }, Shape::Flat { features: b }] if s == scores && b == 4 * scores => {
            Ok(())
        }
        ref other => Err(Error::Network(format!(
            "for {scores} classes the head must give {scores} scores and {} box deltas, and gives [{}]",
            4 * scores,
            other.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The RPN gives of a map a logit and four deltas for each anchor of each of the map's cells.
fn check_rpn(rpn: &Rpn, map: Shape) -> Result<(), Error> {
    let (Shape::Map { height, width, .. }, anchors) = (map, rpn.anchors_per_cell()) else { return Ok(()) };
    let shapes = infer("rpn", &rpn.graph, map)?;
    let expected = [1, 4].map(|each| Shape::Map { height, width, channels: each * anchors });
    let found = outputs(&rpn.graph, &shapes);
    if found == expected {
        return Ok(());
    }
    let list = |shapes: &[Shape]| shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ");
    Err(Error::Network(format!(
        "of a map of {map} the RPN must give [{}], and gives [{}]",
        list(&expected),
        list(&found)
    )))
}

/// The judge reads what the head reads, and gives scores as the head does.
fn check_cascade(cascade: &Cascade, contents: &Contents, map: Shape) -> Result<(), Error> {
    if let Regions::Warp(_) = contents.regions {
        return Err(Error::Network("a cascade is for pooled regions, and an R-CNN has none".to_string()));
    }
    let (judge, kind) = (&cascade.judge, contents.manifest.scores);
    cascade.check(kind).map_err(Error::Network)?;
    let shapes = infer("judge", judge, contents.region_shape(map))?;
    let classes = contents.manifest.classes.len();
    match outputs(judge, &shapes)[..] {
        [Shape::Flat { features }] if features == classes => check_scores("judge", judge, kind),
        ref other => Err(Error::Network(format!(
            "the cascade's judge must give {classes} scores, and gives [{}]",
            other.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Scores that are said to be probabilities come out of a layer that gives such.
fn check_scores(which: &str, graph: &Graph, kind: Scores) -> Result<(), Error> {
    let layer = graph.outputs.first().and_then(|&value| graph.layers.get((value as usize).checked_sub(1)?));
    let gives_probabilities = |op: &Op| match op {
        Op::Softmax | Op::Sigmoid | Op::HardSigmoid { .. } => true,
        Op::Clip { low, high } => *low >= 0.0 && *high <= 1.0,
        _ => false,
    };
    if kind == Scores::Probabilities && !layer.is_some_and(|layer| gives_probabilities(&layer.op)) {
        let made = layer.map_or(format!("the {which}'s input"), |layer| layer.op.name().to_string());
        return Err(Error::Network(format!(
            "the manifest says that scores are probabilities, and they come from {made}, not from a Softmax or Sigmoid"
        )));
    }
    Ok(())
}

fn infer(which: &'static str, graph: &Graph, input: Shape) -> Result<Vec<Shape>, Error> {
    let shapes = graph.infer(input).map_err(|(position, problem)| Error::Layer {
        graph: which,
        layer: graph.layers.get(position).map(|l| l.name.clone()).unwrap_or_default(),
        problem,
    })?;
    // Rows of features are the head's: no map is made of one, and there may be no two frames of one size.
    let row = shapes.iter().position(|shape| matches!(shape, Shape::Flat { .. }));
    if let Some(layer) = row
        .and_then(|value| graph.layers.get(value.checked_sub(1)?))
        .filter(|_| ["trunk", "rpn"].contains(&which))
    {
        let problem = format!("{} makes a row of features, which is for the head", layer.op.name());
        return Err(Error::Layer { graph: which, layer: layer.name.clone(), problem });
    }
    if shapes.iter().any(|s| s.is_empty() || s.channels() > MAX_CHANNELS) {
        return Err(Error::Network(format!("a value of the {which} is empty or has too many channels")));
    }
    Ok(shapes)
}

fn outputs(graph: &Graph, shapes: &[Shape]) -> Vec<Shape> {
    graph.outputs.iter().filter_map(|&value| shapes.get(value as usize).copied()).collect()
}

fn check_layer(layer: &Layer, contents: &Contents) -> Result<(), String> {
    let sections = &contents.sections;
    let within = |what: &str, values: &[u32], low: u32| {
        if values.iter().all(|v| (low..=MAX_WINDOW).contains(v)) {
            Ok(())
        } else {
            Err(format!("{what} {values:?} is not within {low} to {MAX_WINDOW}"))
        }
    };
    let weight = |id: SectionId, shape: &[u32]| match sections.get(id as usize) {
        None => Err(format!("its weights are section {id} of {}", sections.len())),
        Some(section) if section.shape != shape => {
            Err(format!("its weights `{}` have shape {:?}, not {shape:?}", section.name, section.shape))
        }
        Some(section) if section.precision == Precision::F32 || layer.op.reducible_weight() == Some(id) => {
            Ok(())
        }
        Some(section) => {
            Err(format!("its weights `{}` are {}, not f32", section.name, section.precision.name()))
        }
    };
    let numbers = |values: &[f32]| {
        if values.iter().any(|v| !v.is_finite()) {
            Err("an attribute is not a finite number".to_string())
        } else {
            Ok(())
        }
    };
    match &layer.op {
        Op::Conv(conv) => {
            within("kernel", &conv.kernel, 1)?;
            if conv.kernel.iter().any(|&side| side > MAX_KERNEL) {
                return Err(format!("kernel {:?} is not within 1 to {MAX_KERNEL}", conv.kernel));
            }
            within("stride", &conv.stride, 1)?;
            within("dilation", &conv.dilation, 1)?;
            within("pads", &conv.pads, 0)?;
            let (group, channels) = (conv.group, [conv.in_channels, conv.out_channels]);
            if group == 0 || channels.iter().any(|c| c % group != 0 || *c == 0) {
                return Err(format!("channels {channels:?} cannot be split into {group} groups"));
            }
            let [kh, kw] = conv.kernel;
            weight(conv.weight, &[kh, kw, conv.in_channels / group, conv.out_channels])?;
            conv.bias.map_or(Ok(()), |id| weight(id, &[conv.out_channels]))
        }
        Op::MaxPool(pool) | Op::AveragePool { pool, .. } => {
            within("kernel", &pool.kernel, 1)?;
            within("stride", &pool.stride, 1)?;
            within("pads", &pool.pads, 0)?;
            let [kh, kw] = pool.kernel;
            let [top, left, bottom, right] = pool.pads;
            if top.max(bottom) >= kh || left.max(right) >= kw {
                return Err("a window could lie wholly in the padding".to_string());
            }
            Ok(())
        }
        Op::Gemm(gemm) => {
            weight(gemm.weight, &[gemm.in_features, gemm.out_features])?;
            gemm.bias.map_or(Ok(()), |id| weight(id, &[gemm.out_features]))
        }
        Op::Affine(affine) => {
            weight(affine.scale, &[affine.channels])?;
            weight(affine.shift, &[affine.channels])
        }
        Op::Lrn { size, alpha, beta, k } => {
            within("size", &[*size], 1)?;
            numbers(&[*alpha, *beta, *k])
        }
        Op::LeakyRelu { alpha } => numbers(&[*alpha]),
        Op::Clip { low, high } if low.is_nan() || high.is_nan() => Err("a bound is not a number".to_string()),
        Op::Clip { .. } => Ok(()),
        Op::HardSigmoid { alpha, beta } => numbers(&[*alpha, *beta]),
        Op::GlobalAveragePool
        | Op::Relu
        | Op::Sigmoid
        | Op::HardSwish
        | Op::Concat
        | Op::Add
        | Op::Mul
        | Op::Flatten
        | Op::Softmax
        | Op::Upsample => Ok(()),
    }
}

#[cfg(test)]
mod tests;
