//! What a network costs to run: the figures behind the tables of `compile` and `inspect`.

use frcnn_bundle::{Contents, DetectionMethod, Error, Graph, Layer, Op, Section, Shape};
use serde::Serialize;

use super::{outputs, shapes, sum};

/// One layer's cost.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCost {
    /// `trunk`, `head`, `rpn` or `judge`.
    pub graph: &'static str,
    /// The layer.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// `HxWxC` of a map, or the number of features; of the head, for one RoI; of the RPN, for the first map.
    pub output: String,
    /// Values in its weights and bias.
    pub parameters: u64,
    /// Bytes of them.
    pub weight_bytes: u64,
    /// Multiply-accumulates: of the trunk for one blob, of the head for one RoI, of the RPN for the first map.
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
    /// Multiply-accumulates of the RPN for all maps of one blob; 0 where there is none.
    pub rpn_macs: u64,
    /// Multiply-accumulates of the cascade's judge for one RoI; 0 where there is none.
    pub judge_macs_per_roi: u64,
    /// Largest sum of values alive at once while the trunk runs, weights not counted.
    pub trunk_peak_bytes: u64,
    /// The same for the head, for one RoI.
    pub head_peak_bytes_per_roi: u64,
}

impl NetworkCost {
    /// The cost of running `contents` on a blob of `height` x `width`.
    pub fn new(contents: &Contents, height: usize, width: usize) -> Result<NetworkCost, Error> {
        let trunk_shapes = shapes(&contents.trunk, Shape::Map { height, width, channels: 3 })?;
        let maps = outputs(&contents.trunk, &trunk_shapes);
        let map = maps.first().copied().unwrap_or(Shape::Flat { features: 0 });
        let region = contents.region_shape(map);
        let head_shapes = shapes(&contents.head, region)?;

        let mut layers = Vec::new();
        for (which, graph) in contents.graphs() {
            let shapes = match which {
                "trunk" => trunk_shapes.clone(),
                "head" => head_shapes.clone(),
                "rpn" => shapes(graph, map)?,
                _ => shapes(graph, region)?,
            };
            for (layer, output) in graph.layers.iter().zip(shapes.iter().skip(1)) {
                layers.push(layer_cost(contents, which, layer, *output));
            }
        }
        let mut rpn_macs = 0u64;
        for (rpn, &map) in contents.rpn.iter().flat_map(|rpn| maps.iter().map(move |map| (rpn, map))) {
            let shapes = shapes(&rpn.graph, map)?;
            let layers = rpn.graph.layers.iter().zip(shapes.iter().skip(1));
            let costs = layers.map(|(layer, output)| layer_cost(contents, "rpn", layer, *output).macs);
            rpn_macs = rpn_macs.saturating_add(sum(costs));
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
            rpn_macs,
            judge_macs_per_roi: total("judge", |l| l.macs),
            trunk_peak_bytes: peak_bytes(&contents.trunk, &trunk_shapes),
            head_peak_bytes_per_roi: peak_bytes(&contents.head, &head_shapes),
            layers,
        })
    }
}

fn layer_cost(contents: &Contents, graph: &'static str, layer: &Layer, output: Shape) -> LayerCost {
    let sections = || layer.op.sections().filter_map(|id| contents.sections.get(id as usize));
    let scales = |section: &Section| contents.sections.get(section.int8?.scales as usize);
    let weight_bytes = sum(sections().chain(sections().filter_map(scales)).map(|s| s.bytes));
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

/// Bytes of the values that are alive together: each from the layer that makes it to the last one that reads it.
fn peak_bytes(graph: &Graph, shapes: &[Shape]) -> u64 {
    let bytes = |value: u32| shapes.get(value as usize).map_or(0, Shape::bytes);
    let (mut alive, mut peak) = (bytes(0), 0u64);
    for (made, done) in (1..).zip(graph.last_read()) {
        alive = alive.saturating_add(bytes(made));
        peak = peak.max(alive);
        // A value that nobody reads goes with the layer that made it.
        alive = done.into_iter().fold(alive, |alive, value| alive.saturating_sub(bytes(value)));
    }
    peak
}
