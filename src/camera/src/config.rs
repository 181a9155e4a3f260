//! What the daemon is to do: a TOML file, or what the command line's options say of one camera.
//!
//! ```toml
//! [model]
//! path = "street.frcnn"
//!
//! [[camera]]
//! name = "yard"
//! input = "rtsp://192.168.1.20/stream"
//! zones = [{ name = "gate", polygon = [[0.1, 0.5], [0.4, 0.5], [0.4, 1.0], [0.1, 1.0]] }]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use frcnn::MotionOptions;
pub use frcnn_images::camera::{Colour, Format};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A file of this length at most is read.
const MOST: u64 = 1 << 20;

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bundle.
    pub model: Model,
    /// At least one, of different names.
    #[serde(rename = "camera", default)]
    pub cameras: Vec<Camera>,
    /// The broker, if there is one.
    pub mqtt: Option<Mqtt>,
    /// The port, if there is to be one.
    pub http: Option<Http>,
    /// Whether pictures of objects are kept.
    pub snapshots: Option<Snapshots>,
    /// The cameras are those of a file, and not the one of the command line.
    #[serde(skip)]
    pub from_file: bool,
    /// A line for every frame.
    #[serde(skip)]
    pub all: bool,
}

/// `[model]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A bundle that `frcnn compile` wrote; read again at SIGHUP.
    pub path: PathBuf,
    /// Threads that work on one frame; by default the physical cores.
    pub threads: Option<usize>,
    /// Only detections with a greater score; by default the bundle's.
    pub score_threshold: Option<f32>,
}

/// `[mqtt]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtts://user@host:8883/prefix`; `mqtt://` without TLS, port 1883. The prefix of topics is `frcnn-camera` by default.
    pub url: String,
    /// A file with the password; the environment's `FRCNN_MQTT_PASSWORD` stands before it.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that the broker's must be signed by; by default those of the Web.
    pub ca_file: Option<PathBuf>,
    /// Home Assistant is told of the cameras (topics below `homeassistant/`).
    #[serde(default)]
    pub discovery: bool,
    /// Topics are those of the command line's one camera: PREFIX/detections has each line, PREFIX/availability the state.
    #[serde(skip)]
    pub single: bool,
}

/// `[http]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port, such as `127.0.0.1:9477`; port 0 is a free one. Another address than this machine's own needs a key.
    pub listen: String,
    /// A file with the key that clients give.
    pub key_file: Option<PathBuf>,
    /// Only /metrics is served: the command line's `--metrics`.
    #[serde(skip)]
    pub metrics_only: bool,
}

/// `[snapshots]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// Where JPEGs of objects are kept; without it they only go through the doors.
    pub folder: Option<PathBuf>,
    /// The folder's size at most, in MB; the oldest go first.
    #[serde(default = "default_max_mb")]
    pub max_mb: u64,
}

fn default_max_mb() -> u64 {
    500
}

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
    /// Frames are dropped rather than that they wait; by default so, but for files and standard input.
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
    /// Parts of the view with names.
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

/// How soon what a camera sees is background, in seconds; recordings of raw frames, which have no times, count as 25 frames a
/// second.
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

/// What is wrong with a file, or with what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Config {
    /// Reads a file; relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// The file cannot be read or is longer than 1 MiB, or see [`parse`](Config::parse).
    pub fn open(path: &Path) -> Result<Config, Error> {
        let named = |problem: &dyn std::fmt::Display| Error(format!("{}: {problem}", path.display()));
        let bytes = frcnn_files::read_at_most(path, MOST).map_err(|error| named(&error))?;
        let text = String::from_utf8(bytes).map_err(|_| named(&"is not text in UTF-8"))?;
        let mut config = Config::read(&text).map_err(|error| named(&error))?;
        config.start_from(path.parent().unwrap_or(Path::new("")));
        config.check().map_err(|error| named(&error))?;
        Ok(config)
    }

    /// A file's text.
    ///
    /// # Errors
    /// It is no TOML, has a key that nobody knows or lacks one that is needed, or a value is out of range: the error names table and
    /// key.
    pub fn parse(text: &str) -> Result<Config, Error> {
        let config = Config::read(text)?;
        config.check()?;
        Ok(config)
    }

    fn read(text: &str) -> Result<Config, Error> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| Error(error.to_string().trim_end().into()))?;
        config.from_file = true;
        Ok(config)
    }

    fn start_from(&mut self, folder: &Path) {
        let mqtt = self.mqtt.iter_mut().flat_map(|mqtt| [&mut mqtt.password_file, &mut mqtt.ca_file]);
        let http = self.http.iter_mut().map(|http| &mut http.key_file);
        let snapshots = self.snapshots.iter_mut().map(|snapshots| &mut snapshots.folder);
        for path in mqtt.chain(http).chain(snapshots).flatten() {
            *path = folder.join(&*path);
        }
        if !self.model.path.as_os_str().is_empty() {
            self.model.path = folder.join(&self.model.path);
        }
        for camera in self.cameras.iter_mut().filter(|camera| crate::source::is_path(&camera.input)) {
            // A folder whose name is no text cannot stand in an input.
            if let Some(path) = folder.join(&camera.input).to_str() {
                camera.input = path.into();
            }
        }
    }

    /// What no type says.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |problem: String| Err(Error(problem));
        if self.model.path.as_os_str().is_empty() {
            return refuse("[model] path: is empty".into());
        }
        if matches!(self.model.threads, Some(threads) if !(1..=1024).contains(&threads)) {
            return refuse("[model] threads: must be 1 to 1024".into());
        }
        if matches!(self.model.score_threshold, Some(score) if !score.is_finite()) {
            return refuse("[model] score_threshold: is not a number".into());
        }
        if self.cameras.is_empty() {
            return refuse("there is no [[camera]]".into());
        }
        if matches!(&self.snapshots, Some(snapshots) if snapshots.max_mb == 0) {
            return refuse("[snapshots] max_mb: must be at least 1".into());
        }
        let mut names = BTreeSet::new();
        for (i, camera) in self.cameras.iter().enumerate() {
            let here = |problem: &str| match self.from_file {
                true => Error(format!("[[camera]] {}, `{}`: {problem}", i + 1, camera.name)),
                false => Error(problem.into()),
            };
            if !is_name(&camera.name) {
                return Err(here("name: must be letters, digits, `-` and `_`"));
            }
            if !names.insert(&camera.name) {
                return Err(here("name: another camera has it, too"));
            }
            camera.check().map_err(|problem| here(&problem))?;
            crate::source::check(camera).map_err(|problem| here(&problem))?;
        }
        if self.cameras.iter().filter(|camera| camera.input == "-").count() > 1 {
            return refuse("[[camera]] input: only one camera can read standard input".into());
        }
        Ok(())
    }
}

impl Camera {
    fn check(&self) -> Result<(), String> {
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
        if !(3..=1000).contains(&self.0.len()) {
            return Err(format!("has {} corners; there must be 3 to 1000", self.0.len()));
        }
        if !self.0.iter().flatten().all(|value| value.is_finite() && value.abs() <= 1e6) {
            return Err("has a corner that is not a number, or far away".into());
        }
        Ok(())
    }
}

/// Goes into topics, labels and names of files as it is.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[model]\npath = \"m.frcnn\"\n[[camera]]\nname = \"yard\"\ninput = \"rtsp://a/b\"\n";

    #[test]
    fn the_least_file_has_defaults() {
        let config = Config::parse(LEAST).unwrap();
        assert_eq!(config.cameras, [Camera::new("yard", "rtsp://a/b")]);
        assert!(config.from_file && !config.all && config.mqtt.is_none());
    }

    #[test]
    fn paths_start_from_the_files_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frcnn.toml");
        std::fs::write(
            &path,
            format!(
                "{LEAST}[snapshots]\nfolder = \"/var/s\"\n[http]\nlisten = \"[::1]:1\"\nkey_file = \"k\"\n"
            ),
        )
        .unwrap();
        let config = Config::open(&path).unwrap();
        assert_eq!(config.cameras[0].input, "rtsp://a/b");
        assert_eq!(config.model.path, folder.path().join("m.frcnn"));
        assert_eq!(config.snapshots.unwrap().folder, Some("/var/s".into()));
        assert_eq!(config.http.unwrap().key_file, Some(folder.path().join("k")));
        let input = |input: &str| {
            std::fs::write(&path, LEAST.replace("rtsp://a/b", input)).unwrap();
            Config::open(&path).map(|config| config.cameras[0].input.clone()).map_err(|error| error.0)
        };
        assert_eq!(input("films/monday.mkv").unwrap(), text(&folder.path().join("films/monday.mkv")));
        assert_eq!(input("/dev/video0").unwrap(), "/dev/video0");
        assert!(input("").unwrap_err().contains("input: is empty"));
        assert!(input("-").unwrap_err().contains("format"));
        // What an input is, is looked up where it is: a FIFO wants a format.
        let fifo = std::process::Command::new("mkfifo").arg(folder.path().join("frames")).status().unwrap();
        assert!(fifo.success());
        assert!(input("frames").unwrap_err().contains("format"));
    }

    fn text(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// Whoever wrote it finds the place.
    #[test]
    fn errors_name_table_and_key() {
        let with = |more: &str| Config::parse(&format!("{LEAST}{more}")).unwrap_err().0;
        for (more, words) in [
            ("colour = \"bt602\"", &["line 6", "bt602"][..]),
            ("colr = \"bt601\"", &["line 6", "colr"]),
            ("size = \"640\"", &["640", "640x480"]),
            ("stride = 0", &["gstreamer"]),
            ("tolerance = -1", &["yard", "tolerance"]),
            ("tolerance = nan", &["yard", "tolerance"]),
            ("tolerance = 1\nreuse = false", &["tolerance", "reuse"]),
            ("motion = { absorbs = 0 }", &["yard", "motion"]),
            ("motion = { follows = nan }", &["yard", "motion"]),
            ("motion = { frames = 9 }", &["line 6", "frames"]),
            ("masks = [[[0, 0], [1, 1]]]", &["yard", "masks", "2 corners"]),
            ("zones = [{ name = \"a b\", polygon = [[0, 0], [1, 1], [0, 1]] }]", &["zones", "a b"]),
            (
                "zones = [{ name = \"a\", polygon = [[0, 0], [inf, 1], [0, 1]] }]",
                &["zones", "`a`", "polygon"],
            ),
            ("thresholds = { red = nan }", &["thresholds", "red"]),
            ("[[camera]]\nname = \"yard\"\ninput = \"x\"", &["2", "yard", "another"]),
            ("[[camera]]\nname = \"a/b\"\ninput = \"x\"", &["a/b", "letters"]),
            ("[mqtt]\n", &["url"]),
            ("[snapshots]\nmax_mb = 0", &["[snapshots] max_mb"]),
        ] {
            let error = with(more);
            assert!(words.iter().all(|word| error.contains(word)), "{more}: {error}");
        }
        assert!(Config::parse("[model]\npath = \"m\"").unwrap_err().0.contains("[[camera]]"));
    }

    #[test]
    fn polygons_are_shares_or_pixels() {
        let shares = Polygon(vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]);
        assert_eq!(shares.pixels(640, 480), [[0.0, 240.0], [640.0, 240.0], [640.0, 480.0]]);
        let pixels = Polygon(vec![[0.0, 0.5], [2.0, 0.5], [1.0, 1.0]]);
        assert_eq!(pixels.pixels(640, 480), pixels.0);
    }
}
