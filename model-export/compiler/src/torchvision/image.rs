//! `GeneralizedRCNNTransform`: how the export makes the blob of an image.
//!
//! A bundle does as the model in PyTorch does, which computes the scale in f64. Files compute it in f32 (`torch.onnx.export` traces), by
//! which a side of some images is a pixel longer or shorter when such a file is run as it is.

use std::collections::HashSet;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::Tensor;

use crate::constants::floats;
use crate::error::Problem;
use crate::onnx::Attributes;
use crate::view::{View, axis, input, not_understood, output};

/// What networks are made of. Everything else stands before one, between its parts or behind it.
const NETWORK: [&str; 22] = [
    "Conv",
    "BatchNormalization",
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "LRN",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Concat",
    "Resize",
    "Identity",
    "Dropout",
    "Cast",
];

/// What is done to an image.
pub(super) struct Image {
    pub(super) means: [f32; 3],
    pub(super) stds: [f32; 3],
    /// The short side becomes this,
    pub(super) min_size: u32,
    /// unless the long one would get longer than this.
    pub(super) max_size: u32,
    pub(super) pad_multiple: u32,
}

/// The value that the network's first layers read: the one that all of `maps` come from.
pub(super) fn blob<'a>(view: &View<'a>, maps: &[&'a str]) -> Result<&'a str, Problem> {
    let images: HashSet<&str> = view.graph.input.iter().map(|image| image.name.as_str()).collect();
    let (mut seen, mut open, mut found) = (HashSet::new(), maps.to_vec(), Vec::new());
    while let Some(value) = open.pop() {
        if !seen.insert(value) || view.is_stored(value) && !images.contains(value) {
            continue;
        }
        match view.maker(value).filter(|node| is_layer(node)) {
            // The rest of a Resize says which size it makes.
            Some(node) if node.op_type == "Resize" => open.push(input(node, 0)),
            Some(node) => open.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty())),
            None => found.push(value),
        }
    }
    let reads_image = |node: &NodeProto| node.input.iter().any(|read| images.contains(read.as_str()));
    found.retain(|value| {
        let upstream = view.ancestors(std::slice::from_ref(value), &|_| false);
        images.contains(value) || upstream.into_iter().any(reads_image)
    });
    match found[..] {
        [blob] => Ok(blob),
        _ => {
            // The blob is one of them, and what is no layer depends on it.
            let nodes = view.ancestors(&found, &|_| false);
            let mut ends = nodes.into_iter().filter(|node| found.contains(&output(node)));
            let first = ends.next();
            let first = ends.next().or(first);
            Err(match first {
                Some(node) => {
                    not_understood(node, "it is no layer of a network, and the feature maps depend on it")
                }
                None => Problem::Inputs("the feature maps do not come from one image".to_string()),
            })
        }
    }
}

fn is_layer(node: &NodeProto) -> bool {
    let op = &*node.op_type;
    NETWORK.contains(&op) && (op != "Concat" || axis(node) == 1)
}

impl Image {
    /// Reads what lies between an image and `blob`.
    pub(super) fn of<'a>(view: &View<'a>, blob: &'a str) -> Result<Image, Problem> {
        let batch = view.made_by(blob, &["Concat", "Unsqueeze"], "a batch of padded images")?;
        if batch.op_type == "Concat" && batch.input.len() != 1 {
            return Err(not_understood(batch, "the model was exported with several images; give it one"));
        }
        let padded = view.behind(blob, &["Concat", "Unsqueeze"]);
        let pad = view.made_by(padded, &["Pad"], "an image that is padded to a multiple of pixels")?;
        if Attributes(pad).string("mode")?.is_some_and(|mode| mode != "constant")
            || !input(pad, 2).is_empty() && view.number(input(pad, 2)) != Some(0.0)
        {
            return Err(not_understood(pad, "it does not pad with zeros"));
        }
        let pad_multiple = multiple(view, pad)?;
        let resized = view.behind(input(pad, 0), &["Gather", "Squeeze", "Identity", "Cast"]);
        let resize = view.made_by(resized, &["Resize"], "an image that is resized")?;
        check_bilinear(resize)?;
        let [min_size, max_size] = sizes(view, resize)?;
        let normalised = view.behind(input(resize, 0), &["Unsqueeze", "Identity", "Cast"]);
        let div = view.made_by(normalised, &["Div"], "an image over its deviations")?;
        let sub = view.made_by(input(div, 0), &["Sub"], "an image less its means")?;
        // Of a batch of one image, that image.
        let given = view.behind(input(sub, 0), &["Squeeze", "Split", "Gather", "Identity"]);
        if !view.graph.input.iter().any(|image| image.name == given) {
            return Err(not_understood(sub, "it does not read the image as it is given"));
        }
        let (means, stds) = (per_channel(view, sub)?, per_channel(view, div)?);
        Ok(Image { means, stds, min_size, max_size, pad_multiple })
    }
}

fn per_channel(view: &View, node: &NodeProto) -> Result<[f32; 3], Problem> {
    let three = |tensor: &Tensor| floats(tensor).and_then(|values| <[f32; 3]>::try_from(values).ok());
    let values = view.constant(input(node, 1)).and_then(|tensor| three(&tensor));
    values.ok_or_else(|| not_understood(node, "it has no constant for each of three channels"))
}

/// All sides are rounded up to a multiple of one number.
fn multiple<'a>(view: &View<'a>, pad: &'a NodeProto) -> Result<u32, Problem> {
    let upstream = view.ancestors(&[input(pad, 1)], &|node| node.op_type == "Resize");
    let mut found = None;
    for ceil in upstream.into_iter().filter(|node| node.op_type == "Ceil") {
        let divided = view.made_by(input(ceil, 0), &["Div"], "a side over a number of pixels")?;
        let divisor = view.number(input(divided, 1));
        let same = found.is_none() || found == divisor;
        found = divisor.filter(|_| same);
        if found.is_none() {
            return Err(not_understood(ceil, "sides are not rounded up to multiples of one number"));
        }
    }
    let whole = found.filter(|pixels| pixels.fract() == 0.0 && (1.0..=1024.0).contains(pixels));
    whole
        .map(|pixels| pixels as u32)
        .ok_or_else(|| not_understood(pad, "it does not pad to a multiple of pixels"))
}

fn check_bilinear(resize: &NodeProto) -> Result<(), Problem> {
    let at = Attributes(resize);
    let centres = at.string("coordinate_transformation_mode")?.unwrap_or("half_pixel");
    let bilinear = at.string("mode")? == Some("linear")
        && ["half_pixel", "pytorch_half_pixel"].contains(&centres)
        && at.int("antialias", 0)? == 0;
    if bilinear { Ok(()) } else { Err(not_understood(resize, "it is not bilinear with half-pixel centres")) }
}

/// The smaller one of two scales: that of the short side, and that of the long one.
fn sizes<'a>(view: &View<'a>, resize: &'a NodeProto) -> Result<[u32; 2], Problem> {
    let fixed =
        || not_understood(resize, "its size does not follow from the image's: `fixed_size` is not supported");
    let size = resize.input.get(3).filter(|size| !size.is_empty()).ok_or_else(fixed)?;
    let upstream = view.ancestors(&[size.as_str()], &|node| node.op_type == "Resize");
    let mins: Vec<&NodeProto> = upstream.iter().copied().filter(|node| node.op_type == "Min").collect();
    let [min] = mins[..] else { return Err(fixed()) };
    if !upstream.iter().any(|node| node.op_type == "Floor") {
        return Err(not_understood(resize, "its size is not rounded down"));
    }
    let mut found = [None; 2];
    for scale in &min.input {
        let (side, size) = scale_of(view, scale)?;
        let place = if side.op_type == "ReduceMin" { 0 } else { 1 };
        found[place] = (size.fract() == 0.0 && (1.0..=20_000.0).contains(&size)).then_some(size as u32);
    }
    match found {
        [Some(short), Some(long)] => Ok([short, long]),
        _ => {
            Err(not_understood(min, "it is not the smaller one of the scales of the short and the long side"))
        }
    }
}

/// A length over a side of the image: which side, and the length.
fn scale_of<'a>(view: &View<'a>, scale: &'a str) -> Result<(&'a NodeProto, f32), Problem> {
    let of_side = |value: &'a str| {
        let side = view.behind(value, &["Cast", "Identity"]);
        view.made_by(side, &["ReduceMin", "ReduceMax"], "the image's short or long side")
    };
    let scale = view.behind(scale, &["Cast", "Identity"]);
    let node = view.made_by(scale, &["Mul", "Div"], "a length over a side of the image")?;
    if node.op_type == "Div" {
        let size = view.number(input(node, 0));
        let size = size.ok_or_else(|| not_understood(node, "it does not divide a length"))?;
        return Ok((of_side(input(node, 1))?, size));
    }
    let (inverse, size) =
        view.with_number(node).ok_or_else(|| not_understood(node, "it does not scale a side to a length"))?;
    let inverse = view.made_by(inverse, &["Reciprocal"], "one over a side of the image")?;
    Ok((of_side(input(inverse, 0))?, size))
}
