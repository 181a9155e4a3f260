//! What every source of proposals has in common.

use std::fmt;
use std::time::Duration;

use frcnn_core::{BBox, Frame};

/// A source of proposals.
///
/// `&mut` because a source may learn from one frame to the next, as [`Motion`](crate::Motion) does.
pub trait Propose: Send {
    /// At most `max` boxes of `frame`, best first.
    ///
    /// Corners are inclusive whole pixels inside the frame, and no two boxes are equal.
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals;

    /// The same of a frame that was captured at `time` since any epoch, for sources that learn from one frame to the next.
    fn propose_at(&mut self, frame: &Frame, time: Duration, max: usize) -> Proposals {
        let _ = time;
        self.propose(frame, max)
    }
}

/// The boxes of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposals {
    /// Best first.
    pub boxes: Vec<BBox>,
    /// What made them.
    pub method: ProposalMethod,
    /// How long that took.
    pub elapsed: Duration,
    /// Why there may be fewer boxes than usual.
    pub notice: Option<Notice>,
}

/// Ways of making proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalMethod {
    /// [`SelectiveSearch`](crate::SelectiveSearch).
    SelectiveSearch,
    /// [`Motion`](crate::Motion).
    Motion,
    /// [`Grid`](crate::Grid).
    Grid,
}

impl fmt::Display for ProposalMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProposalMethod::SelectiveSearch => "selective-search",
            ProposalMethod::Motion => "motion",
            ProposalMethod::Grid => "grid",
        })
    }
}

/// What a source of proposals wants known about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Motion has not yet seen enough frames to tell the background.
    Learning,
    /// Most of the view changed at once (a lamp, a moved camera): motion learns the background anew.
    SceneChanged,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Notice::Learning => "still learning the background",
            Notice::SceneChanged => "the whole view changed; learning the background anew",
        })
    }
}
