//! What it takes to check a network: known before tract-onnx or this project's own runtime reserves memory for it.

use frcnn_bundle::{Contents, Graph, Op, Pool, Regions, Shape};

use crate::error::Problem;
use crate::limits;

/// A step that is no matrix product takes the time of this many multiply-accumulates.
const SLOW: f64 = 20.0;

/// Sizes of one run of a network; in f64, which no product overflows.
#[derive(Default)]
struct Cost {
    /// Multiply-accumulates, or what takes as long.
    macs: f64,
    /// Most bytes at a time: values that a later layer reads, and the windows of a convolution side by side, as tract lays
    /// them.
    bytes: f64,
}

/// Refuses a network that is too large to be checked on a blob of `height` x `width` with `rois` regions.
pub(crate) fn check(contents: &Contents, [height, width]: [usize; 2], rois: usize) -> Result<(), Problem> {
    let trunk_input = Shape::Map { height, width, channels: 3 };
    let (trunk, map) = of(&contents.trunk, trunk_input)?;
    let (head, _) = of(&contents.head, contents.region_shape(map))?;
    let (trunk_runs, rois) = if matches!(contents.regions, Regions::Warp(_)) {
        (rois as f64, rois as f64)
    } else {
        (1.0, rois as f64)
    };
    let refuse = |what: &str, value: f64, limit: f64| {
        Err(Problem::Limit(format!(
            "running the network once, on {height} x {width} pixels and {rois} RoIs, takes {value:.1e} {what}; the limit \
             is {limit:.0e}"
        )))
    };
    let macs = trunk.macs * trunk_runs + head.macs * rois;
    if macs > limits::CHECK_MACS {
        return refuse("multiply-accumulates", macs, limits::CHECK_MACS);
    }
    // The trunk runs for one blob or crop at a time.
    let bytes = trunk.bytes.max(head.bytes * rois);
    if bytes > limits::CHECK_BYTES {
        return refuse("bytes", bytes, limits::CHECK_BYTES);
    }
    Ok(())
}

/// The cost of one run, and the shape of the first output.
fn of(graph: &Graph, input: Shape) -> Result<(Cost, Shape), Problem> {
    let shapes = graph.infer(input).map_err(|(position, problem)| {
        let layer = graph.layers.get(position).map(|layer| layer.name.clone()).unwrap_or_default();
        Problem::Limit(format!("layer `{layer}`: {problem}"))
    })?;
    let mut last_read: Vec<usize> = vec![0; shapes.len()];
    for (position, layer) in graph.layers.iter().enumerate() {
        for &input in &layer.inputs {
            if let Some(last) = last_read.get_mut(input as usize) {
                *last = position;
            }
        }
    }
    for &output in &graph.outputs {
        if let Some(last) = last_read.get_mut(output as usize) {
            *last = graph.layers.len();
        }
    }
    let mut dead_after: Vec<f64> = vec![0.0; graph.layers.len() + 1];
    for (&shape, &last) in shapes.iter().zip(&last_read) {
        if let Some(dead) = dead_after.get_mut(last) {
            *dead += values(shape);
        }
    }
    let mut cost = Cost::default();
    let mut alive = values(input);
    for ((layer, &output), dead) in graph.layers.iter().zip(shapes.iter().skip(1)).zip(dead_after) {
        let values = values(output);
        let window = |pool: &Pool| f64::from(pool.kernel[0]) * f64::from(pool.kernel[1]);
        let (macs, windows) = match &layer.op {
            Op::Conv(conv) => {
                let taps = f64::from(conv.kernel[0]) * f64::from(conv.kernel[1]);
                let pixels = values / (output.channels() as f64).max(1.0);
                let macs = values * taps * f64::from(conv.in_channels / conv.group.max(1));
                (macs, pixels * taps * f64::from(conv.in_channels))
            }
            Op::Gemm(gemm) => (values * f64::from(gemm.in_features), 0.0),
            Op::MaxPool(pool) | Op::AveragePool { pool, .. } => (SLOW * values * window(pool), 0.0),
            Op::Lrn { size, .. } => (SLOW * values * f64::from(*size), 0.0),
            _ => (SLOW * values, 0.0),
        };
        alive += values;
        cost.macs += macs;
        cost.bytes = cost.bytes.max(4.0 * (alive + windows));
        alive -= dead;
    }
    let first = graph.outputs.first().and_then(|&output| shapes.get(output as usize)).copied();
    Ok((cost, first.unwrap_or(input)))
}

fn values(shape: Shape) -> f64 {
    match shape {
        Shape::Map { height, width, channels } => height as f64 * width as f64 * channels as f64,
        Shape::Flat { features } => features as f64,
    }
}
