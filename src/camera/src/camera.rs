//! A camera's thread: opens its source, reads frames, and opens it again when it is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use frcnn_images::camera::Image;

use crate::config::Camera;
use crate::event::CameraEvent;
use crate::run::Note;
use crate::shared::Shared;
use crate::source::{self, Handle, Kind, Source, Step};
use crate::status::{CameraStatus, Count, State};
use crate::turns::{LaneId, Put, Turns, Waiting};

/// Without a frame for so long, a camera is taken for dead.
const STALL: Duration = Duration::from_secs(5);
/// The same of a child that has just started, and may have to ask a camera far away.
const FIRST: Duration = Duration::from_secs(20);
/// Before the first attempt to open it again; doubles …
const RETRY: Duration = Duration::from_secs(1);
/// … up to this …
const RETRY_MOST: Duration = Duration::from_secs(30);
/// … until frames have come for so long.
const GOOD: Duration = Duration::from_secs(10);
/// From frame to frame of a recording that tells no times.
const UNTIMED: Duration = Duration::from_millis(40);

/// How a camera's input ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was read.
    Whole,
    /// In the middle, or unasked: how.
    Cut(String),
}

/// A camera's thread, from outside.
pub(crate) struct Reader {
    pub(crate) lane: LaneId,
    child: Handle,
    thread: JoinHandle<()>,
}

impl Reader {
    /// Starts it; `joined` is called with its lane before the first frame is read. A pipe is opened once its reader `before` has
    /// read its last frame to the end: two at once would each get parts of frames.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        camera: &Arc<Camera>,
        status: &Arc<CameraStatus>,
        turns: &Arc<Turns>,
        shared: &Arc<Shared>,
        notes: &Sender<Note>,
        before: Option<JoinHandle<()>>,
        joined: impl FnOnce(LaneId),
    ) -> std::io::Result<Reader> {
        let live = source::is_live(camera);
        let (lane, child) = (turns.join(live), Handle::default());
        joined(lane);
        let reading = Reading {
            camera: camera.clone(),
            status: status.clone(),
            turns: turns.clone(),
            shared: shared.clone(),
            lane,
            child: child.clone(),
            live,
            number: status.get(Count::FramesRead),
            epoch: Instant::now(),
            last: Duration::ZERO,
            stalled: false,
            away: false,
            frames: 0,
            retry: RETRY,
        };
        let notes = notes.clone();
        let thread = thread::Builder::new().name(format!("read-{}", camera.name)).spawn(move || {
            // One that panicked reads no more either.
            let _ = before.map(JoinHandle::join);
            let (turns, status) = (reading.turns.clone(), reading.status.clone());
            let shared = reading.shared.clone();
            let run = catch_unwind(AssertUnwindSafe(|| reading.run()));
            let outcome = run.unwrap_or_else(|_| {
                // Its message is on standard error.
                let (camera, problem) = (shared.camera(status.name()), "a fault inside frcnn");
                shared.status.report(CameraEvent::now(camera, "camera_lost", problem));
                Some(Outcome::Cut(problem.into()))
            });
            if let Some(outcome) = outcome {
                status.set_state(State::Ended);
                status.set(Count::Up, 0);
                // Nobody listens when the daemon is about to end.
                let _ = notes.send(Note::Outcome(lane, outcome));
                turns.ended(lane);
            }
        })?;
        Ok(Reader { lane, child, thread })
    }

    /// Lets its child go, and starts no other.
    pub(crate) fn stop(&self) {
        self.child.close();
    }

    /// What [`Reader::start`] waits for.
    pub(crate) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

struct Reading {
    camera: Arc<Camera>,
    status: Arc<CameraStatus>,
    turns: Arc<Turns>,
    shared: Arc<Shared>,
    lane: LaneId,
    child: Handle,
    live: bool,
    number: u64,
    epoch: Instant,
    /// The last frame's time.
    last: Duration,
    stalled: bool,
    /// It was told that there are no frames, and not yet that they come again.
    away: bool,
    /// Of the source at hand.
    frames: u32,
    retry: Duration,
}

/// Why a source is read no further.
enum Why {
    End,
    Cut(String),
    Lost(String),
    Stalled(String),
    /// Nobody wants frames any more.
    Closed,
}

impl Reading {
    /// None: it was asked to end.
    fn run(mut self) -> Option<Outcome> {
        loop {
            let mut source = match source::open(&self.camera, &self.child) {
                Ok(source) => source,
                Err(problem) => {
                    // An address may have a password in it.
                    let problem = source::without_passwords(&problem);
                    self.lose("camera_unavailable", &problem);
                    if source::is_recording(&self.camera) {
                        return Some(Outcome::Cut(problem));
                    }
                    self.pause()?;
                    continue;
                }
            };
            if let Some(assumed) = source.assumed.take() {
                self.report("layout_assumed", assumed);
            }
            let why = self.read(&mut source);
            if let Some(outcome) = self.ended(source, why)? {
                return Some(outcome);
            }
            self.pause()?;
        }
    }

    fn report(&self, event: &'static str, detail: impl Into<String>) {
        let camera = self.shared.camera(self.status.name());
        self.shared.status.report(CameraEvent::now(camera, event, detail));
    }

    fn lose(&mut self, event: &'static str, detail: &str) {
        self.away = true;
        self.status.set_state(State::Lost);
        self.status.set(Count::Up, 0);
        self.status.add(Count::Lost, 1);
        self.report(event, detail);
        self.turns.lost(self.lane);
    }

    /// Before the next attempt. None: no other is wanted.
    fn pause(&mut self) -> Option<()> {
        let end = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MOST);
        while Instant::now() < end {
            if self.turns.is_closed(self.lane) {
                return None;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Some(())
    }

    /// Reads until there is no more.
    fn read(&mut self, source: &mut Source) -> Why {
        self.status.set(Count::Up, 1);
        self.frames = 0;
        let at = Instant::now();
        // A recording may have been read faster than it goes.
        let opened =
            Opened { time: self.last.max(at.duration_since(self.epoch)), captured: SystemTime::now() };
        let (mut last, mut good, kind) = (at, None, source.kind);
        // A FIFO is a camera, unless it is said to hand a recording over.
        let is_handed_over = source.child.is_none() && self.camera.live == Some(false);
        let is_recording = !self.live && (kind != Kind::Camera || is_handed_over);
        let mut allowed = if source.child.is_some() { FIRST } else { STALL };
        loop {
            match source.next() {
                Ok(Step::Frame(image, time)) => {
                    let time =
                        is_recording.then(|| time.unwrap_or_else(|| UNTIMED.saturating_mul(self.frames)));
                    self.frames = self.frames.saturating_add(1);
                    if self.put(&image, &opened, time) == Put::Closed {
                        return Why::Closed;
                    }
                    (last, allowed) = (Instant::now(), STALL);
                    if good.get_or_insert(last).elapsed() >= GOOD {
                        self.retry = RETRY;
                    }
                    self.stalled = false;
                    if std::mem::take(&mut self.away) {
                        self.report("camera_back", "frames come again");
                    }
                    self.status.set(Count::Up, 1);
                    self.status.set_state(State::Running);
                }
                Ok(Step::Corrupt) => self.status.add(Count::FramesCorrupt, 1),
                Ok(Step::Nothing) => {}
                Ok(Step::Cut(problem)) => return Why::Cut(problem),
                Ok(Step::End) => return Why::End,
                Err(error) => return Why::Lost(error.to_string()),
            }
            if self.turns.is_closed(self.lane) {
                return Why::Closed;
            }
            if last.elapsed() > allowed && !self.stalled {
                let problem = format!("no frame for {} seconds", allowed.as_secs());
                match source.child {
                    Some(_) if kind == Kind::Camera => return Why::Stalled(problem),
                    _ => self.stall(&problem),
                }
            }
        }
    }

    /// Pipes and recordings are not opened again: it is said, and waited for.
    fn stall(&mut self, problem: &str) {
        (self.stalled, self.away) = (true, true);
        self.status.set_state(State::Stalled);
        self.status.set(Count::Up, 0);
        self.status.add(Count::Lost, 1);
        self.report("camera_stalled", problem);
        self.turns.lost(self.lane);
    }

    fn put(&mut self, image: &Image<&[u8]>, opened: &Opened, time: Option<Duration>) -> Put {
        let mut copy = self.turns.buffer(self.lane);
        if let Err(error) = image.copy_into(&mut copy) {
            self.status.add(Count::FramesCorrupt, 1);
            self.report("frame_failed", error.to_string());
            return Put::Waits;
        }
        let timed = self.live || time.is_some();
        // A recording has a time of its own.
        let (captured, time) = match time {
            Some(time) => (opened.captured + time, opened.time + time),
            None => (SystemTime::now(), self.epoch.elapsed()),
        };
        self.last = time;
        let number = self.number + 1;
        let waiting = Waiting { image: copy, number, captured, time, timed };
        let put = self.turns.put(self.lane, waiting, || self.status.add(Count::FramesRead, 1));
        if put != Put::Closed {
            self.number = number;
        }
        if put == Put::Replaced {
            self.status.add(Count::FramesDropped, 1);
        }
        put
    }

    /// What the end of a source comes to: an outcome; or an attempt to open it again, if there is none. `None`: it was asked for.
    fn ended(&mut self, source: Source, why: Why) -> Option<Option<Outcome>> {
        let Source { kind, child, .. } = source;
        let (event, problem) = match why {
            Why::Closed => {
                if let Some(child) = child {
                    child.kill();
                }
                return None;
            }
            Why::Stalled(problem) => {
                if let Some(child) = child {
                    child.kill();
                }
                self.lose("camera_stalled", &problem);
                return Some(None);
            }
            Why::Lost(problem) => ("camera_lost", Some(problem)),
            Why::Cut(problem) => {
                self.status.add(Count::FramesCut, 1);
                ("stream_cut", Some(problem))
            }
            // A picture of another format, say, or whoever was to write frames has failed.
            Why::End if self.frames == 0 && kind != Kind::Camera => {
                ("stream_cut", Some("no frame could be read".into()))
            }
            Why::End => ("camera_lost", None),
        };
        // What the child says explains more than what was missing of its output.
        let said = child.map(source::Child::finish).and_then(Result::err);
        if self.turns.is_closed(self.lane) {
            return None;
        }
        let detail = match (said, problem) {
            (Some(said), Some(problem)) => Some(format!("{problem}; {said}")),
            (said, problem) => said.or(problem),
        };
        match (kind, detail) {
            (Kind::File, None) => Some(Some(Outcome::Whole)),
            // Without --live a pipe is a recording that another program hands over.
            (Kind::Pipe, None) if !self.live => Some(Some(Outcome::Whole)),
            (Kind::Pipe, None) => {
                let detail = "a live stream ended unasked";
                self.report("stream_ended", detail);
                Some(Some(Outcome::Cut(detail.into())))
            }
            (Kind::File, Some(detail)) => {
                self.report("stream_cut", detail.as_str());
                Some(Some(Outcome::Cut(detail)))
            }
            (Kind::Pipe, Some(detail)) => {
                self.report(event, detail.as_str());
                Some(Some(Outcome::Cut(detail)))
            }
            (Kind::Camera, detail) => {
                let detail = detail.unwrap_or_else(|| "the stream ended unasked".into());
                self.lose("camera_lost", &detail);
                Some(None)
            }
        }
    }
}

/// When a source was opened, on both clocks.
struct Opened {
    time: Duration,
    captured: SystemTime,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::event::{Door, Message};
    use crate::status::Status;

    /// Panics at the first line that it is given.
    #[derive(Default)]
    struct Fragile(Mutex<Vec<String>>);

    impl Door for Fragile {
        fn send(&self, message: &Message) {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(message.json());
            assert!(lines.len() > 1, "as it is to");
        }

        fn close(&self, _: Duration) {}
    }

    #[test]
    fn a_fault_in_a_cameras_thread_is_told() {
        let (door, status) = (Arc::<Fragile>::default(), Status::new(true));
        status.open(vec![door.clone()]);
        let shared = Arc::new(Shared::new(status.clone(), None, false));
        let (turns, (notes, told)) = (Arc::<Turns>::default(), channel());
        let camera = Arc::new(Camera::new("yard", "/nowhere/film.mkv"));
        let yard = status.camera(&"yard".into());
        let reader = Reader::start(&camera, &yard, &turns, &shared, &notes, None, |_| {}).unwrap();
        let Ok(Note::Outcome(lane, Outcome::Cut(how))) = told.recv_timeout(Duration::from_secs(60)) else {
            panic!("no outcome");
        };
        assert_eq!((lane, &how[..]), (reader.lane, "a fault inside frcnn"));
        let lines = door.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(lines[0].contains("camera_unavailable") && lines[1].contains("camera_lost"), "{lines:?}");
    }
}
