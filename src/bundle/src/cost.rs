//! What a network costs to run: the figures behind the tables of `compile` and `inspect`.

use serde::Serialize;

use crate::graph::{Contents, Graph, Layer, Method, Op, Regions, Section};
use crate::{Error, Shape};

/// Height and width of the blob that the trunk reads: of a 4:3 photo at the manifest's first scale, or of a warped region.
pub fn nominal_size(contents: &Contents) -> (usize, usize) {
    if let Regions::Warp(warp) = contents.regions {
        return (warp.side as usize, warp.side as usize);
    }
    let manifest = &contents.manifest;
    let short = manifest.scales.first().copied().unwrap_or(600) as usize;
    let long_limit = manifest.max_long_side as usize;
    let long = short * 4 / 3;
    if long > long_limit { ((long_limit * 3 / 4).max(1), long_limit) } else { (short.max(1), long.max(1)) }
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
    pub method: Method,
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
        let sum = |graph: &str, of: fn(&LayerCost) -> u64| {
            layers.iter().filter(|l| graph.is_empty() || l.graph == graph).map(of).sum()
        };
        Ok(NetworkCost {
            method: contents.method(),
            blob: [height, width],
            parameters: sum("", |l| l.parameters),
            weight_bytes: sum("", |l| l.weight_bytes),
            trunk_macs: sum("trunk", |l| l.macs),
            head_macs_per_roi: sum("head", |l| l.macs),
            trunk_peak_bytes: peak_bytes(&contents.trunk, &trunk_shapes),
            head_peak_bytes_per_roi: peak_bytes(&contents.head, &head_shapes),
            layers,
        })
    }
}

fn shapes(graph: &Graph, input: Shape) -> Result<Vec<Shape>, Error> {
    graph.infer(input).map_err(|(_, problem)| Error::Network(problem))
}

fn layer_cost(contents: &Contents, graph: &'static str, layer: &Layer, output: Shape) -> LayerCost {
    let sections = || layer.op.sections().filter_map(|id| contents.sections.get(id as usize));
    let weight_bytes = sections().map(|s| s.bytes).sum();
    let values = output.len() as u64;
    let macs = match &layer.op {
        Op::Conv(c) => {
            values
                * u64::from(c.kernel[0])
                * u64::from(c.kernel[1])
                * u64::from(c.in_channels / c.group.max(1))
        }
        Op::Gemm(g) => values * u64::from(g.in_features),
        Op::Affine(_) => values,
        _ => 0,
    };
    LayerCost {
        graph,
        name: layer.name.clone(),
        op: layer.op.name(),
        output: output.to_string(),
        parameters: sections().filter_map(Section::values).sum(),
        weight_bytes,
        macs,
        activation_bytes: values * 4,
    }
}

/// A value lives from the layer that makes it to the last one that reads it.
fn peak_bytes(graph: &Graph, shapes: &[Shape]) -> u64 {
    let last_use = |value: usize| {
        if graph.outputs.contains(&(value as u32)) {
            return graph.layers.len();
        }
        graph.layers.iter().rposition(|l| l.inputs.contains(&(value as u32))).unwrap_or(0)
    };
    let last_uses: Vec<usize> = (0..shapes.len()).map(last_use).collect();
    (0..graph.layers.len())
        .map(|step| {
            let alive = (0..=step + 1).filter(|&value| value == step + 1 || last_uses[value] >= step);
            alive.map(|value| shapes[value].len() as u64 * 4).sum()
        })
        .max()
        .unwrap_or(0)
}
