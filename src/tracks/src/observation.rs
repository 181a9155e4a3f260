//! What a detector found in one frame, and where it looked.

use frcnn_core::{BBox, Detection};

/// No image has pixels farther out than this; a coordinate beyond it was never measured.
const FARTHEST: f32 = 1e6;

/// One detection of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The detector's number of the class.
    pub class: u32,
    /// How sure the detector is. Higher is surer; any finite number.
    pub score: f32,
    /// Image pixels, the corners belong to it.
    pub bbox: BBox,
}

impl Observation {
    /// Whether it can be tracked: a finite score, and a box whose corners are finite, in order and within a million pixels.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let BBox { x1, y1, x2, y2 } = self.bbox;
        self.score.is_finite() && self.bbox.is_valid() && [x1, y1, x2, y2].iter().all(|c| c.abs() <= FARTHEST)
    }
}

impl From<&Detection> for Observation {
    fn from(detection: &Detection) -> Observation {
        Observation { class: detection.class_id.into(), score: detection.score, bbox: detection.bbox }
    }
}

/// Where the detector looked in a frame: an object that stands still is missed only where it did.
#[derive(Clone, Copy, Debug)]
pub enum Looked<'a> {
    /// All over the frame, as with a region proposal network, a grid or selective search.
    Everywhere,
    /// At these boxes, image pixels: the proposals of a motion model, and those of
    /// [`Tracker::look_again`](crate::Tracker::look_again).
    At(&'a [BBox]),
}

impl Looked<'_> {
    /// Overlap of a proposal with an object from which the detector would have found it.
    const ENOUGH: f32 = 0.5;

    pub(crate) fn at(&self, place: &BBox) -> bool {
        match self {
            Looked::Everywhere => true,
            Looked::At(boxes) => boxes.iter().any(|looked| looked.iou(place, 1.0) >= Self::ENOUGH),
        }
    }
}
