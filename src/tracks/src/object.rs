//! What a tracker tells of an object.

use std::time::Duration;

use frcnn_core::BBox;

use crate::path::PathPoint;
use crate::rules::Zones;

/// An object that lasts. All times are those of capture, as they were given to [`Tracker::update`](crate::Tracker::update).
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// From 1, in the order in which objects start; never given twice.
    pub id: u64,
    /// The class that most of its observations had, weighted by score.
    pub class: u32,
    /// Of its last observation.
    pub score: f32,
    /// Where it is, smoothed over its observations; where it is expected while it is not seen. Image pixels, the corners
    /// belong to it; it may reach out of the image where [`Options::frame_size`](crate::Options::frame_size) does not say how large that is.
    pub bbox: BBox,
    /// Whether the last frame showed it.
    pub seen: bool,
    /// Whether it stands still.
    pub stationary: bool,
    /// Where its foot is.
    pub zones: Zones,
    /// The highest score of its class.
    pub best_score: f32,
    /// The detected box that had it.
    pub best_box: BBox,
    /// The time of that frame.
    pub best_time: Duration,
    /// The time of its first frame.
    pub first_seen: Duration,
    /// The time of the last frame that showed it.
    pub last_seen: Duration,
    /// Whether it started in the cool-down of its class, and gives no events.
    pub quiet: bool,
}

/// What has happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It has been seen long enough to be one. It counts as moving until it has stopped.
    Started,
    /// It was stationary, and has left its place.
    Moved,
    /// It has become stationary.
    Stopped,
    /// It is there no more.
    Ended,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub change: Change,
    /// To what, as it was then.
    pub object: Object,
    /// The way that it has gone, as the centre of its lower edge, to where it was seen last.
    pub path: Vec<PathPoint>,
    /// The time of the frame by which it was known.
    pub time: Duration,
}
