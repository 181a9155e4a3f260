//! What a tracker is made with.

use std::time::Duration;

use crate::rules::{MAX_MASKS, MAX_ZONES, Rules};

/// More objects than this at once are nobody's to follow.
pub const MAX_OBJECTS: usize = 4096;

/// The longest path that can be asked for, in points.
pub const MAX_PATH: usize = 65_536;

/// Choices made when a tracker is made. All times are of capture, so no choice depends on the rate of frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// An observation with at least this score may begin an object, where its class has no threshold of its own: 0.5.
    pub high_score: f32,
    /// One with at least this score may continue an object: 0.1. Lower ones are passed over.
    pub low_score: f32,
    /// An object has started when it has been seen for so long, and three times more than missed: 0.25 s.
    pub confirm_after: Duration,
    /// A moving object that was not seen for so long, nor in two frames, has ended: 2 s.
    pub lost_after: Duration,
    /// An object that has kept its place for so long is stationary: 3 s.
    pub still_after: Duration,
    /// A stationary object that was not found at its place for so long, and by two looks or more, has ended: 5 s.
    pub gone_after: Duration,
    /// A stationary object that was not seen for so long is looked at again: 0.5 s.
    pub look_again_every: Duration,
    /// Width and height of the frames, pixels. With it an object that leaves the view ends at once, and one that the border cuts
    /// off is followed by the sides that are seen; without, the first takes as long as any that is lost: `None`.
    pub frame_size: Option<[u32; 2]>,
    /// At most so many objects at once, 1 to [`MAX_OBJECTS`]: 256.
    pub max_objects: usize,
    /// At most so many points of an object's path are kept, 2 to [`MAX_PATH`]: 100. A longer path keeps every other point.
    pub max_path: usize,
    /// Zones, masks, thresholds.
    pub rules: Rules,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            high_score: 0.5,
            low_score: 0.1,
            confirm_after: Duration::from_millis(250),
            lost_after: Duration::from_secs(2),
            still_after: Duration::from_secs(3),
            gone_after: Duration::from_secs(5),
            look_again_every: Duration::from_millis(500),
            frame_size: None,
            max_objects: 256,
            max_path: 100,
            rules: Rules::default(),
        }
    }
}

/// Why a tracker cannot be made with these options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A score is not a number.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    /// A size below 0, or not a number.
    #[error("the smallest width and height of a class must be finite and at least 0")]
    SmallestSize,
    /// Out of range.
    #[error("{name} is {value}, and must be {least} to {most}")]
    OutOfRange {
        /// The field.
        name: &'static str,
        /// What it holds.
        value: usize,
        /// The least that it may.
        least: usize,
        /// The most that it may.
        most: usize,
    },
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let finite =
            |name, score: f32| if score.is_finite() { Ok(()) } else { Err(OptionsError::NotFinite(name)) };
        let within = |name, value, least, most| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(OptionsError::OutOfRange { name, value, least, most }),
        };
        finite("high_score", self.high_score)?;
        finite("low_score", self.low_score)?;
        within("max_objects", self.max_objects, 1, MAX_OBJECTS)?;
        within("max_path", self.max_path, 2, MAX_PATH)?;
        self.rules.check()
    }
}

impl Rules {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let at_most = |name, value, most| match value <= most {
            true => Ok(()),
            false => Err(OptionsError::OutOfRange { name, value, least: 0, most }),
        };
        at_most("the number of zones", self.zones.len(), MAX_ZONES)?;
        at_most("the number of masks", self.masks.len(), MAX_MASKS)?;
        for rule in self.classes.values().chain([&self.other_classes]) {
            if rule.threshold.is_some_and(|threshold| !threshold.is_finite()) {
                return Err(OptionsError::NotFinite("a class's threshold"));
            }
            if ![rule.min_width, rule.min_height].iter().all(|side| side.is_finite() && *side >= 0.0) {
                return Err(OptionsError::SmallestSize);
            }
        }
        Ok(())
    }
}
