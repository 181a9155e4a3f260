//! What becomes of a camera's objects when something goes wrong: a red square, of which a detector of colours tells.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

use frcnn::{Detector, Options};
use frcnn_images::camera::{Colour, Format, Image};
use serde_json::Value;

use super::*;
use crate::config::{Polygon, Proposer};
use crate::event::{Door, Message};
use crate::status::Status;
use crate::turns::Waiting;

#[path = "../../../capi/examples/colours/bundle.rs"]
mod colours;

const SIDE: usize = 64;
/// After so long nothing will come any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what is told, and panics once where it is to.
#[derive(Default)]
struct Listener {
    lines: Mutex<Vec<Value>>,
    panics: AtomicBool,
}

impl Door for Listener {
    fn send(&self, message: &Message) {
        self.lines.lock().unwrap().push(serde_json::from_str(&message.json()).unwrap());
        let shows_objects = matches!(message, Message::Frame(frame) if !frame.objects.is_empty());
        if shows_objects && self.panics.swap(false, Ordering::Relaxed) {
            panic!("as it is to");
        }
    }

    fn close(&self, _: Duration) {}
}

struct Yard {
    listener: Arc<Listener>,
    turns: Arc<Turns>,
    slot: Arc<Slot>,
    worker: Worker,
    lane: LaneId,
    frames: u64,
    notes: Receiver<Note>,
}

fn detector(classes: [usize; 3]) -> Detector {
    let variant = colours::Variant { classes, ..colours::Variant::PLAIN };
    let bundle = colours::colours(SIDE as u32, &variant).unwrap();
    Detector::new(bundle, &Options { threads: Some(1), ..Options::default() }).unwrap()
}

impl Yard {
    fn new() -> Yard {
        Yard::with(|_| ())
    }

    fn with(settings: impl FnOnce(&mut Camera)) -> Yard {
        let (listener, status) = (Arc::<Listener>::default(), Status::new(true));
        status.open(vec![listener.clone()]);
        let turns = Arc::<Turns>::default();
        let slot = Arc::new(Slot::new(detector([1, 2, 3])));
        let shared = Arc::new(Shared::new(status.clone(), None, false));
        let (sender, notes) = channel();
        let worker = Worker::start(&turns, &slot, &shared, &sender).unwrap();
        let (lane, mut camera) = (turns.join(false), Camera::new("yard", "-"));
        camera.proposer = Some(Proposer::Grid);
        settings(&mut camera);
        let status = status.camera(&"yard".into());
        worker.set(lane, Lane { camera: Arc::new(camera), model: Model::default(), status });
        Yard { listener, turns, slot, worker, lane, frames: 0, notes }
    }

    /// A second of frames that show the square; all are looked at.
    fn show(&mut self) {
        self.show_at(SIDE);
    }

    /// The same in square frames of `side` pixels.
    fn show_at(&mut self, side: usize) {
        let pixel = |i: usize| match (i % side, i / side) {
            (16..48, 16..48) => [255, 0, 0],
            _ => [64, 72, 88],
        };
        let pixels: Vec<u8> = (0..side * side).flat_map(pixel).collect();
        let sides = (side as u32, side as u32);
        let shown =
            Image::new([&pixels, &[], &[]], [3 * side, 0, 0], sides, Format::Rgb24, Colour::default());
        for _ in 0..10 {
            let mut image = self.turns.buffer(self.lane);
            shown.as_ref().unwrap().copy_into(&mut image).unwrap();
            self.frames += 1;
            let time = Duration::from_millis(100 * self.frames);
            let captured = SystemTime::UNIX_EPOCH + time;
            let waiting = Waiting { image, number: self.frames, captured, time, timed: true };
            self.turns.put(self.lane, waiting, || {});
        }
        let begun = Instant::now();
        while !self.listener.lines.lock().unwrap().iter().any(|line| line["frame"] == self.frames) {
            assert!(begun.elapsed() < PATIENCE, "frame {} is not looked at", self.frames);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Objects so far.
    fn started(&self) -> usize {
        let lines = self.listener.lines.lock().unwrap();
        lines.iter().filter(|line| line["event"] == "object_started").count()
    }

    /// What was told in all: the event, the object's id and its class.
    fn end(mut self) -> Vec<(String, u64, String)> {
        self.turns.ended(self.lane);
        while !matches!(self.notes.recv_timeout(PATIENCE).unwrap(), Note::LaneDone(_)) {}
        self.turns.close();
        self.worker.join();
        let lines = self.listener.lines.lock().unwrap();
        let events = lines.iter().filter_map(|line| {
            let class = line["class"].as_str().unwrap_or_default();
            Some((line["event"].as_str()?.into(), line["id"].as_u64().unwrap_or(0), class.into()))
        });
        events.collect()
    }
}

/// Each that has started ends, as what it was. The grid's boxes find more than one thing in a square.
fn assert_all_end(told: &[(String, u64, String)]) {
    let of = |event: &str| {
        let told = told.iter().filter(|(is, _, _)| is == event);
        let mut objects: Vec<(u64, &str)> = told.map(|(_, id, class)| (*id, &**class)).collect();
        objects.sort_unstable();
        objects
    };
    let started = of("object_started");
    assert_eq!(started, of("object_ended"));
    assert!(!started.is_empty() && started.iter().all(|(_, class)| *class == "red"), "{started:?}");
    assert!(started.windows(2).all(|pair| pair[0].0 < pair[1].0), "{started:?}");
}

#[test]
fn objects_end_where_their_classes_are_others_after_a_reload() {
    let mut yard = Yard::new();
    yard.show();
    let before = yard.started();
    // The same numbers.
    yard.slot.put(detector([1, 2, 3]));
    yard.show();
    assert_eq!(yard.started(), before);
    // A red thing's number is what a green one's was.
    yard.slot.put(detector([2, 1, 3]));
    yard.show();
    assert!(yard.started() > before);
    assert_all_end(&yard.end());
}

#[test]
fn objects_end_where_frames_have_another_size() {
    let mut yard = Yard::new();
    yard.show();
    yard.show_at(2 * SIDE);
    let told = yard.end();
    let changed = told.iter().position(|(event, _, _)| event == "size_changed").unwrap();
    let (before, after) = told.split_at(changed);
    assert_all_end(before);
    assert_all_end(after);
}

#[test]
fn a_mask_outside_of_the_picture_is_told_once_a_size() {
    let corners = |side: f32| Polygon(vec![[side, 0.0], [side + 50.0, 0.0], [side + 50.0, 50.0]]);
    let side = SIDE as f32;
    let mut yard = Yard::with(|camera| camera.masks = vec![corners(side / 2.0), corners(side)]);
    yard.show();
    yard.show();
    let details = |yard: &Yard| -> Vec<String> {
        let lines = yard.listener.lines.lock().unwrap();
        let told = lines.iter().filter(|line| line["event"] == "zone_outside");
        told.map(|line| line["detail"].as_str().unwrap().to_owned()).collect()
    };
    let told = details(&yard);
    assert!(matches!(&told[..], [one] if one.starts_with("mask 2 ") && one.contains("64 x 64")), "{told:?}");
    yard.show_at(2 * SIDE);
    assert_eq!(details(&yard).len(), 1);
    yard.end();
}

#[test]
fn objects_end_where_looking_at_a_frame_fails() {
    let mut yard = Yard::new();
    yard.listener.panics.store(true, Ordering::Relaxed);
    yard.show();
    yard.show();
    let told = yard.end();
    let failed = told.iter().position(|(event, _, _)| event == "frame_failed").unwrap();
    let (before, after) = told.split_at(failed);
    assert_all_end(before);
    assert_all_end(after);
}
