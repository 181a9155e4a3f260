//! What a network costs to run: the figures behind the tables of `compile` and `inspect`.

use serde::Serialize;

use crate::graph::{Contents, DetectionMethod, Graph, Layer, Op, Regions, Section};
use crate::{Error, Shape};

/// Height and width of the blob that the trunk reads: of a 4:3 photo at the manifest's first scale, or of a warped region.
pub fn nominal_size(contents: &Contents) -> (usize, usize) {
    match (&contents.regions, nominal_blobs(contents).first()) {
        (Regions::RoiPooling(_), Some(&[height, width])) => (height, width),
        (Regions::RoiPooling(_), None) => (1, 1),
        (Regions::Warp(warp), _) => (warp.side as usize, warp.side as usize),
    }
}

/// Height and width of the blobs of a 4:3 photo, one for each of the manifest's scales; of R-CNN, which reads photos as they
/// are, those of one of 480 x 640.
pub fn nominal_blobs(contents: &Contents) -> Vec<[usize; 2]> {
    let Regions::RoiPooling(_) = contents.regions else { return vec![[480, 640]] };
    let long_limit = contents.manifest.max_long_side as usize;
    let blob = |&short: &u32| {
        let short = short as usize;
        let long = short * 4 / 3;
        if long > long_limit {
            [(long_limit * 3 / 4).max(1), long_limit]
        } else {
            [short.max(1), long.max(1)]
        }
    };
    contents.manifest.scales.iter().map(blob).collect()
}

/// One layer's cost.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCost {
    /// `trunk` or `head`.
    pub graph: &'static str,
    /// The layer.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// `HxWxC` of a map, or the number of features; of the head, for one RoI.
    pub output: String,
    /// Values in its weights and bias.
    pub parameters: u64,
    /// Bytes of them.
    pub weight_bytes: u64,
    /// Multiply-accumulates: of the trunk for one blob, of the head for one RoI.
    pub macs: u64,
    /// Bytes of its output: of the trunk for one blob, of the head for one RoI.
    pub activation_bytes: u64,
}

/// A whole network's cost at one blob size.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkCost {
    /// Which system it is: R-CNN has a blob for each RoI, the others have one for the image.
    pub method: DetectionMethod,
    /// Rows and columns of the blob.
    pub blob: [usize; 2],
    /// In the order in which they run.
    pub layers: Vec<LayerCost>,
    /// Values in all weights.
    pub parameters: u64,
    /// Bytes of them.
    pub weight_bytes: u64,
    /// Multiply-accumulates of the trunk for one blob.
    pub trunk_macs: u64,
    /// Multiply-accumulates of the head for one RoI.
    pub head_macs_per_roi: u64,
    /// Largest sum of values alive at once while the trunk runs, weights not counted.
    pub trunk_peak_bytes: u64,
    /// The same for the head, for one RoI.
    pub head_peak_bytes_per_roi: u64,
}

impl NetworkCost {
    /// The cost of running `contents` on a blob of `height` x `width`.
    pub fn new(contents: &Contents, height: usize, width: usize) -> Result<NetworkCost, Error> {
        let trunk_shapes = shapes(&contents.trunk, Shape::Map { height, width, channels: 3 })?;
        let map = contents.trunk.outputs.first().and_then(|&value| trunk_shapes.get(value as usize));
        let region = contents.region_shape(map.copied().unwrap_or(Shape::Flat { features: 0 }));
        let head_shapes = shapes(&contents.head, region)?;

        let mut layers = Vec::new();
        for (graph, which, shapes) in
            [(&contents.trunk, "trunk", &trunk_shapes), (&contents.head, "head", &head_shapes)]
        {
            for (layer, output) in graph.layers.iter().zip(shapes.iter().skip(1)) {
                layers.push(layer_cost(contents, which, layer, *output));
            }
        }
        let total = |graph: &str, of: fn(&LayerCost) -> u64| {
            sum(layers.iter().filter(|l| graph.is_empty() || l.graph == graph).map(of))
        };
        Ok(NetworkCost {
            method: contents.method(),
            blob: [height, width],
            parameters: total("", |l| l.parameters),
            weight_bytes: total("", |l| l.weight_bytes),
            trunk_macs: total("trunk", |l| l.macs),
            head_macs_per_roi: total("head", |l| l.macs),
            trunk_peak_bytes: peak_bytes(&contents.trunk, &trunk_shapes),
            head_peak_bytes_per_roi: peak_bytes(&contents.head, &head_shapes),
            layers,
        })
    }
}

/// Of a file that lies, sums may be more than there are numbers.
pub(crate) fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

pub(crate) fn shapes(graph: &Graph, input: Shape) -> Result<Vec<Shape>, Error> {
    graph.infer(input).map_err(|(_, problem)| Error::Network(problem))
}

fn layer_cost(contents: &Contents, graph: &'static str, layer: &Layer, output: Shape) -> LayerCost {
    let sections = || layer.op.sections().filter_map(|id| contents.sections.get(id as usize));
    let weight_bytes = sum(sections().map(|s| s.bytes));
    let values = output.len() as u64;
    let macs = match &layer.op {
        Op::Conv(c) => {
            let taps = u64::from(c.kernel[0]) * u64::from(c.kernel[1]);
            values.saturating_mul(taps).saturating_mul(u64::from(c.in_channels / c.group.max(1)))
        }
        Op::Gemm(g) => values.saturating_mul(u64::from(g.in_features)),
        Op::Affine(_) => values,
        _ => 0,
    };
    LayerCost {
        graph,
        name: layer.name.clone(),
        op: layer.op.name(),
        output: output.to_string(),
        parameters: sum(sections().filter_map(Section::values)),
        weight_bytes,
        macs,
        activation_bytes: output.bytes(),
    }
}

/// A value lives from the layer that makes it to the last one that reads it.
fn peak_bytes(graph: &Graph, shapes: &[Shape]) -> u64 {
    let last_uses = last_uses(graph);
    let bytes = |value: usize| shapes.get(value).map_or(0, Shape::bytes);
    // The values whose last reader is each layer.
    let mut done: Vec<Vec<usize>> = vec![Vec::new(); graph.layers.len() + 1];
    for (value, &last) in last_uses.iter().enumerate() {
        if let Some(done) = done.get_mut(last) {
            done.push(value);
        }
    }
    let (mut alive, mut peak) = (bytes(0), 0u64);
    for (step, done) in done.iter().enumerate().take(graph.layers.len()) {
        alive = alive.saturating_add(bytes(step + 1));
        peak = peak.max(alive);
        // A value that nobody reads goes with the layer that made it.
        alive = done.iter().fold(alive, |alive, &value| alive.saturating_sub(bytes(value)));
    }
    peak
}

/// For each value the last layer that reads it: its maker's position where there is none, one past all layers for
/// an output.
pub(crate) fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last: Vec<usize> = (0..=graph.layers.len()).map(|value| value.saturating_sub(1)).collect();
    for (position, layer) in graph.layers.iter().enumerate() {
        for &input in &layer.inputs {
            if let Some(last) = last.get_mut(input as usize) {
                *last = (*last).max(position);
            }
        }
    }
    for &output in &graph.outputs {
        if let Some(last) = last.get_mut(output as usize) {
            *last = graph.layers.len();
        }
    }
    last
}
