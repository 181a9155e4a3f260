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
use crate::view::View;
use crate::votes::Votes;

/// An observation that is more surprising than this is another's: see [`BoxFilter::surprise`].
const MOST_SURPRISE: f64 = 24.0;

/// One of a low score has to be nearer.
const MOST_SURPRISE_LOW: f64 = 12.0;

/// An object has been seen so often more than missed before it starts.
const LEAST_SIGHTINGS: u32 = 3;

/// So many frames must have missed an object before it ends, however much time there is between them.
const LEAST_MISSES: u32 = 2;

/// Steps of so many to its size are looked at around the place of what stood still.
const STEPS: i32 = 4;

/// A second in which an object is seen makes up for so many in which it was not.
const PAID_BACK: f64 = 2.0;

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
    /// Whether it is expected outside of the frame.
    left: bool,
    /// Frames that showed it, less those that did not while it had not started.
    sightings: u32,
    first: Duration,
    /// On the tracker's clock.
    last: Duration,
    /// For how long it was not seen while it moved, in seconds, less what it has been seen since: who is seen once in a while, as where
    /// there are false observations, is not there.
    owed: f64,
    step: f64,
    /// Seconds since it was seen.
    unseen: f64,
    /// Frames in a row that looked for it in vain, and when the first of them was.
    misses: u32,
    missing_since: Duration,
    /// Whether it ever stood still, and when it was last known to.
    has_rested: bool,
    rested: Duration,
}

impl Track {
    pub(crate) fn new(observation: &Observation, now: Now, jitter: f64, options: &Options) -> Track {
        let filter = BoxFilter::new(&observation.bbox, jitter);
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
            left: false,
            sightings: 1,
            first: now.clock,
            last: now.clock,
            owed: 0.0,
            step: 0.0,
            unseen: 0.0,
            misses: 0,
            missing_since: now.clock,
            has_rested: false,
            rested: now.clock,
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

    pub(crate) fn predict(&mut self, seconds: f64, jitter: f64, view: View) {
        self.step = seconds;
        self.unseen += seconds;
        self.filter.predict(seconds, self.object.seen, self.unseen, jitter);
        let bbox = self.filter.bbox();
        self.object.bbox = view.seen(bbox);
        self.left = !self.object.stationary && view.has_left(&bbox, self.filter.velocity());
    }

    /// The box in `seconds` from the last frame.
    pub(crate) fn expected(&self, seconds: f64, view: View) -> BBox {
        view.seen(self.filter.at(seconds))
    }

    /// Whether the last frame did not show it, and it stood still until less than `time` ago, or was not missed for longer.
    pub(crate) fn may_have_started(&self, time: Duration, clock: Duration) -> bool {
        let since = if self.object.stationary { self.missing_since } else { self.rested };
        self.misses > 0 && self.has_rested && clock.saturating_sub(since) < time
    }

    /// Boxes of its size around where it is expected in `seconds`, up to its size away.
    pub(crate) fn around(&self, seconds: f64, view: View) -> impl Iterator<Item = BBox> {
        let BBox { x1, y1, x2, y2 } = self.filter.at(seconds);
        let step = [(x2 - x1 + 1.0) / STEPS as f32, (y2 - y1 + 1.0) / STEPS as f32];
        let steps = (-STEPS..=STEPS).flat_map(|i| (-STEPS..=STEPS).map(move |j| (i, j)));
        let near = steps.filter(|(i, j)| (1..=STEPS * STEPS).contains(&(i * i + j * j)));
        near.map(move |(i, j)| {
            let [dx, dy] = [i as f32 * step[0], j as f32 * step[1]];
            view.seen(BBox::new(x1 + dx, y1 + dy, x2 + dx, y2 + dy))
        })
    }

    /// How much it gains to take `observation` for this object: 0 for nothing, up to 1.
    pub(crate) fn gain(&self, observation: &Observation, high: bool, jitter: f64, view: View) -> f64 {
        if self.left {
            return 0.0;
        }
        let surprise = self.filter.surprise(&observation.bbox, view.cuts(&observation.bbox), jitter);
        let most = if high { MOST_SURPRISE } else { MOST_SURPRISE_LOW };
        let gain = (1.0 - surprise / most).max(0.0);
        if observation.class == self.object.class { gain } else { 0.5 * gain }
    }

    /// Takes in what another class's detector says of the same thing; before `see`.
    pub(crate) fn hear(&mut self, observation: &Observation) {
        self.votes.cast(observation.class, observation.score);
    }

    pub(crate) fn see(
        &mut self,
        observation: &Observation,
        now: Now,
        jitter: f64,
        options: &Options,
    ) -> Option<f64> {
        let view = View::new(options.frame_size);
        let error = self.filter.update(&observation.bbox, view.cuts(&observation.bbox), jitter);
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
        object.bbox = view.seen(self.filter.bbox());
        object.seen = true;
        object.last_seen = now.captured;
        self.sightings = self.sightings.saturating_add(1);
        self.last = now.clock;
        self.unseen = 0.0;
        self.owed = (self.owed - PAID_BACK * self.step).max(0.0);
        self.misses = 0;
        self.stillness.visit(self.filter.centre(), self.filter.size(), now.clock, options.still_after);
        self.leave_a_trace(now, options);
        error
    }

    fn leave_a_trace(&mut self, now: Now, options: &Options) {
        self.object.zones = options.rules.zones_at(self.object.class, &self.object.bbox);
        self.place = place(&self.object.bbox, now);
        self.path.visit(self.place, self.filter.size() as f32);
    }

    /// A frame does not show it; `looked` whether the detector looked at its place.
    pub(crate) fn miss(&mut self, now: Now, looked: bool) {
        self.object.seen = false;
        // What stands still is looked at once in a while: that it was not seen in between says nothing.
        if !self.object.stationary {
            self.owed += self.step;
        }
        if !self.has_started() {
            self.sightings = self.sightings.saturating_sub(1);
        }
        if looked || !self.object.stationary {
            if self.misses == 0 {
                self.missing_since = now.clock;
            }
            self.misses = self.misses.saturating_add(1);
        }
    }

    /// Whether it is there no more.
    pub(crate) fn is_over(&self, now: Now, options: &Options) -> bool {
        if self.left {
            return true;
        }
        if !self.has_started() {
            return self.sightings == 0
                || self.misses >= LEAST_MISSES && self.unseen(now.clock) >= options.confirm_after;
        }
        if self.misses < LEAST_MISSES {
            return false;
        }
        match self.object.stationary {
            true => now.clock.saturating_sub(self.missing_since) >= options.gone_after,
            // Of what was seen for a moment nobody knows where it goes.
            false => {
                let seen = self.last.saturating_sub(self.first).max(options.confirm_after);
                self.owed >= options.lost_after.min(seen).as_secs_f64()
            }
        }
    }

    pub(crate) fn may_start(&self, options: &Options) -> bool {
        !self.has_started()
            && self.object.seen
            && self.sightings >= LEAST_SIGHTINGS as f64 as u32
            && self.last.saturating_sub(self.first) >= options.confirm_after
    }

    /// Takes over from the way it has gone whether it stands still; tells if that has changed.
    pub(crate) fn settle(&mut self) -> Option<Change> {
        let still = self.stillness.still;
        if still == self.object.stationary {
            return None;
        }
        self.has_rested = true;
        self.rested = self.last;
        self.owed = 0.0;
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
