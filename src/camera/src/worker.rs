//! The thread that looks at frames, camera after camera.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config::{Camera, Model};
use crate::engine::Engine;
use crate::event::CameraEvent;
use crate::model::Slot;
use crate::run::Note;
use crate::shared::Shared;
use crate::status::{CameraStatus, Count};
use crate::turns::{LaneId, Next, Turns};

/// The thread looks up at least so often.
const TICK: Duration = Duration::from_millis(100);

/// A camera that the thread is to know.
pub(crate) struct Lane {
    pub(crate) camera: Arc<Camera>,
    pub(crate) model: Model,
    pub(crate) status: Arc<CameraStatus>,
}

/// The thread, from outside.
pub(crate) struct Worker {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    turns: Arc<Turns>,
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    /// As they should be; `changed` counts the changes.
    lanes: Mutex<HashMap<LaneId, Arc<Lane>>>,
    changed: AtomicU64,
    epoch: Instant,
    /// When the thread last looked up, in milliseconds since the epoch.
    looked_up: AtomicU64,
}

impl Worker {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        turns: &Arc<Turns>,
        slot: &Arc<Slot>,
        shared: &Arc<Shared>,
        notes: &Sender<Note>,
    ) -> std::io::Result<Worker> {
        let state = Arc::new(State {
            turns: turns.clone(),
            slot: slot.clone(),
            shared: shared.clone(),
            lanes: Mutex::default(),
            changed: AtomicU64::new(0),
            epoch: Instant::now(),
            looked_up: AtomicU64::new(0),
        });
        let (theirs, notes) = (state.clone(), notes.clone());
        let thread = thread::Builder::new().name("detect".into()).spawn(move || {
            // What looks at frames is guarded by itself. Where all the same nothing goes on, the main thread is to know.
            let _ = catch_unwind(AssertUnwindSafe(|| theirs.work(&notes)));
            // Nobody listens when the daemon is about to end.
            let _ = notes.send(Note::WorkerDone);
        })?;
        Ok(Worker { state, thread: Some(thread) })
    }

    /// A camera comes, or has other settings.
    pub(crate) fn set(&self, id: LaneId, lane: Lane) {
        self.state.lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(lane));
        self.state.changed.fetch_add(1, Ordering::Release);
    }

    /// Since the thread last looked up from a frame.
    pub(crate) fn in_work(&self) -> Duration {
        let looked_up = Duration::from_millis(self.state.looked_up.load(Ordering::Relaxed));
        self.state.epoch.elapsed().saturating_sub(looked_up)
    }

    /// Waits for a thread that has said it is done.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What can panic in it is caught there.
            let _ = thread.join();
        }
    }
}

impl State {
    fn work(&self, notes: &Sender<Note>) {
        let (mut engines, mut known) = (HashMap::<LaneId, Engine>::new(), 0);
        loop {
            self.looked_up.store(self.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
            self.shared.tell_late(false);
            let changed = self.changed.load(Ordering::Acquire);
            if std::mem::replace(&mut known, changed) != changed {
                for (id, engine) in &mut engines {
                    if let Some(lane) = self.lane(*id) {
                        engine.configure(&lane.camera, &lane.model, &self.shared);
                    }
                }
            }
            match self.turns.next(TICK) {
                Next::Frame(id, frame) => {
                    let work = || self.look(&mut engines, id, &frame);
                    if catch_unwind(AssertUnwindSafe(work)).is_err() {
                        // Its message is on standard error. What the camera had kept may be half done; its objects end.
                        if let Some(mut engine) = engines.remove(&id) {
                            let _ = catch_unwind(AssertUnwindSafe(|| engine.lost(&self.shared)));
                        }
                        if let Some(lane) = self.lane(id) {
                            self.failed(&lane, frame.number, "a fault inside frcnn");
                        }
                    }
                    self.turns.give_back(id, frame.image);
                }
                Next::Lost(id) => {
                    if let Some(engine) = engines.get_mut(&id) {
                        engine.lost(&self.shared);
                    }
                }
                Next::Ended(id) => {
                    if let Some(mut engine) = engines.remove(&id) {
                        engine.lost(&self.shared);
                    }
                    self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    let _ = notes.send(Note::LaneDone(id));
                }
                Next::Nothing => {}
                Next::Closed => {
                    engines.values_mut().for_each(|engine| engine.lost(&self.shared));
                    return;
                }
            }
        }
    }

    fn lane(&self, id: LaneId) -> Option<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn look(&self, engines: &mut HashMap<LaneId, Engine>, id: LaneId, frame: &crate::turns::Waiting) {
        let engine = match engines.get_mut(&id) {
            Some(engine) => engine,
            None => {
                let Some(lane) = self.lane(id) else { return };
                match Engine::new(&lane.camera, &lane.model, &self.slot, lane.status.clone()) {
                    Ok(engine) => engines.entry(id).or_insert(engine),
                    Err(problem) => return self.failed(&lane, frame.number, &problem),
                }
            }
        };
        engine.look(frame, &self.slot, &self.shared);
    }

    fn failed(&self, lane: &Lane, number: u64, problem: &str) {
        lane.status.add(Count::FramesCorrupt, 1);
        let camera = self.shared.camera(lane.status.name());
        let detail = format!("frame {number}: {problem}");
        self.shared.status.report(CameraEvent::now(camera, "frame_failed", detail));
    }
}

#[cfg(test)]
mod tests;
