//! How the daemon and each camera do: counters, states, and who is told of what happens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::event::{CameraEvent, CameraInfo, Door, Message};
use crate::stderr::eprint_line;

/// What is counted of each camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Whole frames from the source.
    FramesRead,
    /// Looked at.
    FramesCompleted,
    /// Passed over for newer ones.
    FramesDropped,
    /// Could not be taken apart or decoded.
    FramesCorrupt,
    /// Ended by the end of the stream.
    FramesCut,
    /// Differed in size from the one before.
    FramesResized,
    /// Nothing moved: the network did not run.
    FramesStill,
    /// Cells of 8 x 8 pixels of the frames that were not still.
    Cells,
    /// Those that were looked at anew.
    CellsChanged,
    /// Distinct boxes that the network judged.
    Regions,
    /// Those whose judgement was kept.
    RegionsReused,
    /// What the stream keeps from frame to frame; a state.
    KeptBytes,
    /// Objects found in frames.
    Detections,
    /// Predictions that were left out.
    NotFinite,
    /// 1 while frames can come; a state.
    Up,
    /// Times that the camera was lost.
    Lost,
    /// Objects that were followed and confirmed.
    ObjectsStarted,
    /// Objects that are gone.
    ObjectsEnded,
}

/// How many there are.
pub(crate) const COUNTS: usize = 18;

/// What is counted of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Models loaded while running.
    ModelReloads,
    /// Reloads that left the old model in place.
    ModelReloadsFailed,
    /// Whether the broker is connected; a state.
    MqttConnected,
    /// Messages that the broker acknowledged.
    MqttPublished,
    /// Messages given up because the queue was full, or at the end.
    MqttDropped,
    /// Attempts to connect to the broker that failed, and connections that were lost.
    MqttFailed,
    /// Snapshots written.
    SnapshotsWritten,
    /// Snapshots that could not be written.
    SnapshotsFailed,
}

/// How many there are.
pub(crate) const TOTALS: usize = 8;

/// What a camera is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No frame has come yet.
    Starting,
    /// Frames come.
    Running,
    /// Open, but no frame for 5 seconds.
    Stalled,
    /// Closed, to be opened again.
    Lost,
    /// Its input has ended.
    Ended,
}

impl State {
    pub(crate) const ALL: [State; 5] =
        [State::Starting, State::Running, State::Stalled, State::Lost, State::Ended];

    /// As a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Stalled => "stalled",
            State::Lost => "lost",
            State::Ended => "ended",
        }
    }
}

/// Stages of a frame, as they stand in the metrics.
pub(crate) const STAGES: [&str; 8] =
    ["convert", "propose", "preprocess", "trunk", "roi_pool", "head", "postprocess", "total"];
/// Upper bounds of the histograms' buckets, in seconds.
pub(crate) const BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Completions that are kept to tell the frame rate.
const RECENT: usize = 32;

/// Of one stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) buckets: [u64; BOUNDS.len()],
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// What is not a plain counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) stages: [Histogram; STAGES.len()],
    /// Shares of the trunk, added up: whole trunks.
    pub(crate) trunks: f64,
    /// Grey levels, of the last frame that was not still.
    pub(crate) tolerance: f32,
    completed: VecDeque<Instant>,
}

impl Work {
    /// Frames a second over the last 32; 0 where the last is more than 5 seconds ago.
    pub(crate) fn frame_rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.completed.front(), self.completed.back()) else { return 0.0 };
        let span = (*last - *first).as_secs_f64();
        if span <= 0.0 || last.elapsed() > Duration::from_secs(5) {
            return 0.0;
        }
        (self.completed.len() - 1) as f64 / span
    }
}

/// How one camera does.
#[derive(Debug)]
pub struct CameraStatus {
    name: Arc<str>,
    state: AtomicU8,
    counts: [AtomicU64; COUNTS],
    work: Mutex<Work>,
}

impl CameraStatus {
    fn new(name: Arc<str>) -> CameraStatus {
        CameraStatus {
            name,
            state: AtomicU8::new(State::Starting as u8),
            counts: Default::default(),
            work: Mutex::default(),
        }
    }

    /// The camera's.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is at.
    pub fn state(&self) -> State {
        let number = self.state.load(Ordering::Relaxed);
        State::ALL.into_iter().find(|state| *state as u8 == number).unwrap_or(State::Starting)
    }

    /// It is at something else; [`Count::Up`] follows.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Counts.
    pub fn add(&self, count: Count, more: u64) {
        self.counts[count as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// For states.
    pub fn set(&self, count: Count, value: u64) {
        self.counts[count as usize].store(value, Ordering::Relaxed);
    }

    /// So far.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// Frames looked at per second, over the last 32; 0 where the last is more than 5 seconds ago.
    pub fn frame_rate(&self) -> f64 {
        self.work().frame_rate()
    }

    pub(crate) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame was looked at: its times in the order of [`STAGES`].
    pub(crate) fn completed(&self, stages: [Duration; STAGES.len()], trunks: f64, tolerance: Option<f32>) {
        self.add(Count::FramesCompleted, 1);
        let mut work = self.work();
        for (histogram, time) in work.stages.iter_mut().zip(stages) {
            histogram.add(time.as_secs_f64());
        }
        work.trunks += trunks;
        if let Some(levels) = tolerance {
            work.tolerance = levels;
        }
        if work.completed.len() == RECENT {
            work.completed.pop_front();
        }
        work.completed.push_back(Instant::now());
    }
}

/// How the daemon does. All threads share it.
pub struct Status {
    cameras: RwLock<Vec<Arc<CameraStatus>>>,
    totals: [AtomicU64; TOTALS],
    /// Metrics have a label for the camera: of a file's cameras, not of the one of the command line.
    labelled: bool,
    outlets: Outlets,
}

impl Status {
    /// Of no camera yet. `labelled`: the cameras are a file's.
    pub fn new(labelled: bool) -> Arc<Status> {
        let (cameras, totals) = (RwLock::default(), Default::default());
        Arc::new(Status { cameras, totals, labelled, outlets: Outlets::default() })
    }

    /// Whether the cameras are a file's: their metrics have the label `camera`.
    pub fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// Every camera's.
    pub fn cameras(&self) -> Vec<Arc<CameraStatus>> {
        self.cameras.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That of a camera, made if there is none of this name.
    pub fn camera(&self, name: &Arc<str>) -> Arc<CameraStatus> {
        let mut cameras = self.cameras.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(camera) = cameras.iter().find(|camera| camera.name == *name) {
            return camera.clone();
        }
        let camera = Arc::new(CameraStatus::new(name.clone()));
        cameras.push(camera.clone());
        camera
    }

    /// A camera is no longer in the file.
    pub fn forget(&self, name: &str) {
        let mut cameras = self.cameras.write().unwrap_or_else(PoisonError::into_inner);
        cameras.retain(|camera| &*camera.name != name);
    }

    /// Counts.
    pub fn add(&self, total: Total, more: u64) {
        self.totals[total as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// For states.
    pub fn set(&self, total: Total, value: u64) {
        self.totals[total as usize].store(value, Ordering::Relaxed);
    }

    /// So far.
    pub fn get(&self, total: Total) -> u64 {
        self.totals[total as usize].load(Ordering::Relaxed)
    }

    /// Tells every door, and standard error, of something that happened. May be called by any thread, also before there are doors,
    /// but not by a door's `send`.
    pub fn report(&self, event: CameraEvent) {
        let camera = event.camera.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
        eprint_line(&format!("frcnn-camera: {camera}{}: {}", event.event, event.detail));
        self.send(&Message::Camera(Arc::new(event)));
    }

    /// Sends to every door.
    pub fn send(&self, message: &Message) {
        self.outlets.send(message);
    }

    /// From now on there are these doors, and no others; the first ones get what was reported before.
    pub fn open(&self, doors: Vec<Arc<dyn Door>>) {
        self.outlets.open(doors);
    }

    /// Whether a door wants the pixels of this camera's frames.
    pub fn wants_picture(&self, camera: &str) -> bool {
        self.outlets.any(|door| door.wants_picture(camera))
    }

    /// Doors are told of other cameras.
    pub fn tell_cameras(&self, cameras: &[CameraInfo]) {
        self.outlets.each(|door| door.cameras(cameras));
    }

    /// Doors send what is queued, each for at most `limit`, and get nothing any more.
    pub fn close(&self, limit: Duration) {
        self.outlets.close(limit);
    }
}

/// The doors, once there are some; what is sent before waits.
#[derive(Default)]
struct Outlets {
    doors: RwLock<Doors>,
}

#[derive(Default)]
enum Doors {
    #[default]
    None,
    Waiting(Vec<Message>),
    Open(Vec<Arc<dyn Door>>),
}

/// Messages that wait for doors at most.
const WAITING: usize = 1024;

impl Outlets {
    fn send(&self, message: &Message) {
        if let Doors::Open(doors) = &*self.doors.read().unwrap_or_else(PoisonError::into_inner) {
            doors.iter().for_each(|door| door.send(message));
            return;
        }
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *doors {
            Doors::None => *doors = Doors::Waiting(vec![message.clone()]),
            Doors::Waiting(waiting) if waiting.len() < WAITING => waiting.push(message.clone()),
            Doors::Waiting(_) => {}
            // Opened between the two locks.
            Doors::Open(doors) => doors.iter().for_each(|door| door.send(message)),
        }
    }

    fn open(&self, open: Vec<Arc<dyn Door>>) {
        let mut doors = self.doors.write().unwrap_or_else(PoisonError::into_inner);
        if let Doors::Waiting(waiting) = &*doors {
            waiting.iter().for_each(|message| open.iter().for_each(|door| door.send(message)));
        }
        *doors = Doors::Open(open);
    }

    fn each(&self, action: impl Fn(&dyn Door)) {
        if let Doors::Open(doors) = &*self.doors.read().unwrap_or_else(PoisonError::into_inner) {
            doors.iter().for_each(|door| action(&**door));
        }
    }

    fn any(&self, asked: impl Fn(&dyn Door) -> bool) -> bool {
        match &*self.doors.read().unwrap_or_else(PoisonError::into_inner) {
            Doors::Open(doors) => doors.iter().any(|door| asked(&**door)),
            Doors::None | Doors::Waiting(_) => false,
        }
    }

    fn close(&self, limit: Duration) {
        let doors = std::mem::take(&mut *self.doors.write().unwrap_or_else(PoisonError::into_inner));
        if let Doors::Open(doors) = doors {
            doors.iter().for_each(|door| door.close(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Door for Kept {
        fn send(&self, message: &Message) {
            self.0.lock().unwrap().push(message.json());
        }

        fn close(&self, _: Duration) {
            self.0.lock().unwrap().push("closed".into());
        }
    }

    #[test]
    fn doors_get_what_was_reported_before_they_were_open() {
        let (status, lines) = (Status::new(false), Arc::<Mutex<Vec<String>>>::default());
        status.report(CameraEvent::now(None, "first", ""));
        status.open(vec![Arc::new(Kept(lines.clone()))]);
        status.report(CameraEvent::now(None, "second", ""));
        status.close(Duration::ZERO);
        let lines = lines.lock().unwrap();
        assert!(
            lines[0].contains("first") && lines[1].contains("second") && lines[2] == "closed",
            "{lines:?}"
        );
    }

    #[test]
    fn counters_have_a_place_each() {
        let camera = CameraStatus::new("yard".into());
        camera.add(Count::ObjectsEnded, 2);
        camera.completed([Duration::from_millis(3); 8], 0.5, Some(1.5));
        assert_eq!((camera.get(Count::ObjectsEnded), camera.get(Count::FramesCompleted)), (2, 1));
        let work = camera.work();
        assert_eq!((work.stages[7].buckets[2], work.stages[7].buckets[3], work.trunks), (0, 1, 0.5));
        let status = Status::new(false);
        status.set(Total::SnapshotsFailed, 3);
        assert_eq!(status.get(Total::SnapshotsFailed), 3);
    }
}
