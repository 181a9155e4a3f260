//! The daemon's main thread: it starts the others and waits for what they note, for signals and for time to pass.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use frcnn::Detector;
use signal_hook::consts::SIGHUP;

use crate::camera::{Outcome, Reader};
use crate::config::{Camera, Config};
use crate::doors::{CLOSE, Doors};
use crate::event::{CameraEvent, CameraInfo};
use crate::model::{self, Slot};
use crate::notify::{notify, watchdog};
use crate::options::Options;
use crate::reload::{self, Reloaded};
use crate::shared::Shared;
use crate::signals::Asked;
use crate::snapshots::Snapshots;
use crate::status::{CameraStatus, Count, State, Status, Total};
use crate::stderr::eprint_line;
use crate::turns::{LaneId, Turns};
use crate::worker::{Lane, Worker};
use crate::{doors, engine, signals, source};

/// The loop turns at least so often.
const TICK: Duration = Duration::from_millis(500);
/// For the frame in work at the end.
const DRAIN: Duration = Duration::from_secs(8);
/// A frame that takes longer is stuck: the watchdog is told nothing more.
const STUCK: Duration = Duration::from_secs(60);

/// What the process gives back.
mod code {
    /// Asked to end, or all of the recordings was read.
    pub(super) const FINE: u8 = 0;
    /// Cannot start.
    pub(super) const CANNOT_START: u8 = 1;
    /// Wrong options, or a wrong file.
    pub(super) const USAGE: u8 = 2;
    /// A stream was cut, or ended unasked.
    pub(super) const CUT: u8 = 3;
    /// Standard output failed.
    pub(super) const OUTPUT: u8 = 4;
    /// The broker did not take every message.
    pub(super) const BROKER: u8 = 5;
}

/// What threads have to say to the main thread.
pub(crate) enum Note {
    Signal(i32),
    /// A camera's input has ended.
    Outcome(LaneId, Outcome),
    /// And its last frame was looked at.
    LaneDone(LaneId),
    OutputFailed(io::Error),
    Reloaded(Reloaded),
    /// The detector's thread has ended.
    WorkerDone,
}

/// Whether the cameras' settings go with a model.
pub(crate) fn check(config: &Config, detector: &Detector) -> Result<(), String> {
    config.cameras.iter().try_for_each(|camera| {
        let named = |problem: String| match config.from_file {
            true => format!("[[camera]] `{}`: {problem}", camera.name),
            false => problem,
        };
        engine::check(camera, detector).map_err(named)
    })
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    crate::logging::start();
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Help and version go to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { code::USAGE } else { code::FINE });
        }
    };
    let config = match options.config() {
        Ok(config) => config,
        Err(error) => return refuse(code::USAGE, &error.0),
    };
    match Daemon::start(options, config) {
        Ok(daemon) => ExitCode::from(daemon.run()),
        Err(problem) => refuse(code::CANNOT_START, &problem),
    }
}

fn refuse(code: u8, problem: &str) -> ExitCode {
    eprint_line(&format!("frcnn-camera: {problem}"));
    ExitCode::from(code)
}

/// A camera that runs, or has ended.
struct Running {
    camera: Arc<Camera>,
    reader: Reader,
    status: Arc<CameraStatus>,
    outcome: Option<Outcome>,
    done: bool,
}

/// Why the loop ends.
enum End {
    Asked,
    NoMoreFrames,
    OutputClosed,
    OutputFailed(io::Error),
    WorkerDied,
}

struct Daemon {
    options: Options,
    config: Config,
    doors: Doors,
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    turns: Arc<Turns>,
    worker: Worker,
    cameras: Vec<Running>,
    /// A reload runs; and another is asked for.
    reloading: bool,
    reload_again: bool,
    notes: Receiver<Note>,
    sender: Sender<Note>,
}

impl Daemon {
    fn start(options: Options, config: Config) -> Result<Daemon, String> {
        let (sender, notes) = channel();
        let asked = Asked::default();
        signals::listen(sender.clone(), asked.clone()).map_err(|error| format!("signals: {error}"))?;
        let status = Status::new(config.from_file);
        let detector = model::open(&config)?;
        check(&config, &detector)?;
        let infos = doors::infos(&config, &detector);
        // Before doors, which may show them.
        config.cameras.iter().for_each(|camera| drop(status.camera(&camera.name.as_str().into())));
        let doors = Doors::open(&config, &infos, &status, (&sender, &asked))?;
        let snapshots = config.snapshots.as_ref().map(|config| Snapshots::open(config, status.clone()));
        let snapshots = snapshots.transpose().map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared::new(status, snapshots, config.all));
        let (slot, turns) = (Arc::new(Slot::new(detector)), Arc::<Turns>::default());
        let worker =
            Worker::start(&turns, &slot, &shared, &sender).map_err(|error| format!("no thread: {error}"))?;
        let mut daemon = Daemon {
            options,
            config: Config::default(),
            doors,
            shared,
            slot,
            turns,
            worker,
            cameras: Vec::new(),
            reloading: false,
            reload_again: false,
            notes,
            sender,
        };
        notify("READY=1");
        daemon.take_up(config);
        Ok(daemon)
    }

    fn report(&self, event: &'static str, detail: impl Into<String>) {
        self.shared.status.report(CameraEvent::now(None, event, detail));
    }

    fn run(mut self) -> u8 {
        let period = watchdog();
        let mut told = Instant::now();
        if period.is_some() {
            notify("WATCHDOG=1");
        }
        let end = loop {
            let wait = period.map_or(TICK, |period| TICK.min(period.saturating_sub(told.elapsed())));
            match self.notes.recv_timeout(wait) {
                Ok(note) => {
                    if let Some(end) = self.take(note) {
                        break end;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Never: the daemon holds a sender.
                Err(RecvTimeoutError::Disconnected) => break End::WorkerDied,
            }
            if period.is_some_and(|period| told.elapsed() >= period) && self.worker.in_work() < STUCK {
                notify("WATCHDOG=1");
                told = Instant::now();
            }
        };
        self.finish(end)
    }

    fn take(&mut self, note: Note) -> Option<End> {
        match note {
            Note::Signal(SIGHUP) => self.reload(),
            Note::Signal(_) => return Some(End::Asked),
            Note::Outcome(lane, outcome) => {
                let camera = self.cameras.iter_mut().find(|camera| camera.reader.lane == lane);
                if let Some(camera) = camera {
                    camera.outcome = Some(outcome);
                }
            }
            Note::LaneDone(lane) => {
                let camera = self.cameras.iter_mut().find(|camera| camera.reader.lane == lane);
                if let Some(camera) = camera {
                    camera.done = true;
                }
                if self.cameras.iter().all(|camera| camera.done) && !self.reloading {
                    return Some(End::NoMoreFrames);
                }
            }
            Note::OutputFailed(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Some(End::OutputClosed);
            }
            Note::OutputFailed(error) => return Some(End::OutputFailed(error)),
            Note::Reloaded(reloaded) => {
                self.reloaded(reloaded);
                if self.cameras.iter().all(|camera| camera.done) {
                    return Some(End::NoMoreFrames);
                }
            }
            Note::WorkerDone => return Some(End::WorkerDied),
        }
        None
    }

    fn reload(&mut self) {
        if self.reloading {
            self.reload_again = true;
            return;
        }
        self.reloading = true;
        notify("RELOADING=1");
        reload::start(self.options.file().cloned(), self.config.clone(), self.sender.clone());
    }

    fn reloaded(&mut self, reloaded: Reloaded) {
        self.reloading = false;
        let status = self.shared.status.clone();
        match reloaded {
            Reloaded::New(config, detector) => {
                let infos = doors::infos(&config, &detector);
                match self.doors.change(&self.config, &config, &infos, &self.shared) {
                    Ok(()) => self.take_up_all(*config, &infos, detector),
                    Err(problem) => self.report("config_kept", problem),
                }
            }
            Reloaded::ConfigKept(problem) => self.report("config_kept", problem),
            Reloaded::ModelKept(problem) => {
                status.add(Total::ModelReloadsFailed, 1);
                self.report("model_kept", problem);
            }
        }
        notify("READY=1");
        if std::mem::take(&mut self.reload_again) {
            self.reload();
        }
    }

    fn take_up_all(&mut self, config: Config, infos: &[CameraInfo], detector: Detector) {
        let status = &self.shared.status;
        status.tell_cameras(infos);
        self.slot.put(detector);
        status.add(Total::ModelReloads, 1);
        let model = config.model.path.display().to_string();
        if let Some(path) = self.options.file() {
            self.report("config_reloaded", path.display().to_string());
        }
        self.take_up(config);
        self.report("model_reloaded", model);
    }

    /// Starts cameras that are new or read another input, ends those that are gone, and gives the others their settings.
    fn take_up(&mut self, config: Config) {
        let (mut stay, mut left) = (Vec::new(), BTreeMap::new());
        for running in std::mem::take(&mut self.cameras) {
            let new = config.cameras.iter().find(|camera| camera.name == running.camera.name);
            match new {
                Some(camera) if source::is_same(camera, &running.camera) => stay.push(running),
                _ => {
                    running.reader.stop();
                    if self.turns.leave(running.reader.lane) {
                        running.status.add(Count::FramesDropped, 1);
                    }
                    if new.is_none() {
                        self.shared.status.forget(&running.camera.name);
                        if let Some(kept) = &*self.shared.snapshots() {
                            kept.forget(&running.camera.name);
                        }
                    }
                    if source::is_pipe(&running.camera) {
                        left.insert(running.camera.input.clone(), running.reader.into_thread());
                    }
                }
            }
        }
        for camera in &config.cameras {
            let camera = Arc::new(camera.clone());
            let status = self.shared.status.camera(&camera.name.as_str().into());
            let lane = Lane { camera: camera.clone(), model: config.model.clone(), status: status.clone() };
            if let Some(running) = stay.iter_mut().find(|running| running.camera.name == camera.name) {
                running.camera = camera;
                self.worker.set(running.reader.lane, lane);
                continue;
            }
            status.set_state(State::Starting);
            let before = left.remove(&camera.input);
            match Reader::start(&camera, &status, &self.turns, &self.shared, &self.sender, before, |id| {
                self.worker.set(id, lane)
            }) {
                Ok(reader) => stay.push(Running { camera, reader, status, outcome: None, done: false }),
                Err(error) => {
                    self.report("camera_unavailable", format!("{}: no thread: {error}", camera.name))
                }
            }
        }
        self.cameras = stay;
        self.config = config;
    }

    fn finish(mut self, end: End) -> u8 {
        notify("STOPPING=1");
        for lane in self.turns.close() {
            if let Some(camera) = self.cameras.iter().find(|camera| camera.reader.lane == lane) {
                camera.status.add(Count::FramesDropped, 1);
            }
        }
        self.cameras.iter().for_each(|camera| camera.reader.stop());
        let limit = Instant::now() + DRAIN;
        let mut died = matches!(end, End::WorkerDied);
        let mut output = None;
        while !died {
            match self.notes.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(Note::WorkerDone) => {
                    self.worker.join();
                    died = true;
                }
                Ok(Note::OutputFailed(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                    output = Some(error)
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let cut = self.cameras.iter().find_map(|camera| match &camera.outcome {
            Some(Outcome::Cut(how)) => Some(how.clone()),
            _ => None,
        });
        let (why, code) = match (end, output) {
            (End::OutputFailed(error), _) | (_, Some(error)) => {
                let problem = format!("standard output: {error}");
                self.report("output_failed", problem.clone());
                (problem, code::OUTPUT)
            }
            (End::Asked, None) => ("asked to".into(), code::FINE),
            (End::NoMoreFrames, None) => match cut {
                None => ("no more frames".into(), code::FINE),
                Some(how) => (how, code::CUT),
            },
            (End::OutputClosed, None) => ("standard output is closed".into(), code::FINE),
            (End::WorkerDied, None) => ("a fault inside frcnn".into(), code::CANNOT_START),
        };
        self.shared.tell_late(true);
        self.report("stopped", format!("{why}; frames: {}", self.counts()));
        let given_up = self.shared.status.get(Total::MqttDropped);
        self.shared.status.close(CLOSE);
        self.doors.join();
        let given_up = self.shared.status.get(Total::MqttDropped) - given_up;
        // What was taken is written.
        drop(self.shared.snapshots().take());
        if given_up > 0 {
            eprint_line(&format!("frcnn-camera: the broker did not take {given_up} messages"));
            return if code == code::FINE { code::BROKER } else { code };
        }
        code
    }

    fn counts(&self) -> String {
        let words = [
            (Count::FramesRead, "read"),
            (Count::FramesCompleted, "completed"),
            (Count::FramesDropped, "dropped"),
            (Count::FramesCorrupt, "corrupt"),
            (Count::FramesCut, "cut"),
        ];
        let cameras = self.shared.status.cameras();
        let sum = |count| cameras.iter().map(|camera| camera.get(count)).sum::<u64>();
        words.map(|(count, word)| format!("{} {word}", sum(count))).join(", ")
    }
}
