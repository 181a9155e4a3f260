//! Boxes for callers that bring none.

use frcnn::{BBox, Frame};
use frcnn_proposals::{Grid, Motion, Propose};

/// Boxes per frame at most, as the published detectors had.
const MAX_PROPOSALS: usize = 2000;

/// Where a session takes boxes from for frames that come without any.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnProposer {
    /// The same coarse grid of about 2000 boxes for every frame; small objects are missed.
    Grid = 0,
    /// Around what moves, for a fixed camera whose frames come in order. It learns the background from the first ten
    /// frames, and again when the whole view changes; in these, and where nothing moves, there is no box, and the
    /// network does not run.
    Motion = 1,
}

impl FrcnnProposer {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Grid, Self::Motion].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// A proposer with what it remembers from frame to frame.
pub(crate) struct Proposer(Box<dyn Propose + Send>);

impl Proposer {
    pub(crate) fn new(kind: FrcnnProposer) -> Proposer {
        Proposer(match kind {
            FrcnnProposer::Grid => Box::new(Grid),
            FrcnnProposer::Motion => Box::new(Motion::new()),
        })
    }

    pub(crate) fn run(&mut self, frame: &Frame) -> Vec<BBox> {
        self.0.propose(frame, MAX_PROPOSALS).boxes
    }
}
