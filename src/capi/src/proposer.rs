//! Boxes for callers that bring none.

use std::time::Duration;

use frcnn::{BBox, Detector, Frame};
use frcnn_proposals::{Grid, Motion, Propose, SelectiveSearch};

use crate::result::{Failure, FrcnnResult};

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
    /// network does not run. What stops is background after about 50 s by the frames' `time_ns`, and then has no box any more.
    Motion = 1,
    /// What suits the model: learned proposals of its own region proposal network (RPN), if frcnn_model_has_rpn says that it
    /// has one; otherwise as FRCNN_PROPOSER_SELECTIVE_SEARCH, and in a stream as FRCNN_PROPOSER_GRID, whose boxes stay where
    /// they are from frame to frame.
    Model = 2,
    /// Selective search in its fast mode, on the model's threads: boxes of regions that differ from what is around them, for
    /// photos and whatever else is not known beforehand. It takes some tenths of a second of one core.
    SelectiveSearch = 3,
}

impl FrcnnProposer {
    /// What a caller's number means.
    pub(crate) fn checked(number: u32) -> Result<Self, Failure> {
        let all = [Self::Grid, Self::Motion, Self::Model, Self::SelectiveSearch];
        let known = all.into_iter().find(|kind| *kind as u32 == number);
        known.ok_or_else(|| Failure::new(FrcnnResult::InvalidArgument, format!("{number} is no proposer")))
    }
}

/// A proposer with what it remembers from frame to frame.
pub(crate) struct Proposer {
    by: Box<dyn Propose + Send>,
    /// Whether a network that can is asked in its place.
    leaves_it_to_the_model: bool,
}

impl Proposer {
    pub(crate) fn new(kind: FrcnnProposer, detector: &Detector, in_stream: bool) -> Proposer {
        let by: Box<dyn Propose + Send> = match kind {
            FrcnnProposer::Model if in_stream => Box::new(Grid),
            FrcnnProposer::Grid => Box::new(Grid),
            FrcnnProposer::Motion => Box::new(Motion::new()),
            FrcnnProposer::Model | FrcnnProposer::SelectiveSearch => {
                Box::new(SelectiveSearch { threads: detector.threads(), ..SelectiveSearch::default() })
            }
        };
        Proposer { by, leaves_it_to_the_model: kind == FrcnnProposer::Model }
    }

    /// Whether the detector's own RPN is to propose.
    pub(crate) fn is_rpn_of(&self, detector: &Detector) -> bool {
        self.leaves_it_to_the_model && detector.has_rpn()
    }

    /// Boxes of a frame that was captured at `time`, if somebody knows that.
    pub(crate) fn run(&mut self, frame: &Frame, time: Option<Duration>, detector: &Detector) -> Vec<BBox> {
        let propose = || match time {
            Some(time) => self.by.propose_at(frame, time, MAX_PROPOSALS),
            None => self.by.propose(frame, MAX_PROPOSALS),
        };
        detector.install(propose).boxes
    }
}
