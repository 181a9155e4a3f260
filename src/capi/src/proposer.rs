//! Boxes for callers that bring none.

use frcnn::{BBox, Frame};
use frcnn_proposals::grid;

/// Where a session takes boxes from for frames that come without any.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnProposer {
    /// The same coarse grid of about 2000 boxes for every frame; small objects are missed.
    Grid = 0,
}

impl FrcnnProposer {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Grid].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// A proposer with what it remembers from frame to frame.
#[derive(Debug)]
pub(crate) enum Proposer {
    /// The size and boxes of the last frame.
    Grid((u32, u32), Vec<BBox>),
}

impl Proposer {
    pub(crate) fn new(kind: FrcnnProposer) -> Proposer {
        match kind {
            FrcnnProposer::Grid => Proposer::Grid((0, 0), Vec::new()),
        }
    }

    pub(crate) fn run(&mut self, frame: &Frame) -> &[BBox] {
        match self {
            Proposer::Grid(size, boxes) => {
                if *size != (frame.width(), frame.height()) {
                    *size = (frame.width(), frame.height());
                    *boxes = grid(size.0, size.1);
                }
                boxes
            }
        }
    }
}
