//! Submit and poll: a thread that always takes the newest frame.
//!
//! ```text
//! submit ──► waiting (one frame; a newer one takes its place) ──► engine ──► done (a few results) ──► poll
//! ```
//! Any thread may submit and any poll, at once too.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use frcnn::{BBox, Detections};
use frcnn_files::scratch;

use crate::engine::{Engine, Facts};
use crate::frame::Image;
use crate::result::{Failure, FrcnnResult};
use crate::sync::{
    Arc, Builder, Condvar, Descriptor, JoinHandle, Mutex, MutexGuard, PoisonError, Signal,
    wait_timeout_while, wait_while,
};

/// Results kept for a caller that polls seldom; then the oldest is forgotten.
const RESULTS_KEPT: usize = 16;

/// A frame's outcome.
pub(crate) struct Done {
    pub(crate) facts: Facts,
    pub(crate) outcome: Result<Detections, Failure>,
}

/// What happened to the frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    /// Looked at, with or without detections.
    pub(crate) completed: u64,
    /// Looked at in vain: the outcome is an error.
    pub(crate) failed: u64,
    /// Never looked at: a newer frame came first.
    pub(crate) dropped: u64,
    /// Outcomes that nobody fetched in time.
    pub(crate) forgotten: u64,
}

struct Job {
    image: Image<Vec<u8>>,
    proposals: Option<Vec<BBox>>,
}

#[derive(Default)]
struct State {
    waiting: Option<Job>,
    /// A job whose buffers can be used again.
    spare: Option<Job>,
    busy: bool,
    done: VecDeque<Done>,
    /// On while `done` holds something; from the first question for it.
    signal: Option<Signal>,
    counts: Counts,
    stop: bool,
}

impl State {
    fn push(&mut self, done: Done) {
        if self.done.len() == RESULTS_KEPT {
            self.done.pop_front();
            self.counts.forgotten += 1;
        } else if let (true, Some(signal)) = (self.done.is_empty(), &self.signal) {
            signal.turn(true);
        }
        self.done.push_back(done);
    }

    fn pop(&mut self) -> Option<Done> {
        let done = self.done.pop_front();
        if let (Some(_), true, Some(signal)) = (&done, self.done.is_empty(), &self.signal) {
            signal.turn(false);
        }
        done
    }
}

#[derive(Default)]
struct WorkQueue {
    state: Mutex<State>,
    changed: Condvar,
}

impl WorkQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's thread. Dropping it waits for the frame in work.
pub(crate) struct Worker {
    queue: Arc<WorkQueue>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(engine: Arc<Mutex<Engine>>) -> Result<Worker, Failure> {
        let queue = Arc::<WorkQueue>::default();
        let theirs = queue.clone();
        let thread = Builder::new().name("frcnn-session".into()).spawn(move || work(&theirs, &engine));
        let thread = thread.map_err(|error| {
            Failure::new(FrcnnResult::Internal, format!("cannot start a session's thread: {error}"))
        })?;
        Ok(Worker { queue, thread: Some(thread) })
    }

    /// Leaves a copy of the frame to the thread, in place of one that is still waiting.
    pub(crate) fn submit(&self, image: &Image<&[u8]>, proposals: Option<&[BBox]>) -> Result<(), Failure> {
        let mut state = self.queue.lock();
        let mut job = match state.waiting.take() {
            Some(older) => {
                state.counts.dropped += 1;
                log::debug!("frame {} is dropped for frame {}", older.image.id, image.id);
                older
            }
            None => state.spare.take().unwrap_or_else(|| Job { image: Image::empty(), proposals: None }),
        };
        image.copy_into(&mut job.image)?;
        let mut copy = job.proposals.take().unwrap_or_default();
        if let Some(boxes) = proposals {
            scratch::empty(&mut copy, boxes.len())?;
            copy.extend_from_slice(boxes);
            job.proposals = Some(copy);
        }
        state.counts.submitted += 1;
        state.waiting = Some(job);
        self.queue.changed.notify_all();
        Ok(())
    }

    /// The oldest result that was not fetched yet; waits for one while a frame is in work.
    pub(crate) fn poll(&self, timeout: Duration) -> Result<Done, Failure> {
        let state = self.queue.lock();
        let in_work = |state: &mut State| state.done.is_empty() && (state.busy || state.waiting.is_some());
        let mut state = wait_timeout_while(&self.queue.changed, state, timeout, in_work);
        match state.pop() {
            Some(done) => Ok(done),
            None if in_work(&mut state) => Err(Failure::new(FrcnnResult::NotReady, "no frame is done yet")),
            None => Err(Failure::new(FrcnnResult::Idle, "no frame is in work")),
        }
    }

    /// What is readable while a poll would give a result at once.
    pub(crate) fn descriptor(&self) -> Result<Descriptor, Failure> {
        let mut state = self.queue.lock();
        if let Some(signal) = &state.signal {
            return Ok(signal.descriptor());
        }
        let signal = Signal::new().map_err(|error| {
            Failure::new(FrcnnResult::Internal, format!("cannot make a session's descriptor: {error}"))
        })?;
        if !state.done.is_empty() {
            signal.turn(true);
        }
        let descriptor = signal.descriptor();
        state.signal = Some(signal);
        Ok(descriptor)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.queue.lock().counts
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.lock().stop = true;
        self.queue.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It catches what can panic in it.
            let _ = thread.join();
        }
    }
}

fn work(queue: &WorkQueue, engine: &Mutex<Engine>) {
    loop {
        let state = queue.lock();
        let idle = |state: &mut State| state.waiting.is_none() && !state.stop;
        let mut state = wait_while(&queue.changed, state, idle);
        if state.stop {
            return;
        }
        let Some(job) = state.waiting.take() else { continue };
        state.busy = true;
        drop(state);

        let mut facts = Facts { id: job.image.id, ..Facts::default() };
        let run = || {
            let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            engine.run(&job.image.view(), job.proposals.as_deref(), &mut facts)
        };
        let outcome = catch_unwind(AssertUnwindSafe(run));
        let outcome = outcome.unwrap_or_else(|payload| Err(Failure::panicked(&*payload)));

        let mut state = queue.lock();
        state.busy = false;
        match outcome {
            Ok(_) => state.counts.completed += 1,
            Err(_) => state.counts.failed += 1,
        }
        state.push(Done { facts, outcome });
        state.spare = Some(job);
        queue.changed.notify_all();
    }
}
