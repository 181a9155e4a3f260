//! What goes to a tracker and comes from it, as C has it.

use std::time::Duration;

use frcnn::BBox;
use frcnn_tracks::{Change, Event, Object, Options, Rules};

use super::refused;
use crate::result::Failure;
use crate::session::FrcnnBox;
use crate::sized::Versioned;

/// Choices made when a tracker is made. frcnn_tracker_options_init sets the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnTrackerOptions {
    /// sizeof(frcnn_tracker_options).
    pub struct_size: usize,
    /// A detection with at least this score may begin an object, where its class has no threshold of its own: 0.5.
    pub high_score: f32,
    /// One with at least this score may continue an object: 0.1. Lower ones are passed over. The model should give them:
    /// frcnn_model_options.score_threshold.
    pub low_score: f32,
    /// An object has started when it has been seen for so long, and three times more than missed: 250.
    pub confirm_after_ms: u32,
    /// A moving object that was not seen for so long has ended: 2000.
    pub lost_after_ms: u32,
    /// An object that has kept its place for so long is stationary: 3000.
    pub still_after_ms: u32,
    /// A stationary object that was not found at its place for so long has ended: 5000.
    pub gone_after_ms: u32,
    /// A stationary object that was not seen for so long is due in frcnn_tracker_look_again: 500.
    pub look_again_every_ms: u32,
    /// At most so many objects at once, up to 4096: 256.
    pub max_objects: u32,
    /// At most so many points of an object's path are kept, 2 to 65536: 100.
    pub max_path: u32,
    /// Columns of the frames, by which it is known when an object leaves the view; 0 if they are not known.
    pub width: u32,
    /// Rows of them; 0 with `width`.
    pub height: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnTrackerOptions {
    const NAME: &'static str = "frcnn_tracker_options";
    const FIRST_SIZE: usize = size_of::<FrcnnTrackerOptions>();
}

/// What holds for a class.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnClassRule {
    /// sizeof(frcnn_class_rule).
    pub struct_size: usize,
    /// The least score of a detection that begins an object, or -INFINITY for the tracker's high_score.
    pub threshold: f32,
    /// A detection narrower than this, in pixels, is passed over.
    pub min_width: f32,
    /// One less high than this is, too.
    pub min_height: f32,
    /// After an object of the class has started, others that start within this time give no events.
    pub cool_down_ms: u32,
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnClassRule {
    const NAME: &'static str = "frcnn_class_rule";
    const FIRST_SIZE: usize = size_of::<FrcnnClassRule>();
}

/// A point of the image, in pixels. Never changes within an ABI version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnPoint {
    /// From the left.
    pub x: f32,
    /// From the top.
    pub y: f32,
}

/// Where an object was: the centre of the lower edge of its box. Never changes within an ABI version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnPathPoint {
    /// The time of the frame.
    pub time_ns: u64,
    /// From the left, pixels.
    pub x: f32,
    /// From the top.
    pub y: f32,
}

/// An object that lasts. Times are those that were given to frcnn_tracker_update. Never changes within an ABI version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnObject {
    /// From 1, in the order in which objects start; never given twice by one tracker.
    pub id: u64,
    /// Bit i: it is in the zone that frcnn_tracker_add_zone called i.
    pub zones: u64,
    /// The time of its first frame.
    pub first_seen_ns: u64,
    /// The time of the last frame that showed it.
    pub last_seen_ns: u64,
    /// The time of the frame with its best score.
    pub best_ns: u64,
    /// The class that most of its detections had, weighted by score.
    pub class_id: u32,
    /// Of its last detection.
    pub score: f32,
    /// The highest score of its class.
    pub best_score: f32,
    /// Where it is, smoothed; where it is expected, while it is not seen.
    pub bbox: FrcnnBox,
    /// The detected box that had the best score.
    pub best_box: FrcnnBox,
    /// 1 if the last frame showed it, else 0.
    pub seen: u32,
    /// 1 if it stands still, else 0.
    pub stationary: u32,
    /// 1 if it started within the cool-down of its class and gives no events, else 0.
    pub quiet: u32,
}

/// What has happened to an object.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnChange {
    /// It has been seen long enough to be one. It counts as moving until it has stopped.
    Started = 0,
    /// It was stationary, and has left its place.
    Moved = 1,
    /// It has become stationary.
    Stopped = 2,
    /// It is there no more.
    Ended = 3,
}

/// Something that has happened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnEvent {
    /// sizeof(frcnn_event).
    pub struct_size: usize,
    /// The time of the frame by which it was known.
    pub time_ns: u64,
    /// A frcnn_change.
    pub change: u32,
    /// 0.
    pub reserved: u32,
    /// To what, as it was then.
    pub object: FrcnnObject,
}

// SAFETY: `repr(C)`, `struct_size` first; numbers.
unsafe impl Versioned for FrcnnEvent {
    const NAME: &'static str = "frcnn_event";
    const FIRST_SIZE: usize = size_of::<FrcnnEvent>();
}

/// What a tracker did not follow, since it was made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FrcnnTrackCounts {
    /// sizeof(frcnn_track_counts).
    pub struct_size: usize,
    /// Detections that are none: a score or corner that is not finite, or corners out of order.
    pub refused: u64,
    /// Detections in a mask.
    pub masked: u64,
    /// Detections below the smallest size of their class.
    pub small: u64,
    /// Detections beyond the 1024 best of a frame, and those that would have begun one object too many.
    pub too_many: u64,
    /// Frames that were captured before the one that came before them; they count as captured with it.
    pub out_of_order: u64,
    /// Events given up because 65536 newer ones had not been fetched.
    pub events_lost: u64,
}

// SAFETY: `repr(C)`, `struct_size` first; integers.
unsafe impl Versioned for FrcnnTrackCounts {
    const NAME: &'static str = "frcnn_track_counts";
    const FIRST_SIZE: usize = size_of::<FrcnnTrackCounts>();
}

pub(super) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn to_c(b: &BBox) -> FrcnnBox {
    FrcnnBox { x1: b.x1, y1: b.y1, x2: b.x2, y2: b.y2 }
}

pub(super) fn from_c(b: FrcnnBox) -> BBox {
    BBox::new(b.x1, b.y1, b.x2, b.y2)
}

impl FrcnnObject {
    pub(super) fn of(object: &Object) -> FrcnnObject {
        FrcnnObject {
            id: object.id,
            zones: object.zones.bits(),
            first_seen_ns: ns(object.first_seen),
            last_seen_ns: ns(object.last_seen),
            best_ns: ns(object.best_time),
            class_id: object.class,
            score: object.score,
            best_score: object.best_score,
            bbox: to_c(&object.bbox),
            best_box: to_c(&object.best_box),
            seen: object.seen.into(),
            stationary: object.stationary.into(),
            quiet: object.quiet.into(),
        }
    }
}

impl FrcnnEvent {
    pub(super) fn of(event: &Event) -> FrcnnEvent {
        let change = match event.change {
            Change::Started => FrcnnChange::Started,
            Change::Moved => FrcnnChange::Moved,
            Change::Stopped => FrcnnChange::Stopped,
            Change::Ended => FrcnnChange::Ended,
        };
        FrcnnEvent {
            struct_size: size_of::<FrcnnEvent>(),
            time_ns: ns(event.time),
            change: change as u32,
            reserved: 0,
            object: FrcnnObject::of(&event.object),
        }
    }
}

impl FrcnnTrackerOptions {
    pub(super) fn defaults() -> FrcnnTrackerOptions {
        let options = Options::default();
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        FrcnnTrackerOptions {
            struct_size: size_of::<FrcnnTrackerOptions>(),
            high_score: options.high_score,
            low_score: options.low_score,
            confirm_after_ms: ms(options.confirm_after),
            lost_after_ms: ms(options.lost_after),
            still_after_ms: ms(options.still_after),
            gone_after_ms: ms(options.gone_after),
            look_again_every_ms: ms(options.look_again_every),
            max_objects: options.max_objects as u32,
            max_path: options.max_path as u32,
            width: 0,
            height: 0,
            reserved: 0,
        }
    }

    pub(super) fn checked(&self) -> Result<Options, Failure> {
        if self.reserved != 0 {
            return Err(refused("frcnn_tracker_options: `reserved` must be 0"));
        }
        let frame_size = match [self.width, self.height] {
            [0, 0] => None,
            [0, _] | [_, 0] => {
                return Err(refused("frcnn_tracker_options: one of `width` and `height` is 0"));
            }
            size => Some(size),
        };
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Ok(Options {
            high_score: self.high_score,
            low_score: self.low_score,
            confirm_after: ms(self.confirm_after_ms),
            lost_after: ms(self.lost_after_ms),
            still_after: ms(self.still_after_ms),
            gone_after: ms(self.gone_after_ms),
            look_again_every: ms(self.look_again_every_ms),
            frame_size,
            max_objects: self.max_objects as usize,
            max_path: self.max_path as usize,
            rules: Rules::default(),
        })
    }
}
