//! Objects that last: ids and events over the detections of one camera's frames.

mod records;

use std::collections::VecDeque;
use std::time::Duration;

use frcnn::BBox;
use frcnn_tracks::{ClassRule, Event, Looked, MAX_PATH, Observation, Polygon, Rules, Tracker, Zone};

use crate::result::{Failure, FrcnnResult};
use crate::session::{FrcnnBox, FrcnnDetection};
use crate::sized;
pub use records::{
    FrcnnChange, FrcnnClassRule, FrcnnEvent, FrcnnObject, FrcnnPathPoint, FrcnnPoint, FrcnnTrackCounts,
    FrcnnTrackerOptions,
};
use records::{from_c, ns, to_c};

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

fn refused(message: impl ToString) -> Failure {
    Failure::new(FrcnnResult::InvalidArgument, message.to_string())
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
