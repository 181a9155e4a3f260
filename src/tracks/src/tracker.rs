//! From observations of frames to objects and events.

use std::collections::BTreeMap;
use std::time::Duration;

use frcnn_core::BBox;

use crate::assign::{Pair, assign};
use crate::jitter::Jitter;
use crate::object::{Change, Event, Object};
use crate::observation::{Looked, Observation};
use crate::options::{Options, OptionsError};
use crate::rules::{PassedOver, Rules};
use crate::track::{Now, Track};
use crate::view::View;

/// Of a frame with more observations than this, those with the highest scores are taken.
pub const MAX_OBSERVATIONS: usize = 1024;

/// What was not followed, since the tracker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Observations that are none: a score or corner that is not finite, corners out of order or a million pixels away.
    pub refused: u64,
    /// Observations in a mask.
    pub masked: u64,
    /// Observations below the smallest size of their class.
    pub small: u64,
    /// Observations beyond [`MAX_OBSERVATIONS`], and those that would have begun one object too many.
    pub too_many: u64,
    /// Frames that were captured before the one that came before them; they count as captured with it.
    pub out_of_order: u64,
}

/// Two classes of one thing: an observation that overlaps another's by this much begins no object of its own, and votes
/// for the other's.
const SAME_THING: f32 = 0.7;

fn is_same_thing(a: &Observation, b: &Observation) -> bool {
    a.bbox.iou(&b.bbox, 1.0) >= SAME_THING
}

/// Cool-downs of more classes than this are not kept.
const MAX_CLASSES: usize = 4096;

/// A longer step is taken as one of this length, in seconds: nothing is known of where a moving object is by then.
const LONGEST_STEP: f64 = 60.0;

/// Follows the objects in front of one camera. See the [crate].
#[derive(Debug)]
pub struct Tracker {
    options: Options,
    /// Those that have started come first, in the order in which they did.
    tracks: Vec<Track>,
    now: Option<Now>,
    last_id: u64,
    /// When the last object of a class started that was not quiet.
    loud: BTreeMap<u32, Duration>,
    jitter: Jitter,
    counts: Counts,
}

impl Tracker {
    /// Has seen nothing yet.
    ///
    /// # Errors
    /// A number in `options` is out of its range.
    pub fn new(options: Options) -> Result<Tracker, OptionsError> {
        options.check()?;
        Ok(Tracker {
            options,
            tracks: Vec::new(),
            now: None,
            last_id: 0,
            loud: BTreeMap::new(),
            jitter: Jitter::default(),
            counts: Counts::default(),
        })
    }

    /// The choices that it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Exchanges zones, masks and thresholds; objects stay.
    ///
    /// # Errors
    /// As of [`Tracker::new`]; the present rules stay then.
    pub fn set_rules(&mut self, rules: Rules) -> Result<(), OptionsError> {
        rules.check()?;
        self.options.rules = rules;
        Ok(())
    }

    /// The objects that have started, oldest first.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.tracks.iter().filter(|track| track.has_started()).map(|track| &track.object)
    }

    /// What was not followed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where to look in the frame captured at `time`, beside what other proposals there are: at the places where objects
    /// are expected that the last frame did not show. A stationary one is due every [`Options::look_again_every`].
    #[must_use]
    pub fn look_again(&self, time: Duration) -> Vec<BBox> {
        let Some(now) = self.now else { return Vec::new() };
        let ahead = time.saturating_sub(now.captured);
        let clock = now.clock.saturating_add(ahead);
        let due = |track: &&Track| {
            let stationary = track.object.stationary;
            track.has_started()
                && if stationary {
                    track.unseen(clock) >= self.options.look_again_every
                } else {
                    !track.object.seen
                }
        };
        let seconds = ahead.as_secs_f64().min(LONGEST_STEP);
        let view = View::new(self.options.frame_size);
        self.tracks.iter().filter(due).map(|track| track.expected(seconds, view)).collect()
    }

    /// Where else to look in the frame captured at `time`: around objects that stood still until lately and that the last frame did not
    /// show, for [`Options::lost_after`]. What starts uncovers ground, which moves as well, so that no proposal of a motion model fits
    /// it; these do, up to its own size away.
    #[must_use]
    pub fn look_around(&self, time: Duration) -> Vec<BBox> {
        let Some(now) = self.now else { return Vec::new() };
        let ahead = time.saturating_sub(now.captured);
        let clock = now.clock.saturating_add(ahead);
        let seconds = ahead.as_secs_f64().min(LONGEST_STEP);
        let view = View::new(self.options.frame_size);
        let missed =
            |track: &&Track| track.has_started() && track.may_have_started(self.options.lost_after, clock);
        self.tracks.iter().filter(missed).flat_map(|track| track.around(seconds, view)).collect()
    }

    /// Takes in what a frame, captured at `time` since any epoch, showed, and tells what has happened.
    ///
    /// `observations` are all that the detector found, also those of a low score (from [`Options::low_score`] on): they
    /// begin no object, and keep one. Those that make no sense are passed over and counted.
    pub fn update(&mut self, time: Duration, observations: &[Observation], looked: Looked<'_>) -> Vec<Event> {
        let (now, seconds) = self.step(time);
        let observations = self.sift(observations);
        let view = View::new(self.options.frame_size);
        for track in &mut self.tracks {
            track.predict(seconds, self.jitter.share(), view);
        }
        let mut owners = vec![None; observations.len()];
        let is_high: Vec<bool> = observations.iter().map(|o| o.score >= self.threshold(o.class)).collect();
        self.round(&observations, &mut owners, |i| is_high[i], true, Track::has_started);
        self.round(&observations, &mut owners, |i| !is_high[i], false, Track::has_started);
        self.round(&observations, &mut owners, |i| is_high[i], true, |track| !track.has_started());
        self.see(&observations, &owners, now, looked);
        let mut events = Vec::new();
        self.change(now, &mut events);
        self.begin(&observations, &owners, &is_high, now);
        events
    }

    /// Ends all objects: the camera is gone, or the program ends.
    pub fn finish(&mut self) -> Vec<Event> {
        let Some(now) = self.now else { return Vec::new() };
        let loud = |track: &Track| track.has_started() && !track.object.quiet;
        self.tracks.drain(..).filter(loud).map(|track| track.event(Change::Ended, now)).collect()
    }

    /// The clock of this frame, and the seconds since the last one.
    fn step(&mut self, time: Duration) -> (Now, f64) {
        let previous = self.now.unwrap_or(Now { captured: time, clock: Duration::ZERO });
        if time < previous.captured {
            self.counts.out_of_order += 1;
        }
        let passed = time.saturating_sub(previous.captured);
        let now = Now { captured: time, clock: previous.clock.saturating_add(passed) };
        self.now = Some(now);
        (now, passed.as_secs_f64().min(LONGEST_STEP))
    }

    fn threshold(&self, class: u32) -> f32 {
        self.options.rules.of(class).threshold.unwrap_or(self.options.high_score)
    }

    /// The observations that may be tracked, best first.
    fn sift(&mut self, observations: &[Observation]) -> Vec<Observation> {
        let mut kept = Vec::new();
        for observation in observations {
            if !observation.is_valid() {
                self.counts.refused += 1;
                continue;
            }
            match self.options.rules.pass(observation) {
                Err(PassedOver::Masked) => self.counts.masked += 1,
                Err(PassedOver::Small) => self.counts.small += 1,
                Ok(())
                    if observation.score >= self.options.low_score.min(self.threshold(observation.class)) =>
                {
                    kept.push(*observation);
                }
                Ok(()) => {}
            }
        }
        kept.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.counts.too_many += kept.len().saturating_sub(MAX_OBSERVATIONS) as u64;
        kept.truncate(MAX_OBSERVATIONS);
        kept
    }

    /// Assigns some of the observations to some of the tracks, of those that have no partner yet. `owners` tells the track
    /// of each observation.
    fn round(
        &self,
        observations: &[Observation],
        owners: &mut [Option<usize>],
        takes: impl Fn(usize) -> bool,
        high: bool,
        of: impl Fn(&Track) -> bool,
    ) {
        let mut taken = vec![false; self.tracks.len()];
        owners.iter().flatten().for_each(|&row| taken[row] = true);
        let open: Vec<usize> = (0..observations.len()).filter(|&i| owners[i].is_none() && takes(i)).collect();
        let view = View::new(self.options.frame_size);
        let mut pairs = Vec::new();
        for (row, track) in self.tracks.iter().enumerate().filter(|(row, track)| !taken[*row] && of(track)) {
            for &column in &open {
                let gain = track.gain(&observations[column], high, self.jitter.share(), view);
                if gain > 0.0 {
                    pairs.push(Pair { row, column, gain });
                }
            }
        }
        for (row, column) in assign(self.tracks.len(), observations.len(), &pairs) {
            owners[column] = Some(row);
        }
    }

    /// Tells each track what the frame showed of it.
    fn see(&mut self, observations: &[Observation], owners: &[Option<usize>], now: Now, looked: Looked<'_>) {
        let mut shown = vec![None; self.tracks.len()];
        for (observation, owner) in observations.iter().zip(owners) {
            if let Some(row) = *owner {
                shown[row] = Some(observation);
            }
        }
        for (observation, _) in observations.iter().zip(owners).filter(|(_, owner)| owner.is_none()) {
            let same = |shown: &Option<&Observation>| shown.is_some_and(|o| is_same_thing(o, observation));
            if let Some(row) = shown.iter().position(same) {
                self.tracks[row].hear(observation);
            }
        }
        for (track, shown) in self.tracks.iter_mut().zip(shown) {
            match shown {
                Some(observation) => {
                    if let Some(error) = track.see(observation, now, self.jitter.share(), &self.options)
                        && track.has_started()
                    {
                        self.jitter.learn(error);
                    }
                }
                None => track.miss(now, looked.at(&track.object.bbox)),
            }
        }
    }

    /// Starts, stops, moves and ends tracks.
    fn change(&mut self, now: Now, events: &mut Vec<Event>) {
        let mut tell = |track: &Track, change| {
            if !track.object.quiet {
                events.push(track.event(change, now));
            }
        };
        for track in &mut self.tracks {
            if track.may_start(&self.options) {
                self.last_id += 1;
                track.object.id = self.last_id;
                let class = track.object.class;
                let cool_down = self.options.rules.of(class).cool_down;
                let last = self.loud.get(&class);
                track.object.quiet = last.is_some_and(|&last| now.clock.saturating_sub(last) < cool_down);
                if !track.object.quiet && !cool_down.is_zero() {
                    self.loud.insert(class, now.clock);
                    if self.loud.len() > MAX_CLASSES {
                        self.loud.pop_first();
                    }
                }
                tell(track, Change::Started);
            }
            if track.has_started()
                && let Some(change) = track.settle()
            {
                tell(track, change);
            }
        }
        self.tracks.retain(|track| {
            let over = track.is_over(now, &self.options);
            if over && track.has_started() {
                tell(track, Change::Ended);
            }
            !over
        });
    }

    /// Begins tracks of what belongs to none.
    fn begin(&mut self, observations: &[Observation], owners: &[Option<usize>], is_high: &[bool], now: Now) {
        for (i, observation) in observations.iter().enumerate() {
            if owners[i].is_some() || !is_high[i] {
                continue;
            }
            let goes_before = |j: usize| owners[j].is_some() || j < i && is_high[j];
            if (0..observations.len()).any(|j| goes_before(j) && is_same_thing(&observations[j], observation))
            {
                continue;
            }
            if self.tracks.len() < self.options.max_objects {
                self.tracks.push(Track::new(observation, now, self.jitter.share(), &self.options));
            } else {
                self.counts.too_many += 1;
            }
        }
    }
}
