//! Objects that last: ids and events over the detections of one camera's frames.

use std::collections::VecDeque;
use std::time::Duration;

use frcnn::BBox;
use frcnn_tracks::{
    Change, ClassRule, Event, Looked, MAX_PATH, Object, Observation, Options, Polygon, Rules,
};
use frcnn_tracks::{Tracker, Zone};

use crate::result::{Failure, FrcnnResult};
use crate::session::{FrcnnBox, FrcnnDetection};
use crate::sized::{self, Versioned};

/// Events that were not fetched are kept up to this many; then the oldest are given up.
const MAX_EVENTS: usize = 65_536;

/// Follows the objects in front of one camera. One thread at a time may use it.
pub struct FrcnnTracker {
    tracker: Tracker,
    events: VecDeque<Event>,
    events_lost: u64,
    observations: Vec<Observation>,
    looked: Vec<BBox>,
}

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

fn refused(message: impl ToString) -> Failure {
    Failure::new(FrcnnResult::InvalidArgument, message.to_string())
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn to_c(b: &BBox) -> FrcnnBox {
    FrcnnBox { x1: b.x1, y1: b.y1, x2: b.x2, y2: b.y2 }
}

fn from_c(b: FrcnnBox) -> BBox {
    BBox::new(b.x1, b.y1, b.x2, b.y2)
}

impl FrcnnObject {
    fn of(object: &Object) -> FrcnnObject {
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
    fn of(event: &Event) -> FrcnnEvent {
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
    fn defaults() -> FrcnnTrackerOptions {
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

    fn checked(&self) -> Result<Options, Failure> {
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

impl FrcnnTracker {
    /// Changes zones, masks or what holds for classes.
    fn change_rules(&mut self, change: impl FnOnce(&mut Rules)) -> Result<(), Failure> {
        let mut rules = self.tracker.options().rules.clone();
        change(&mut rules);
        self.tracker.set_rules(rules).map_err(refused)
    }

    fn keep(&mut self, events: Vec<Event>) {
        self.events.extend(events);
        while self.events.len() > MAX_EVENTS {
            self.events.pop_front();
            self.events_lost += 1;
        }
    }
}

/// A caller's array, of which nothing says that it is aligned.
///
/// # Safety
/// `from` points at `count` values, or is NULL and `count` 0.
unsafe fn values<T: Copy>(
    from: *const T,
    count: usize,
    name: &'static str,
) -> Result<impl Iterator<Item = T>, Failure> {
    if from.is_null() && count > 0 {
        return Err(Failure::null(name));
    }
    if count > isize::MAX as usize / size_of::<T>() {
        return Err(refused(format!("there are more `{name}` than memory has")));
    }
    // SAFETY: says the caller; not NULL if there is one, and not too many.
    Ok((0..count).map(move |i| unsafe { from.add(i).read_unaligned() }))
}

/// Hands values over, as many as fit.
///
/// # Safety
/// `capacity` values are writable at `to`, and `count` is.
unsafe fn hand_over<T>(
    values: impl Iterator<Item = T>,
    to: *mut T,
    capacity: usize,
    count: *mut usize,
    name: &'static str,
) -> Result<(), Failure> {
    let mut all = 0;
    for value in values {
        if all < capacity {
            // SAFETY: says the caller.
            unsafe { to.add(all).write_unaligned(value) };
        }
        all += 1;
    }
    // SAFETY: says the caller.
    unsafe { *count = all };
    if all > capacity {
        let message = format!("{all} {name} do not fit into an array of {capacity}");
        return Err(Failure::new(FrcnnResult::BufferTooSmall, message));
    }
    Ok(())
}

/// # Safety
/// `points` are `count` points.
unsafe fn polygon(points: *const FrcnnPoint, count: usize) -> Result<Polygon, Failure> {
    // Nothing longer is read: the polygon is refused by its count.
    let read = count.min(frcnn_tracks::MAX_POINTS + 1);
    // SAFETY: says the caller.
    let points = unsafe { values(points, read, "points") }?;
    Polygon::new(points.map(|point| [point.x, point.y]).collect()).map_err(refused)
}

/// Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_tracker_options).
///
/// # Safety
/// `options` points at `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_options_init(
    options: *mut FrcnnTrackerOptions,
    struct_size: usize,
) -> FrcnnResult {
    guard!(options => {
        // SAFETY: says the caller.
        unsafe { sized::init(options, &FrcnnTrackerOptions::defaults(), struct_size) }
    })
}

/// Makes a tracker for the frames of one camera. `options` may be NULL for the defaults. `*tracker`, to be freed by
/// frcnn_tracker_free, is NULL unless the result is FRCNN_RESULT_OK.
///
/// # Safety
/// `options` is NULL or valid, `tracker` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_new(
    options: *const FrcnnTrackerOptions,
    tracker: *mut *mut FrcnnTracker,
) -> FrcnnResult {
    guard!(tracker => {
        // SAFETY: says the caller.
        unsafe { *tracker = std::ptr::null_mut() };
        let mut choices = FrcnnTrackerOptions::defaults();
        if !options.is_null() {
            // SAFETY: says the caller.
            choices = unsafe { sized::read(options) }?;
        }
        let made = FrcnnTracker {
            tracker: Tracker::new(choices.checked()?).map_err(refused)?,
            events: VecDeque::new(),
            events_lost: 0,
            observations: Vec::new(),
            looked: Vec::new(),
        };
        // SAFETY: says the caller.
        unsafe { *tracker = Box::into_raw(Box::new(made)) };
        Ok(())
    })
}

/// Frees a tracker; NULL is passed over.
///
/// # Safety
/// `tracker` is NULL or from frcnn_tracker_new, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_free(tracker: *mut FrcnnTracker) {
    // The result says only that a NULL was passed over.
    let _ = guard!(tracker => {
        // SAFETY: says the caller.
        drop(unsafe { Box::from_raw(tracker) });
        Ok(())
    });
}

/// Adds a zone, a closed polygon of 3 to 256 points in pixels: an object is in it while the centre of the lower edge of its
/// box is. It counts for the `class_count` classes at `classes`; for all if there are none. `*zone` is its number, from 0 to 63.
///
/// # Safety
/// `tracker` is valid, arrays have as many elements as stated, `zone` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_add_zone(
    tracker: *mut FrcnnTracker,
    points: *const FrcnnPoint,
    point_count: usize,
    classes: *const u32,
    class_count: usize,
    zone: *mut u32,
) -> FrcnnResult {
    guard!(tracker, points, zone => {
        if class_count > 65_536 {
            return Err(refused("a zone has at most 65536 classes"));
        }
        // SAFETY: says the caller.
        let (tracker, polygon, classes) = unsafe {
            (&mut *tracker, polygon(points, point_count)?, values(classes, class_count, "classes")?.collect())
        };
        let number = tracker.tracker.options().rules.zones.len() as u32;
        tracker.change_rules(|rules| rules.zones.push(Zone { polygon, classes }))?;
        // SAFETY: says the caller.
        unsafe { *zone = number };
        Ok(())
    })
}

/// Adds a mask, a polygon as of frcnn_tracker_add_zone: a detection is passed over if the centre of its lower edge is in it. There
/// are at most 64.
///
/// # Safety
/// `tracker` is valid, `points` has as many elements as stated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_add_mask(
    tracker: *mut FrcnnTracker,
    points: *const FrcnnPoint,
    point_count: usize,
) -> FrcnnResult {
    guard!(tracker, points => {
        // SAFETY: says the caller.
        let (tracker, polygon) = unsafe { (&mut *tracker, polygon(points, point_count)?) };
        tracker.change_rules(|rules| rules.masks.push(polygon))
    })
}

/// Sets what holds for a class from the next frame on. Class 0, the background, stands for all classes that have no rule of
/// their own.
///
/// # Safety
/// `tracker` and `rule` are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_set_class_rule(
    tracker: *mut FrcnnTracker,
    class_id: u32,
    rule: *const FrcnnClassRule,
) -> FrcnnResult {
    guard!(tracker, rule => {
        // SAFETY: says the caller.
        let (tracker, rule) = unsafe { (&mut *tracker, sized::read(rule)?) };
        if class_id > u16::MAX.into() {
            return Err(refused(format!("there is no class {class_id}")));
        }
        let rule = ClassRule {
            threshold: (rule.threshold != f32::NEG_INFINITY).then_some(rule.threshold),
            min_width: rule.min_width,
            min_height: rule.min_height,
            cool_down: Duration::from_millis(rule.cool_down_ms.into()),
        };
        tracker.change_rules(|rules| match class_id {
            0 => rules.other_classes = rule,
            _ => {
                rules.classes.insert(class_id, rule);
            }
        })
    })
}

/// Tells where to look in the frame captured at `time_ns`, beside other proposals: at the places of objects that the last
/// frame did not show. Give these boxes, with those of a motion model, to frcnn_session_detect: what stands still is no longer
/// proposed by what moves. `*count` tells how many there are; if more than `capacity`, the result is
/// FRCNN_RESULT_BUFFER_TOO_SMALL. There are never more than max_objects.
///
/// # Safety
/// `tracker` is valid, `capacity` boxes are writable at `boxes`, and `count` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_look_again(
    tracker: *const FrcnnTracker,
    time_ns: u64,
    boxes: *mut FrcnnBox,
    capacity: usize,
    count: *mut usize,
) -> FrcnnResult {
    guard!(tracker, count => {
        if boxes.is_null() && capacity > 0 {
            return Err(Failure::null("boxes"));
        }
        // SAFETY: says the caller.
        let places = unsafe { &*tracker }.tracker.look_again(Duration::from_nanos(time_ns));
        // SAFETY: says the caller.
        unsafe { hand_over(places.iter().map(to_c), boxes, capacity, count, "boxes") }
    })
}

/// Takes in what a frame showed that was captured at `time_ns`, nanoseconds since any epoch. Detections that make no sense
/// are passed over and counted.
///
/// `looked` are the `looked_count` boxes that the detector was asked about, proposals and those of
/// frcnn_tracker_look_again: a stationary object is missed only where it looked. NULL: it looked all over the frame, as a
/// model that proposes by itself does.
///
/// # Safety
/// `tracker` is valid; arrays have as many elements as stated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_update(
    tracker: *mut FrcnnTracker,
    time_ns: u64,
    detections: *const FrcnnDetection,
    count: usize,
    looked: *const FrcnnBox,
    looked_count: usize,
) -> FrcnnResult {
    guard!(tracker => {
        // SAFETY: says the caller.
        let tracker = unsafe { &mut *tracker };
        // SAFETY: says the caller.
        let (found, places) =
            unsafe { (values(detections, count, "detections")?, values(looked, looked_count, "looked")?) };
        let observed =
            |d: FrcnnDetection| Observation { class: d.class_id, score: d.score, bbox: from_c(d.bbox) };
        tracker.observations.clear();
        tracker.observations.extend(found.map(observed));
        tracker.looked.clear();
        tracker.looked.extend(places.map(from_c));
        let looked = if looked.is_null() { Looked::Everywhere } else { Looked::At(&tracker.looked) };
        let events = tracker.tracker.update(Duration::from_nanos(time_ns), &tracker.observations, looked);
        tracker.keep(events);
        Ok(())
    })
}

/// Ends all objects: the camera is gone, or the program ends. Their events can be fetched as others.
///
/// # Safety
/// `tracker` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_finish(tracker: *mut FrcnnTracker) -> FrcnnResult {
    guard!(tracker => {
        // SAFETY: says the caller.
        let tracker = unsafe { &mut *tracker };
        let events = tracker.tracker.finish();
        tracker.keep(events);
        Ok(())
    })
}

/// Tells which objects there are after the last frame, those that started first before others. `*count` tells how many; if
/// more than `capacity`, the result is FRCNN_RESULT_BUFFER_TOO_SMALL. There are never more than max_objects.
///
/// # Safety
/// `tracker` is valid, `capacity` objects are writable at `objects`, and `count` is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_objects(
    tracker: *const FrcnnTracker,
    objects: *mut FrcnnObject,
    capacity: usize,
    count: *mut usize,
) -> FrcnnResult {
    guard!(tracker, count => {
        if objects.is_null() && capacity > 0 {
            return Err(Failure::null("objects"));
        }
        // SAFETY: says the caller.
        let present = unsafe { &*tracker }.tracker.objects().map(FrcnnObject::of);
        // SAFETY: says the caller.
        unsafe { hand_over(present, objects, capacity, count, "objects") }
    })
}

/// Fetches the oldest event that was not fetched; FRCNN_RESULT_IDLE if there is none. `path` takes up to `capacity` points of the
/// way that the object has gone, the oldest first, and `*path_count` tells how many there are, max_path and one at most. If they do not
/// fit, the result is FRCNN_RESULT_BUFFER_TOO_SMALL and the event stays to be fetched. `path` and `path_count` may both be NULL.
///
/// # Safety
/// `tracker` is valid, `event` writable with its `struct_size` set, `capacity` points are writable at `path`, and `path_count`
/// is, or both are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_next_event(
    tracker: *mut FrcnnTracker,
    event: *mut FrcnnEvent,
    path: *mut FrcnnPathPoint,
    capacity: usize,
    path_count: *mut usize,
) -> FrcnnResult {
    const { assert!(MAX_PATH < isize::MAX as usize / size_of::<FrcnnPathPoint>()) };
    guard!(tracker, event => {
        // SAFETY: says the caller.
        let tracker = unsafe { &mut *tracker };
        let Some(next) = tracker.events.front() else {
            return Err(Failure::new(FrcnnResult::Idle, "no event is left"));
        };
        if path.is_null() && capacity > 0 {
            return Err(Failure::null("path"));
        }
        if path_count.is_null() && !path.is_null() {
            return Err(Failure::null("path_count"));
        }
        // SAFETY: says the caller.
        unsafe { sized::write(event, &FrcnnEvent::of(next)) }?;
        if !path_count.is_null() {
            let points =
                next.path.iter().map(|p| FrcnnPathPoint { time_ns: ns(p.time), x: p.x, y: p.y });
            // SAFETY: says the caller.
            unsafe { hand_over(points, path, capacity, path_count, "points") }?;
        }
        tracker.events.pop_front();
        Ok(())
    })
}

/// Counts what was not followed.
///
/// # Safety
/// `tracker` is valid, `counts` writable with its `struct_size` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn frcnn_tracker_counts(
    tracker: *const FrcnnTracker,
    counts: *mut FrcnnTrackCounts,
) -> FrcnnResult {
    guard!(tracker, counts => {
        // SAFETY: says the caller.
        let tracker = unsafe { &*tracker };
        let of = tracker.tracker.counts();
        let made = FrcnnTrackCounts {
            struct_size: size_of::<FrcnnTrackCounts>(),
            refused: of.refused,
            masked: of.masked,
            small: of.small,
            too_many: of.too_many,
            out_of_order: of.out_of_order,
            events_lost: tracker.events_lost,
        };
        // SAFETY: says the caller.
        unsafe { sized::write(counts, &made) }
    })
}
