//! Requests in the order in which they came, and the threads that answer them.
//!
//! A request is in one place at a time: waiting, in the hands of a worker, or answered. Whoever asked can take it back as long as it
//! waits: by going away, or because it has waited too long. So none is answered twice, and none computed that nobody waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::budget::Held;
use crate::detect::{Eye, Found, Input};
use crate::metrics::Metrics;
use crate::model::Loaded;
use crate::refusal::Refusal;

type Answer = Result<Found, Refusal>;

struct Job {
    number: u64,
    input: Input,
    model: Arc<Loaded>,
    /// Memory that the input takes.
    held: Held,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Of the next job.
    number: u64,
    ending: bool,
}

/// What waits, at most a number, each at most for a time.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    most: usize,
    longest: Duration,
    metrics: Arc<Metrics>,
}

/// A job's place, which is given up when whoever asked goes away.
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.take_back(self.number);
    }
}

impl Queue {
    pub(crate) fn new(most: usize, longest: Duration, metrics: Arc<Metrics>) -> Queue {
        Queue { waiting: Mutex::default(), changed: Condvar::new(), most, longest, metrics }
    }

    /// A thread that panicked has left it whole: none does while it holds the lock.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a picture looked at.
    ///
    /// # Errors
    /// As many wait as may, it has waited too long, the service ends, or nothing can be detected.
    pub(crate) async fn ask(&self, input: Input, model: Arc<Loaded>, held: Held) -> Answer {
        let since = Instant::now();
        let (answer, mut answered) = oneshot::channel();
        let place = {
            let mut waiting = self.waiting();
            if waiting.ending {
                return Err(Refusal::Ending);
            }
            if waiting.jobs.len() >= self.most {
                return Err(Refusal::Busy);
            }
            waiting.number += 1;
            let number = waiting.number;
            waiting.jobs.push_back(Job { number, input, model, held, since, answer });
            Place { queue: self, number }
        };
        self.changed.notify_one();
        let gone = || Err(Refusal::Failed("the worker has ended".to_string()));
        match tokio::time::timeout(self.longest, &mut answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| gone()),
            Err(_) if self.take_back(place.number) => Err(Refusal::Late),
            // It is being looked at.
            Err(_) => answered.await.unwrap_or_else(|_| gone()),
        }
    }

    /// Takes a job out that still waits; whether it did.
    fn take_back(&self, number: u64) -> bool {
        let mut waiting = self.waiting();
        let position = waiting.jobs.iter().position(|job| job.number == number);
        let job = position.and_then(|position| waiting.jobs.remove(position));
        // Its memory is let go outside of the lock.
        drop(waiting);
        job.is_some()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().jobs.len()
    }

    /// No more are taken. What waits is still answered; the workers then end.
    pub(crate) fn end(&self) {
        self.waiting().ending = true;
        self.changed.notify_all();
    }

    /// The next job; none when there will be no more.
    fn next(&self, idle: &mut impl FnMut()) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.ending {
                return None;
            }
            let timed = self.changed.wait_timeout(waiting, Duration::from_secs(5));
            let (again, time) = timed.unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if time.timed_out() {
                drop(waiting);
                idle();
                waiting = self.waiting();
            }
        }
    }

    /// Answers jobs until there are no more: the work of a thread.
    pub(crate) fn work(&self) {
        let mut eye = Eye::default();
        loop {
            let Some(job) = self.next(&mut || eye.forget_retired()) else { return };
            let Job { input, model, held, since, answer, .. } = job;
            let waited = since.elapsed();
            if answer.is_closed() {
                continue;
            }
            let outcome = if waited > self.longest { Err(Refusal::Late) } else { eye.look(input, &model) };
            drop(held);
            if let Ok(found) = &outcome {
                self.metrics.looked(waited, found.took);
            }
            // Whoever has gone away meanwhile needs no answer.
            if answer.send(outcome).is_err() {
                self.metrics.left();
            }
        }
    }
}
