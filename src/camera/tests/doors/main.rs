//! The daemon's doors against what stands before them: a broker, clients of HTTP that behave and that do not, a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod broker;
mod browser;
mod http;
mod mqtt;
mod page;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use frcnn_camera::event::{
    CameraInfo, Door, FrameResult, Message, ObjectChange, ObjectEvent, ObjectState, Picture, Seen, Snapshot,
    ZoneInfo,
};

/// After so long nothing will come any more, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until it holds.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn camera(name: &str, classes: &[&str], zones: &[&str]) -> CameraInfo {
    let polygon = vec![[0.55, 0.35], [0.95, 0.35], [0.9, 0.9], [0.6, 0.8]];
    let zone = |name: Arc<str>| ZoneInfo { name, polygon: polygon.clone() };
    let zones = names(zones).into_iter().map(zone).collect();
    CameraInfo { name: name.into(), classes: names(classes), zones }
}

fn object(id: u64, class: &str, zones: &[&str]) -> ObjectState {
    ObjectState {
        id,
        class: class.into(),
        score: 0.93,
        bbox: [20.0, 30.0, 60.0, 110.0],
        stationary: false,
        zones: names(zones),
        first_seen: SystemTime::now(),
    }
}

fn frame(camera: &str, number: u64, objects: Vec<ObjectState>) -> FrameResult {
    let seen = |object: &ObjectState| Seen {
        class: object.class.clone(),
        score: object.score,
        bbox: object.bbox,
        id: Some(object.id),
    };
    FrameResult {
        camera: camera.into(),
        captured: SystemTime::now(),
        number,
        width: 320,
        height: 240,
        proposals: 3,
        ms: 12.5,
        detections: objects.iter().map(seen).collect(),
        objects,
        picture: None,
        line: true,
    }
}

fn change(camera: &str, change: ObjectChange, object: &ObjectState, jpeg: Option<&[u8]>) -> Message {
    Message::Object(Arc::new(ObjectEvent {
        camera: camera.into(),
        change,
        captured: SystemTime::now(),
        id: object.id,
        class: object.class.clone(),
        best_score: object.score,
        best_box: object.bbox,
        bbox: object.bbox,
        path: Vec::new(),
        zones: object.zones.clone(),
        first_seen: object.first_seen,
        snapshot: jpeg.map(|jpeg| Snapshot { jpeg: jpeg.into(), file: None }),
    }))
}

/// The scene of the demo model.
fn scene() -> Arc<Picture> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../model-export/demo/scene.jpg");
    let picture = image::open(path).unwrap().into_rgb8();
    let (width, height) = picture.dimensions();
    Arc::new(Picture { width, height, rgb: picture.into_raw() })
}

/// A door that keeps what is sent.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Kept {
    fn has(&self, parts: &[&str]) -> bool {
        self.0.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

impl Door for Kept {
    fn send(&self, message: &Message) {
        self.0.lock().unwrap().push(message.json());
    }

    fn close(&self, _: Duration) {}
}
