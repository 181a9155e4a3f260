//! What the daemon has to say: what it found in a frame, what objects do, what happens to cameras.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Pixels of a frame: red, green, blue, `height` rows of `width` pixels without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// A detection.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its class's name.
    pub class: Arc<str>,
    /// 0 to 1, or a margin.
    #[serde(serialize_with = "six_digits")]
    pub score: f32,
    /// x1, y1, x2, y2 in pixels, `x2 - x1 + box_width_offset` wide.
    #[serde(rename = "box", serialize_with = "pixels")]
    pub bbox: [f32; 4],
    /// The object that it is a sight of, where objects are followed and this one is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// An object that is being followed.
#[derive(Clone, Debug)]
pub struct ObjectState {
    /// Of its camera, from 1; never given twice while the daemon runs.
    pub id: u64,
    /// The class that most sights of it had.
    pub class: Arc<str>,
    /// Of its last sight.
    pub score: f32,
    /// Where it is: x1, y1, x2, y2 in pixels, `x2 - x1 + box_width_offset` wide.
    pub bbox: [f32; 4],
    /// It stands still.
    pub stationary: bool,
    /// Names of the zones that it is in.
    pub zones: Vec<Arc<str>>,
    /// When it was first seen.
    pub first_seen: SystemTime,
}

/// What one frame of one camera gave.
#[derive(Clone, Debug)]
pub struct FrameResult {
    /// The camera's name.
    pub camera: Arc<str>,
    /// When the frame was whole in this process.
    pub captured: SystemTime,
    /// Of the camera's frames, from 1.
    pub number: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Boxes that the network was asked about, or proposed itself.
    pub proposals: usize,
    /// Milliseconds from the camera's format to detections, JPEG decoding included.
    pub ms: f64,
    /// Best first.
    pub detections: Vec<Seen>,
    /// Those that are followed and confirmed; empty where objects are not followed.
    pub objects: Vec<ObjectState>,
    /// The pixels, where a door asked for them.
    pub picture: Option<Arc<Picture>>,
    /// Whether standard output and MQTT have a line for each frame with detections: it is so where objects are not followed, or
    /// where `--all` asks for it.
    pub line: bool,
}

/// What an object does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// It was seen often enough to be sure of.
    Started,
    /// It stood still, and moves.
    Moved,
    /// It moved, and stands still.
    Stopped,
    /// It is gone.
    Ended,
}

impl ObjectChange {
    /// As it stands in JSON: `object_started` and so on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ObjectChange::Started => "object_started",
            ObjectChange::Moved => "object_moved",
            ObjectChange::Stopped => "object_stopped",
            ObjectChange::Ended => "object_ended",
        }
    }
}

/// Where an object was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathPoint {
    /// Of capture.
    pub time: SystemTime,
    /// Pixels; the centre of the box's lower edge.
    pub x: f32,
    /// Pixels; the box's lower edge.
    pub y: f32,
}

/// A picture of an object.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The JPEG's bytes.
    pub jpeg: Arc<[u8]>,
    /// Where it was written, if it was.
    pub file: Option<PathBuf>,
}

/// An object has done something.
#[derive(Clone, Debug)]
pub struct ObjectEvent {
    /// The camera's name.
    pub camera: Arc<str>,
    /// What it did.
    pub change: ObjectChange,
    /// When the frame that shows it was captured.
    pub captured: SystemTime,
    /// Of its camera, as in [`ObjectState`].
    pub id: u64,
    /// The class that most sights of it had.
    pub class: Arc<str>,
    /// The best of its scores so far.
    pub best_score: f32,
    /// Where it was then: x1, y1, x2, y2 in pixels, `x2 - x1 + box_width_offset` wide.
    pub best_box: [f32; 4],
    /// Where it is now, or was last.
    pub bbox: [f32; 4],
    /// Where it was, oldest first; thinned where it is long.
    pub path: Vec<PathPoint>,
    /// Names of the zones that it is in, or was last.
    pub zones: Vec<Arc<str>>,
    /// When it was first seen.
    pub first_seen: SystemTime,
    /// Of its best frame.
    pub snapshot: Option<Snapshot>,
}

/// Something that happened to a camera or to the daemon.
#[derive(Clone, Debug)]
pub struct CameraEvent {
    /// The camera's name; none where it is the daemon's.
    pub camera: Option<Arc<str>>,
    /// When.
    pub time: SystemTime,
    /// A word: `camera_lost`, `model_reloaded`, `stream_cut` and so on.
    pub event: &'static str,
    /// A sentence.
    pub detail: String,
}

impl CameraEvent {
    /// Of now.
    pub fn now(camera: Option<Arc<str>>, event: &'static str, detail: impl Into<String>) -> CameraEvent {
        CameraEvent { camera, time: SystemTime::now(), event, detail: detail.into() }
    }
}

/// What doors are sent.
#[derive(Clone, Debug)]
pub enum Message {
    /// Of every frame that was looked at.
    Frame(Arc<FrameResult>),
    /// Of objects, where they are followed.
    Object(Arc<ObjectEvent>),
    /// Of cameras, and of the daemon.
    Camera(Arc<CameraEvent>),
}

impl Message {
    /// One line of JSON without its end. Numbers that are not finite are `null`.
    #[must_use]
    pub fn json(&self) -> String {
        let line = match self {
            Message::Frame(frame) => serde_json::to_string(&FrameLine::of(frame)),
            Message::Object(object) => serde_json::to_string(&ObjectLine::of(object)),
            Message::Camera(event) => serde_json::to_string(&CameraLine::of(event)),
        };
        // Strings and numbers alone: there is nothing to fail.
        line.unwrap_or_default()
    }
}

/// Where messages go: standard output, MQTT, the page.
pub trait Door: Send + Sync {
    /// Never waits for whoever is behind the door (standard output does: a pipe is read as fast as it is, until the daemon is asked to
    /// end). What it must drop it counts. Never calls [`Status::report`](crate::status::Status::report).
    fn send(&self, message: &Message);

    /// The configuration was read again: there are other cameras, or other zones.
    fn cameras(&self, _cameras: &[CameraInfo]) {}

    /// Whether somebody looks at this camera: its next frames are to have their pixels.
    fn wants_picture(&self, _camera: &str) -> bool {
        false
    }

    /// Sends what is queued, for at most `limit`.
    fn close(&self, limit: Duration);
}

/// What doors know of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfo {
    /// Letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// Of the model, without the background.
    pub classes: Vec<Arc<str>>,
    /// In the order of the file.
    pub zones: Vec<ZoneInfo>,
}

/// A part of the view.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneInfo {
    /// Letters, digits, `-` and `_`.
    pub name: Arc<str>,
    /// Corners, x and y: pixels, or shares of the frame's width and height where all are at most 1. See
    /// [`Polygon`](crate::config::Polygon).
    pub polygon: Vec<[f32; 2]>,
}

#[derive(Serialize)]
struct FrameLine<'a> {
    time: f64,
    camera: &'a str,
    frame: u64,
    width: u32,
    height: u32,
    proposals: usize,
    ms: f64,
    detections: &'a [Seen],
}

impl FrameLine<'_> {
    fn of(frame: &FrameResult) -> FrameLine<'_> {
        FrameLine {
            time: seconds(frame.captured),
            camera: &frame.camera,
            frame: frame.number,
            width: frame.width,
            height: frame.height,
            proposals: frame.proposals,
            ms: rounded(frame.ms, 10.0),
            detections: &frame.detections,
        }
    }
}

#[derive(Serialize)]
struct ObjectLine<'a> {
    time: f64,
    camera: &'a str,
    event: &'static str,
    id: u64,
    class: &'a str,
    #[serde(serialize_with = "six_digits")]
    score: f32,
    #[serde(rename = "box", serialize_with = "pixels")]
    bbox: [f32; 4],
    #[serde(serialize_with = "pixels")]
    best_box: [f32; 4],
    zones: &'a [Arc<str>],
    first_seen: f64,
    /// Time, x and y.
    path: Vec<[f64; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
}

impl ObjectLine<'_> {
    fn of(object: &ObjectEvent) -> ObjectLine<'_> {
        let pixel = |value: f32| rounded(value.into(), 1000.0);
        let file = object.snapshot.as_ref().and_then(|snapshot| snapshot.file.as_ref());
        ObjectLine {
            time: seconds(object.captured),
            camera: &object.camera,
            event: object.change.name(),
            id: object.id,
            class: &object.class,
            score: object.best_score,
            bbox: object.bbox,
            best_box: object.best_box,
            zones: &object.zones,
            first_seen: seconds(object.first_seen),
            path: object.path.iter().map(|at| [seconds(at.time), pixel(at.x), pixel(at.y)]).collect(),
            snapshot: file.map(|file| file.to_string_lossy().into_owned()),
        }
    }
}

#[derive(Serialize)]
struct CameraLine<'a> {
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<&'a str>,
    event: &'static str,
    detail: &'a str,
}

impl CameraLine<'_> {
    fn of(event: &CameraEvent) -> CameraLine<'_> {
        let camera = event.camera.as_deref();
        CameraLine { time: seconds(event.time), camera, event: event.event, detail: &event.detail }
    }
}

/// Seconds since 1970, in whole milliseconds.
#[must_use]
pub fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

/// To a whole number of `1 / parts`.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn six_digits<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded((*value).into(), 1e6))
}

fn pixels<S: Serializer>(values: &[f32; 4], serializer: S) -> Result<S::Ok, S::Error> {
    values.map(|value| rounded(value.into(), 1e3)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_without_nan() {
        let seen = Seen {
            class: "a \"disc\"\n".into(),
            score: f32::NAN,
            bbox: [1.0, f32::INFINITY, 2.5, 3.1],
            id: None,
        };
        let frame = FrameResult {
            camera: "yard".into(),
            captured: UNIX_EPOCH + Duration::from_micros(1_767_225_600_123_456),
            number: 42,
            width: 640,
            height: 480,
            proposals: 7,
            ms: 61.26,
            detections: vec![seen],
            objects: Vec::new(),
            picture: None,
            line: true,
        };
        let line = Message::Frame(Arc::new(frame)).json();
        let expected = r#"{"time":1767225600.123,"camera":"yard","frame":42,"width":640,"height":480,"proposals":7,"ms":61.3,"detections":[{"class":"a \"disc\"\n","score":null,"box":[1.0,null,2.5,3.1]}]}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn events_name_their_camera_if_they_have_one() {
        let event = |camera| CameraEvent { camera, time: UNIX_EPOCH, event: "stopped", detail: "x".into() };
        let line = |camera| Message::Camera(Arc::new(event(camera))).json();
        assert_eq!(line(None), r#"{"time":0.0,"event":"stopped","detail":"x"}"#);
        assert_eq!(
            line(Some("yard".into())),
            r#"{"time":0.0,"camera":"yard","event":"stopped","detail":"x"}"#
        );
    }
}
