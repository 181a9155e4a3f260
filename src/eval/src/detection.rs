//! What a detector says about a data set.

use crate::Region;

/// One detected object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Position of its image in [`Dataset::images`](crate::Dataset::images).
    pub image: usize,
    /// Position of its class in [`Dataset::classes`](crate::Dataset::classes).
    pub class: usize,
    /// Any finite number: only the order counts.
    pub score: f64,
    /// Where.
    pub region: Region,
}

/// Positions of detections, best first; equal scores keep their order, as in the official programs.
pub(crate) fn by_score(positions: &mut [usize], detections: &[Detection]) {
    let score = |position: usize| detections.get(position).map_or(f64::NEG_INFINITY, |d| d.score);
    positions.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
}
