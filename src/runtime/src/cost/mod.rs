//! What a network costs: for people ([`NetworkCost`]), to hold a bundle of unknown origin to limits ([`Demand`],
//! [`Limits`]), and to choose what its layers compute in ([`LayerTypes`]).

mod demand;
mod frame;
mod limits;
mod network;
mod types;

pub use demand::{Demand, NOMINAL_ROIS, nominal_rois};
pub use limits::{Excess, Limits, Resource};
pub use network::{LayerCost, NetworkCost};
pub use types::{LayerTypes, judge_share};

use frcnn_bundle::{Error, Graph, Shape};

/// Of a file that lies, sums may be more than there are numbers.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

fn times(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}

/// Of what a graph gives.
fn outputs(graph: &Graph, shapes: &[Shape]) -> Vec<Shape> {
    graph.outputs.iter().filter_map(|&value| shapes.get(value as usize).copied()).collect()
}

fn shapes(graph: &Graph, input: Shape) -> Result<Vec<Shape>, Error> {
    graph.infer(input).map_err(|(_, problem)| Error::Network(problem))
}
