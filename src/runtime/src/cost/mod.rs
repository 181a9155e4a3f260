//! What a network costs: for people ([`NetworkCost`]), and to hold a bundle of unknown origin to limits ([`Demand`],
//! [`Limits`]).

mod demand;
mod limits;
mod network;

pub use demand::{Demand, NOMINAL_ROIS};
pub use limits::{Excess, Limits, Resource};
pub use network::{LayerCost, NetworkCost};

use frcnn_bundle::{Error, Graph, Shape};

/// Of a file that lies, sums may be more than there are numbers.
fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}

fn shapes(graph: &Graph, input: Shape) -> Result<Vec<Shape>, Error> {
    graph.infer(input).map_err(|(_, problem)| Error::Network(problem))
}
