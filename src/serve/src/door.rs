//! What every interface needs.

use std::sync::Arc;

use crate::budget::Budget;
use crate::metrics::Metrics;
use crate::model::Models;
use crate::queue::Queue;

/// What every interface needs.
pub(crate) struct House {
    pub(crate) models: Models,
    pub(crate) queue: Queue,
    pub(crate) budget: Budget,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of the largest request.
    pub(crate) max_body: usize,
}

/// The interfaces, as metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// DeepStack's and CodeProject.AI's.
    Vision,
    Doods,
    /// Frigate's.
    Zmq,
}

impl Door {
    pub(crate) const ALL: [Door; 3] = [Door::Vision, Door::Doods, Door::Zmq];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Door::Vision => "vision",
            Door::Doods => "doods",
            Door::Zmq => "zmq",
        }
    }
}
