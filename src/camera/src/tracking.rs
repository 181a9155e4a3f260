//! Detections as objects that last: what `frcnn-tracks` needs of a camera's settings, and what is told of what it says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frcnn::{BBox, Detector};
use frcnn_tracks::{
    Change, ClassRule, Event, Looked, Object, Observation, Options, Polygon, Rules, Tracker, Zone, Zones,
};

use crate::config::{Camera, Model};
use crate::event::{ObjectChange, ObjectEvent, ObjectState, PathPoint, Seen};

/// Overlap from which a detection is a sight of an object.
const SAME: f32 = 0.3;

/// A moment on the camera's clock and on the wall's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) time: Duration,
    pub(crate) captured: SystemTime,
}

impl Moment {
    /// When it was, by the wall's clock as it is now: that may have been set since.
    fn wall(&self, time: Duration) -> SystemTime {
        let ago = self.time.saturating_sub(time);
        self.captured.checked_sub(ago).unwrap_or(self.captured)
    }
}

/// One camera's objects.
pub(crate) struct Tracking {
    tracker: Tracker,
    /// Of the frames that the tracker is made for.
    size: (u32, u32),
    /// Ids of the tracker begin behind this one, which an earlier tracker of the camera gave.
    last_id: u64,
    score_threshold: Option<f32>,
    zones: Vec<Arc<str>>,
    /// The model's generation that the rules are made for.
    rules_of: Option<u64>,
    last: Moment,
    /// The proposals that objects were last found from.
    found_from: HashMap<u64, BBox>,
}

impl Tracking {
    /// For frames of a size, in which objects are given ids behind `last_id`.
    pub(crate) fn new(
        camera: &Camera,
        model: &Model,
        last_id: u64,
        size: (u32, u32),
    ) -> Result<Tracking, String> {
        let options = Options { frame_size: Some(size.into()), ..Options::default() };
        let tracker = Tracker::new(options).map_err(|error| error.to_string())?;
        let last = Moment { time: Duration::ZERO, captured: SystemTime::UNIX_EPOCH };
        let (zones, score_threshold) = (names(camera), model.score_threshold);
        let found_from = HashMap::new();
        Ok(Tracking { tracker, size, last_id, score_threshold, zones, rules_of: None, last, found_from })
    }

    /// Zones, masks and thresholds may be others; objects stay.
    pub(crate) fn configure(&mut self, camera: &Camera, model: &Model) {
        self.zones = names(camera);
        self.score_threshold = model.score_threshold;
        self.rules_of = None;
    }

    /// Places to look at beside what else is proposed.
    pub(crate) fn look_again(&self, time: Duration) -> Vec<BBox> {
        self.tracker.look_again(time)
    }

    /// Places around objects that stood still until lately, and were not found where they are expected.
    pub(crate) fn look_around(&self, time: Duration) -> Vec<BBox> {
        self.tracker.look_around(time)
    }

    /// Where to look at objects that stand still: at the boxes that they were found from. So they are found in the same place, and
    /// do not creep away with each look.
    pub(crate) fn places(&self) -> Vec<BBox> {
        let stationary = self.tracker.objects().filter(|object| object.stationary);
        stationary.map(|object| *self.found_from.get(&object.id).unwrap_or(&object.bbox)).collect()
    }

    /// Takes in what a frame showed.
    pub(crate) fn update(
        &mut self,
        camera: &Camera,
        (detector, generation): (&Detector, u64),
        now: Moment,
        found: &[Observation],
        looked: Looked<'_>,
    ) -> Vec<Event> {
        if self.rules_of != Some(generation) {
            // Checked when the file was read; of a model of other classes, what it has counts.
            let rules = rules(camera, self.score_threshold, self.size, &classes(detector));
            match rules.map(|rules| self.tracker.set_rules(rules)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::warn!("{}: {error}", camera.name),
                Err(error) => log::warn!("{}: {error}", camera.name),
            }
            self.rules_of = Some(generation);
        }
        self.last = now;
        self.tracker.update(now.time, found, looked)
    }

    /// All objects end: nothing will come for a while.
    pub(crate) fn finish(&mut self) -> Vec<Event> {
        self.tracker.finish()
    }

    /// When the last frame was captured.
    pub(crate) fn last(&self) -> SystemTime {
        self.last.captured
    }

    /// The detection's object, where the frame shows one. `from` are the proposals that detections were found from.
    pub(crate) fn identify(&mut self, seen: &mut [Seen], found: &[Observation], from: &[BBox]) {
        for object in self.tracker.objects().filter(|object| object.seen && !object.quiet) {
            let overlap = |observation: &Observation| observation.bbox.iou(&object.bbox, 1.0);
            let sights = found.iter().enumerate().filter(|(i, observation)| {
                observation.class == object.class && seen.get(*i).is_some_and(|seen| seen.id.is_none())
            });
            let best = sights.max_by(|(_, a), (_, b)| overlap(a).total_cmp(&overlap(b)));
            if let Some((i, observation)) = best
                && overlap(observation) >= SAME
            {
                seen[i].id = Some(self.last_id + object.id);
                if let Some(proposal) = from.get(i) {
                    self.found_from.insert(object.id, *proposal);
                }
            }
        }
        let followed: Vec<u64> = self.tracker.objects().map(|object| object.id).collect();
        self.found_from.retain(|id, _| followed.contains(id));
    }

    /// Those that are told of.
    pub(crate) fn states(&self, classes: &[Arc<str>]) -> Vec<ObjectState> {
        let told = self.tracker.objects().filter(|object| !object.quiet);
        told.map(|object| self.state(object, classes)).collect()
    }

    fn state(&self, object: &Object, classes: &[Arc<str>]) -> ObjectState {
        ObjectState {
            id: self.last_id + object.id,
            class: class(classes, object.class),
            score: object.score,
            bbox: corners(&object.bbox),
            stationary: object.stationary,
            zones: self.zone_names(object.zones),
            first_seen: self.last.wall(object.first_seen),
        }
    }

    pub(crate) fn event(&self, name: &Arc<str>, event: &Event, classes: &[Arc<str>]) -> ObjectEvent {
        let object = &event.object;
        ObjectEvent {
            camera: name.clone(),
            change: match event.change {
                Change::Started => ObjectChange::Started,
                Change::Moved => ObjectChange::Moved,
                Change::Stopped => ObjectChange::Stopped,
                Change::Ended => ObjectChange::Ended,
            },
            captured: self.last.wall(event.time),
            id: self.last_id + object.id,
            class: class(classes, object.class),
            best_score: object.best_score,
            best_box: corners(&object.best_box),
            bbox: corners(&object.bbox),
            path: event
                .path
                .iter()
                .map(|at| PathPoint { time: self.last.wall(at.time), x: at.x, y: at.y })
                .collect(),
            zones: self.zone_names(object.zones),
            first_seen: self.last.wall(object.first_seen),
            snapshot: None,
        }
    }

    fn zone_names(&self, zones: Zones) -> Vec<Arc<str>> {
        zones.iter().filter_map(|zone| self.zones.get(zone).cloned()).collect()
    }
}

fn names(camera: &Camera) -> Vec<Arc<str>> {
    camera.zones.iter().map(|zone| zone.name.as_str().into()).collect()
}

/// Zones and masks that lie beside frames of a size, as they are to be told.
pub(crate) fn outside(camera: &Camera, (width, height): (u32, u32)) -> Vec<String> {
    let zones = camera.zones.iter().map(|zone| (format!("zone `{}`", zone.name), &zone.polygon));
    let masks = camera.masks.iter().enumerate().map(|(i, mask)| (format!("mask {}", i + 1), mask));
    let beside = zones.chain(masks).filter(|(_, polygon)| polygon.is_outside(width, height));
    beside
        .map(|(what, _)| format!("{what} lies outside of the picture, of {width} x {height} pixels"))
        .collect()
}

fn class(classes: &[Arc<str>], number: u32) -> Arc<str> {
    classes.get(number as usize).cloned().unwrap_or_else(|| "".into())
}

fn corners(bbox: &BBox) -> [f32; 4] {
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2]
}

/// Of a detector, by number, the background first.
pub(crate) fn classes(detector: &Detector) -> Vec<Arc<str>> {
    detector.manifest().classes.iter().map(|class| class.as_str().into()).collect()
}

/// A camera's zones, masks and thresholds for frames of a size.
///
/// # Errors
/// A polygon is none.
fn rules(
    camera: &Camera,
    score_threshold: Option<f32>,
    (width, height): (u32, u32),
    classes: &[Arc<str>],
) -> Result<Rules, String> {
    let number = |name: &str| classes.iter().position(|class| **class == *name).map(|i| i as u32);
    let polygon = |polygon: &crate::config::Polygon| {
        Polygon::new(polygon.pixels(width, height)).map_err(|error| error.to_string())
    };
    let zones = camera.zones.iter().map(|zone| {
        Ok(Zone {
            polygon: polygon(&zone.polygon).map_err(|error| format!("zone `{}`: {error}", zone.name))?,
            classes: zone.classes.iter().filter_map(|name| number(name)).collect(),
        })
    });
    let masks = camera.masks.iter().map(|mask| polygon(mask).map_err(|error| format!("mask: {error}")));
    let other_classes = ClassRule {
        threshold: score_threshold,
        cool_down: Duration::from_secs_f32(camera.cool_down.unwrap_or(0.0)),
        ..ClassRule::default()
    };
    let mut rules: BTreeMap<u32, ClassRule> = BTreeMap::new();
    for (name, score) in &camera.thresholds {
        let Some(number) = number(name) else { continue };
        rules.entry(number).or_insert(other_classes).threshold = Some(*score);
    }
    for (name, [width, height]) in &camera.smallest {
        let Some(number) = number(name) else { continue };
        let rule = rules.entry(number).or_insert(other_classes);
        (rule.min_width, rule.min_height) = (*width, *height);
    }
    Ok(Rules {
        zones: zones.collect::<Result<_, String>>()?,
        masks: masks.collect::<Result<_, String>>()?,
        classes: rules,
        other_classes,
    })
}

/// Whether the settings suit a model.
///
/// # Errors
/// They name a class that it does not have or a threshold that none of its scores can have, or a polygon is none.
pub(crate) fn check(camera: &Camera, detector: &Detector) -> Result<(), String> {
    let classes = classes(detector);
    let known = |name: &String| match classes.iter().skip(1).any(|class| **class == **name) {
        true => Ok(()),
        false => {
            let has: Vec<&str> = classes.iter().skip(1).take(100).map(|class| &**class).collect();
            Err(format!("there is no class `{name}` in the model; it has {}", has.join(", ")))
        }
    };
    let named = |key: &'static str| move |problem| format!("{key}: {problem}");
    camera.thresholds.keys().try_for_each(known).map_err(named("thresholds"))?;
    for (class, score) in &camera.thresholds {
        let scores = detector.manifest().scores;
        scores
            .check_threshold(*score)
            .map_err(|range| format!("thresholds: `{class}`: is {score}; must be {range}"))?;
    }
    camera.smallest.keys().try_for_each(known).map_err(named("smallest"))?;
    camera.zones.iter().flat_map(|zone| &zone.classes).try_for_each(known).map_err(named("zones"))?;
    rules(camera, None, (640, 480), &classes).map(|_| ())
}
