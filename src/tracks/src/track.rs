//! One object, or what may become one.

use std::time::Duration;

use frcnn_core::BBox;

use crate::filter::BoxFilter;
use crate::object::{Change, Event, Object};
use crate::observation::Observation;
use crate::options::Options;
use crate::path::{Path, PathPoint};
use crate::rules::{Zones, foot};
use crate::stillness::Stillness;
use crate::votes::Votes;

/// An object has been seen so often before it starts.
const LEAST_SIGHTINGS: u32 = 3;

/// So many frames must have missed an object before it ends, however much time there is between them.
const LEAST_MISSES: u32 = 2;

/// The time of a frame, as it was given, and on a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) captured: Duration,
    pub(crate) clock: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// Of what has not started the id is 0.
    pub(crate) object: Object,
    filter: BoxFilter,
    votes: Votes,
    path: Path,
    /// Where it was seen last.
    place: PathPoint,
    stillness: Stillness,
    sightings: u32,
    first: Duration,
    /// On the tracker's clock.
    last: Duration,
    /// Frames in a row that looked for it in vain, and when the first of them was.
    misses: u32,
    missing_since: Duration,
}

impl Track {
    pub(crate) fn new(observation: &Observation, now: Now, options: &Options) -> Track {
        let filter = BoxFilter::new(&observation.bbox);
        let stillness = Stillness::new(centre(&observation.bbox), now.clock);
        let mut votes = Votes::default();
        votes.cast(observation.class, observation.score);
        let mut track = Track {
            object: Object {
                id: 0,
                class: observation.class,
                score: observation.score,
                bbox: observation.bbox,
                seen: true,
                stationary: false,
                zones: Zones::default(),
                best_score: observation.score,
                best_box: observation.bbox,
                best_time: now.captured,
                first_seen: now.captured,
                last_seen: now.captured,
                quiet: false,
            },
            filter,
            votes,
            path: Path::new(options.max_path),
            place: place(&observation.bbox, now),
            stillness,
            sightings: 1,
            first: now.clock,
            last: now.clock,
            misses: 0,
            missing_since: now.clock,
        };
        track.leave_a_trace(now, options);
        track
    }

    pub(crate) fn has_started(&self) -> bool {
        self.object.id != 0
    }

    /// How long it has not been seen.
    pub(crate) fn unseen(&self, clock: Duration) -> Duration {
        clock.saturating_sub(self.last)
    }

    pub(crate) fn predict(&mut self, seconds: f64) {
        self.filter.predict(seconds);
        self.object.bbox = self.filter.bbox();
    }

    /// The box in `seconds` from the last frame.
    pub(crate) fn expected(&self, seconds: f64) -> BBox {
        self.filter.at(seconds)
    }

    /// How much it gains to take `observation` for this object: 0 for nothing, up to 1.
    pub(crate) fn gain(&self, observation: &Observation) -> f64 {
        // The less is known of where it is, the farther off it may be: both boxes grow (Yang et al., C-BIoU, WACV 2023).
        let reach = (2.0 * self.filter.uncertainty()).min(0.5 * self.filter.size()) as f32;
        let grown = |b: &BBox| BBox::new(b.x1 - reach, b.y1 - reach, b.x2 + reach, b.y2 + reach);
        let overlap = f64::from(grown(&self.object.bbox).iou(&grown(&observation.bbox), 1.0));
        if overlap < 0.2 {
            return 0.0;
        }
        if observation.class == self.object.class { overlap } else { 0.5 * overlap }
    }

    /// Takes in what another class's detector says of the same thing; before `see`.
    pub(crate) fn hear(&mut self, observation: &Observation) {
        self.votes.cast(observation.class, observation.score);
    }

    pub(crate) fn see(&mut self, observation: &Observation, now: Now, options: &Options) {
        self.filter.update(&observation.bbox);
        self.votes.cast(observation.class, observation.score);
        let class = self.votes.winner().unwrap_or(observation.class);
        let object = &mut self.object;
        let of_its_class = observation.class == class;
        if class != object.class || of_its_class && observation.score > object.best_score {
            object.best_score = observation.score;
            object.best_box = observation.bbox;
            object.best_time = now.captured;
        }
        object.class = class;
        object.score = observation.score;
        object.bbox = self.filter.bbox();
        object.seen = true;
        object.last_seen = now.captured;
        self.sightings = self.sightings.saturating_add(1);
        self.last = now.clock;
        self.misses = 0;
        self.stillness.visit(centre(&object.bbox), self.filter.size(), now.clock, options.still_after);
        self.leave_a_trace(now, options);
    }

    fn leave_a_trace(&mut self, now: Now, options: &Options) {
        self.object.zones = options.rules.zones_at(self.object.class, &self.object.bbox);
        self.place = place(&self.object.bbox, now);
        self.path.visit(self.place, self.filter.size() as f32);
    }

    /// A frame does not show it; `looked` whether the detector looked at its place.
    pub(crate) fn miss(&mut self, now: Now, looked: bool) {
        self.object.seen = false;
        if looked || !self.object.stationary {
            if self.misses == 0 {
                self.missing_since = now.clock;
            }
            self.misses = self.misses.saturating_add(1);
        }
    }

    /// Whether it is there no more.
    pub(crate) fn is_over(&self, now: Now, options: &Options) -> bool {
        if self.misses < LEAST_MISSES {
            return false;
        }
        if !self.has_started() {
            return self.unseen(now.clock) >= options.confirm_after;
        }
        match self.object.stationary {
            true => now.clock.saturating_sub(self.missing_since) >= options.gone_after,
            false => self.unseen(now.clock) >= options.lost_after,
        }
    }

    pub(crate) fn may_start(&self, options: &Options) -> bool {
        !self.has_started()
            && self.object.seen
            && self.sightings >= LEAST_SIGHTINGS
            && self.last.saturating_sub(self.first) >= options.confirm_after
    }

    /// Takes over from the way it has gone whether it stands still; tells if that has changed.
    pub(crate) fn settle(&mut self) -> Option<Change> {
        let still = self.stillness.still;
        if still == self.object.stationary {
            return None;
        }
        self.object.stationary = still;
        self.filter.set_still(still);
        Some(if still { Change::Stopped } else { Change::Moved })
    }

    pub(crate) fn event(&self, change: Change, now: Now) -> Event {
        let mut path = self.path.points().to_vec();
        if path.last() != Some(&self.place) {
            path.push(self.place);
        }
        Event { change, object: self.object.clone(), path, time: now.captured }
    }
}

fn place(bbox: &BBox, now: Now) -> PathPoint {
    let [x, y] = foot(bbox);
    PathPoint { time: now.captured, x, y }
}

fn centre(bbox: &BBox) -> [f64; 2] {
    [f64::midpoint(bbox.x1.into(), bbox.x2.into()), f64::midpoint(bbox.y1.into(), bbox.y2.into())]
}
