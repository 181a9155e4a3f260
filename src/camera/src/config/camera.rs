//! One camera's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use frcnn::MotionOptions;
use frcnn_tracks::{MAX_MASKS, MAX_POINTS, MAX_ZONES};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Colour, Format, is_name};

/// Fewer of a frame enclose nothing: one of them was meant as a share of it.
const LEAST_PIXELS: f32 = 4.0;

/// `[[camera]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Letters, digits, `-` and `_`; no other camera has it.
    pub name: String,
    /// `-` for standard input, a FIFO or file of raw frames or JPEGs (with `format`), or what ffmpeg or GStreamer reads: a URL, a
    /// video file, a `/dev/videoN`.
    pub input: String,
    /// Of raw frames and JPEGs; what a camera is asked for.
    #[serde(default, deserialize_with = "by_name")]
    pub format: Option<Format>,
    /// Of raw frames; what a camera is asked for, or what other inputs are scaled to.
    pub size: Option<Size>,
    /// Of raw frames.
    pub stride: Option<Stride>,
    /// What Y, U and V of raw frames mean; by default BT.601 in limited range.
    #[serde(default, deserialize_with = "by_name")]
    pub colour: Option<Colour>,
    /// Frames are dropped rather than that they wait; by default so of URLs and devices. `false` of a FIFO: it hands recordings over,
    /// of 25 frames a second.
    pub live: Option<bool>,
    /// What reads inputs that are neither raw frames nor JPEGs.
    #[serde(default)]
    pub reader: Reader,
    /// Where boxes come from; by default the model where it proposes, else motion.
    pub proposer: Option<Proposer>,
    /// How soon what the camera sees is background, where boxes come from motion.
    #[serde(default)]
    pub motion: Motion,
    /// Grey levels by which a cell of 8 x 8 pixels may differ; by default the camera's noise, which is learned.
    pub tolerance: Option<f32>,
    /// Compute what has changed, and not every frame as a whole.
    #[serde(default = "yes")]
    pub reuse: bool,
    /// Follow objects from frame to frame.
    #[serde(default = "yes")]
    pub objects: bool,
    /// Parts of the view with names: these and the keys below are for objects that are followed.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// Parts of the view in which no object stands.
    #[serde(default)]
    pub masks: Vec<Polygon>,
    /// Least scores by class.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// Least width and height by class, in pixels.
    #[serde(default)]
    pub smallest: BTreeMap<String, [f32; 2]>,
    /// After an object has started, others of its class that start within so many seconds are followed, but not told of.
    pub cool_down: Option<f32>,
}

/// What has a name.
fn by_name<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(D::Error::custom)
}

fn yes() -> bool {
    true
}

impl Camera {
    /// A camera of the defaults.
    #[must_use]
    pub fn new(name: &str, input: &str) -> Camera {
        Camera {
            name: name.into(),
            input: input.into(),
            format: None,
            size: None,
            stride: None,
            colour: None,
            live: None,
            reader: Reader::default(),
            proposer: None,
            motion: Motion::default(),
            tolerance: None,
            reuse: true,
            objects: true,
            zones: Vec::new(),
            masks: Vec::new(),
            thresholds: BTreeMap::new(),
            smallest: BTreeMap::new(),
            cool_down: None,
        }
    }
}

/// A part of the view.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Letters, digits, `-` and `_`; no other zone of the camera has it.
    pub name: String,
    /// Its corners.
    pub polygon: Polygon,
    /// Only objects of these classes count; by default all.
    #[serde(default)]
    pub classes: Vec<String>,
}

/// Corners, x and y, at least three: in pixels, or as shares of the frame's width and height where all are from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Polygon(pub Vec<[f32; 2]>);

impl Polygon {
    /// All coordinates are shares of the frame.
    #[must_use]
    pub fn is_relative(&self) -> bool {
        self.0.iter().flatten().all(|value| (0.0..=1.0).contains(value))
    }

    /// In pixels of a frame.
    #[must_use]
    pub fn pixels(&self, width: u32, height: u32) -> Vec<[f32; 2]> {
        let scale = if self.is_relative() { [width as f32, height as f32] } else { [1.0, 1.0] };
        self.0.iter().map(|[x, y]| [x * scale[0], y * scale[1]]).collect()
    }

    /// Whether it lies beside frames of a size.
    pub(crate) fn is_outside(&self, width: u32, height: u32) -> bool {
        let corners = self.pixels(width, height);
        let all = |is: &dyn Fn(&[f32; 2]) -> bool| corners.iter().all(is);
        all(&|[x, _]| *x <= 0.0)
            || all(&|[_, y]| *y <= 0.0)
            || all(&|[x, _]| *x >= width as f32)
            || all(&|[_, y]| *y >= height as f32)
    }

    /// How far a corner lies from the line through the first and the one that is farthest from that.
    fn thickness(&self) -> f32 {
        let Some([x, y]) = self.0.first() else { return 0.0 };
        let from_first = || self.0.iter().map(move |corner| [corner[0] - x, corner[1] - y]);
        let length = |[x, y]: [f32; 2]| x.hypot(y);
        let Some(axis) = from_first().max_by(|a, b| length(*a).total_cmp(&length(*b))) else { return 0.0 };
        let far = length(axis).max(f32::MIN_POSITIVE);
        let heights = from_first().map(|[x, y]| (x * axis[1] - y * axis[0]).abs() / far);
        heights.fold(0.0, f32::max)
    }
}

/// Where boxes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proposer {
    /// About 2000 boxes, the same for each frame.
    Grid,
    /// What moves.
    Motion,
    /// The model's region proposal network.
    Model,
}

impl Proposer {
    /// With their names.
    pub const ALL: [(&'static str, Proposer); 3] =
        [("grid", Proposer::Grid), ("motion", Proposer::Motion), ("model", Proposer::Model)];
}

/// How soon what a camera sees is background, in seconds; recordings of raw frames or JPEGs, which have no times, count as 25 frames
/// a second.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Motion {
    /// Time constant with which the background follows slow changes, such as the light's.
    pub follows: f32,
    /// What stops is background after about so long; as an object it is then looked at at its place.
    pub absorbs: f32,
}

impl Default for Motion {
    fn default() -> Motion {
        let MotionOptions { follows, absorbs } = MotionOptions::default();
        Motion { follows: follows.as_secs_f32(), absorbs: absorbs.as_secs_f32() }
    }
}

impl Motion {
    fn is_valid(&self) -> bool {
        [self.follows, self.absorbs].iter().all(|seconds| (0.1..=86_400.0).contains(seconds))
    }

    pub(crate) fn options(&self) -> MotionOptions {
        // It was checked when the file was read.
        let time = |seconds: f32| Duration::try_from_secs_f32(seconds).unwrap_or_default();
        MotionOptions { follows: time(self.follows), absorbs: time(self.absorbs) }
    }
}

/// What reads inputs that are neither raw frames nor JPEGs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// `ffmpeg`
    #[default]
    Ffmpeg,
    /// `gst-launch-1.0`
    Gstreamer,
}

/// Pixels, as `640x480`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let sides = 1..=frcnn::Frame::MAX_SIDE;
        let side = |text: &str| text.parse().ok().filter(|side| sides.contains(side));
        let (width, height) = text.split_once('x').unwrap_or_default();
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Size { width, height }),
            _ => Err(format!("`{text}` is not like 640x480")),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        text.parse()
    }
}

/// Where the rows and planes of raw frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StrideText")]
pub enum Stride {
    /// One directly after the other, as ffmpeg writes them.
    Packed,
    /// Rows padded to 4 bytes, and heights to 2 rows where chroma has half of them.
    Gstreamer,
    /// So many bytes from row to row; half of that in the half-width planes of I420.
    Bytes(usize),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StrideText {
    Bytes(usize),
    Word(String),
}

impl FromStr for Stride {
    type Err = String;

    fn from_str(text: &str) -> Result<Stride, String> {
        match (text, text.parse()) {
            ("packed", _) => Ok(Stride::Packed),
            ("gstreamer", _) => Ok(Stride::Gstreamer),
            (_, Ok(bytes @ 1..=1_048_576)) => Ok(Stride::Bytes(bytes)),
            _ => Err(format!(
                "`{text}` is neither packed nor gstreamer nor a number of bytes from 1 to 1048576"
            )),
        }
    }
}

impl TryFrom<StrideText> for Stride {
    type Error = String;

    fn try_from(text: StrideText) -> Result<Stride, String> {
        match text {
            StrideText::Bytes(bytes) => bytes.to_string().parse(),
            StrideText::Word(word) => word.parse(),
        }
    }
}

impl Camera {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.input.is_empty() {
            return Err("input: is empty".into());
        }
        if let Some(levels) = self.tolerance {
            if !(0.0..=255.0).contains(&levels) {
                return Err("tolerance: must be from 0 to 255".into());
            }
            if !self.reuse {
                return Err("tolerance: does not go with reuse = false".into());
            }
        }
        let mut names = BTreeSet::new();
        for zone in &self.zones {
            if !is_name(&zone.name) {
                return Err(format!("zones: name `{}` must be letters, digits, `-` and `_`", zone.name));
            }
            if !names.insert(&zone.name) {
                return Err(format!("zones: there are two of the name `{}`", zone.name));
            }
            zone.polygon.check().map_err(|problem| format!("zones: `{}`: polygon: {problem}", zone.name))?;
        }
        for (i, mask) in self.masks.iter().enumerate() {
            mask.check().map_err(|problem| format!("masks: number {}: {problem}", i + 1))?;
        }
        for (class, score) in &self.thresholds {
            if !score.is_finite() {
                return Err(format!("thresholds: `{class}`: is not a number"));
            }
        }
        for (class, sides) in &self.smallest {
            if !sides.iter().all(|side| side.is_finite() && *side >= 0.0) {
                return Err(format!("smallest: `{class}`: width and height must be at least 0"));
            }
        }
        if self.zones.len() > MAX_ZONES {
            return Err(format!("zones: there are {}; there may be {MAX_ZONES}", self.zones.len()));
        }
        if self.masks.len() > MAX_MASKS {
            return Err(format!("masks: there are {}; there may be {MAX_MASKS}", self.masks.len()));
        }
        let of_objects = [
            ("zones", !self.zones.is_empty()),
            ("masks", !self.masks.is_empty()),
            ("thresholds", !self.thresholds.is_empty()),
            ("smallest", !self.smallest.is_empty()),
            ("cool_down", self.cool_down.is_some()),
        ];
        if let Some((key, _)) = of_objects.iter().find(|(_, given)| *given && !self.objects) {
            return Err(format!("{key}: does not go with objects = false"));
        }
        if !self.motion.is_valid() {
            return Err("motion: follows and absorbs must be from 0.1 to 86400 seconds".into());
        }
        if matches!(self.cool_down, Some(seconds) if !(0.0..=86_400.0).contains(&seconds)) {
            return Err("cool_down: must be from 0 to 86400 seconds".into());
        }
        Ok(())
    }
}

impl Polygon {
    fn check(&self) -> Result<(), String> {
        if !(3..=MAX_POINTS).contains(&self.0.len()) {
            return Err(format!("has {} corners; there must be 3 to {MAX_POINTS}", self.0.len()));
        }
        if !self.0.iter().flatten().all(|value| value.is_finite() && value.abs() <= 1e6) {
            return Err("has a corner that is not a number, or far away".into());
        }
        let spans = |axis: usize| {
            let values = self.0.iter().map(|corner| corner[axis]);
            values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
        };
        let least = spans(0).min(spans(1));
        // One share that is out of its range makes pixels of all.
        if !self.is_relative() && least < LEAST_PIXELS {
            return Err(format!("is {least} pixels wide or high; shares of the frame are all from 0 to 1"));
        }
        // A thousandth of a frame is less than a pixel of most.
        let least = if self.is_relative() { 0.001 } else { 1.0 };
        if self.thickness() < least {
            return Err("encloses nothing: all corners lie on one line".into());
        }
        if self.is_outside(u32::MAX, u32::MAX) {
            return Err("lies outside of every picture".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_are_shares_or_pixels() {
        let shares = Polygon(vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]);
        assert_eq!(shares.pixels(640, 480), [[0.0, 240.0], [640.0, 240.0], [640.0, 480.0]]);
        let pixels = Polygon(vec![[0.0, 0.5], [2.0, 0.5], [1.0, 1.0]]);
        assert_eq!(pixels.pixels(640, 480), pixels.0);
        assert!(!shares.is_outside(640, 480) && !pixels.is_outside(640, 480));
        let beside = Polygon(vec![[320.0, 0.0], [400.0, 0.0], [400.0, 100.0]]);
        assert!(beside.is_outside(320, 240) && !beside.is_outside(321, 240));
    }
}
