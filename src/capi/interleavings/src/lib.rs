//! Every order in which the threads of `worker.rs` and `slot.rs` can take turns, by loom: the files themselves
//! are compiled here with loom's locks, and with an engine that computes nothing.
//!
//! loom leaves out time: a poll waits for as long as there is something to wait for, and one that misses its wake-up is a
//! deadlock, which fails. Of schedules with more than [`PREEMPTIONS`] forced changes of thread none is tried. Each test
//! also says which outcomes must have come about in one schedule or another, so that none passes for want of schedules.
//!
//! A package of its own, so that nobody else builds loom; the `frcnn` crate has a stand-in, too.
#![cfg(test)]
#![allow(dead_code, unreachable_pub, reason = "the library's own files, of which the tests use a part")]

extern crate self as frcnn;

mod stand_ins;
pub use stand_ins::{BBox, Detections};
use stand_ins::{engine, frame, result, sync};

#[path = "../../src/slot.rs"]
mod slot;
#[path = "../../src/worker.rs"]
mod worker;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use engine::{Engine, FAILS};
use frame::Image;
use result::FrcnnResult;
use slot::Slot;
use sync::{Arc, Mutex};
use worker::{Counts, Worker};

/// Two find nearly every mistake that is known of such programs.
const PREEMPTIONS: usize = 3;

/// Runs `test` in every order; what it gives in one or another of them must be all of `outcomes` and nothing else.
fn model<T, const N: usize>(outcomes: [T; N], test: impl Fn() -> T + Sync + Send + 'static)
where
    T: Ord + Debug + Send + 'static,
{
    // Not loom's: it outlives the schedules.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let all = seen.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let outcome = test();
        all.lock().unwrap().insert(outcome);
    });
    assert_eq!(*seen.lock().unwrap(), BTreeSet::from(outcomes));
}

fn submit(worker: &Worker, id: u64) {
    worker.submit(&Image { id, plane: &[][..] }, None).unwrap();
}

fn engine(slot: &Arc<Slot<u64>>) -> Arc<Mutex<Engine>> {
    Arc::new(Mutex::new(Engine::new(slot.clone())))
}

fn start(slot: &Arc<Slot<u64>>) -> Worker {
    Worker::start(engine(slot)).unwrap()
}

/// Ids and generations of all frames that are polled until nothing is in work.
fn poll_all(worker: &Worker) -> Vec<(u64, u64)> {
    let mut polled = Vec::new();
    loop {
        match worker.poll(Duration::ZERO) {
            Ok(done) => {
                let facts = done.facts;
                assert_eq!(done.outcome.is_err(), facts.id == FAILS);
                assert_eq!(facts.detector, 10 * facts.generation, "the detector of another reload ran");
                polled.push((facts.id, facts.generation));
            }
            Err(failure) => {
                // Time stands still, so there is nothing else to end for.
                assert_eq!(failure.code, FrcnnResult::Idle);
                return polled;
            }
        }
    }
}

/// Frames that have neither a result nor been dropped: one may wait and one be in work.
fn in_work(counts: &Counts) -> u64 {
    counts.submitted - counts.completed - counts.failed - counts.dropped
}

/// Whatever is submitted is polled once and in order, or was dropped for a newer frame; the last is never dropped.
#[test]
fn every_frame_is_polled_or_dropped() {
    model([vec![3], vec![1, 3], vec![FAILS, 3], vec![1, FAILS, 3]], || {
        let worker = start(&Slot::new(10, None));
        for (submitted, id) in (1..).zip([1, FAILS, 3]) {
            submit(&worker, id);
            let counts = worker.counts();
            assert_eq!(counts.submitted, submitted);
            assert!(in_work(&counts) <= 2, "{counts:?}");
        }
        let ids: Vec<u64> = poll_all(&worker).into_iter().map(|(id, _)| id).collect();
        let counts = worker.counts();
        assert_eq!((counts.submitted, counts.forgotten, in_work(&counts)), (3, 0, 0), "{counts:?}");
        assert_eq!(counts.completed + counts.failed, ids.len() as u64);
        assert_eq!(counts.failed, u64::from(ids.contains(&FAILS)));
        ids
    });
}

/// One thread submits while another waits on the descriptor and polls: whenever it is readable there is a result, the newest
/// frame is never missed, and in the end nothing is readable.
#[test]
fn submit_and_poll_on_two_threads() {
    model([vec![2], vec![1, 2]], || {
        let worker = Arc::new(start(&Slot::new(10, None)));
        let readable = worker.descriptor().unwrap();
        let theirs = worker.clone();
        let submits = loom::thread::spawn(move || {
            submit(&theirs, 1);
            submit(&theirs, 2);
        });
        let mut ids = Vec::new();
        while ids.last() != Some(&2) {
            readable.wait();
            ids.push(worker.poll(Duration::ZERO).expect("it was readable").facts.id);
        }
        submits.join().unwrap();
        assert!(!readable.is_readable());
        let counts = worker.counts();
        assert_eq!((counts.submitted, counts.completed), (2, ids.len() as u64), "{counts:?}");
        ids
    });
}

/// Whoever asks for the descriptor late, perhaps when results wait already, is told of them.
#[test]
fn a_descriptor_that_is_asked_for_late_tells_all() {
    model([true, false], || {
        let worker = start(&Slot::new(10, None));
        submit(&worker, 1);
        let readable = worker.descriptor().unwrap();
        let at_once = readable.is_readable();
        readable.wait();
        assert_eq!(worker.poll(Duration::ZERO).unwrap().facts.id, 1);
        assert!(!worker.descriptor().unwrap().is_readable());
        at_once
    });
}

/// A worker that is dropped finishes the frame in work, begins no other, and is gone when the drop returns.
#[test]
fn a_worker_ends_while_frames_wait() {
    model([vec![], vec![1], vec![2], vec![1, 2]], || {
        let mut engine = engine(&Slot::new(10, None));
        let worker = Worker::start(engine.clone()).unwrap();
        submit(&worker, 1);
        submit(&worker, 2);
        drop(worker);
        let engine = Arc::get_mut(&mut engine).expect("the thread has ended");
        engine.get_mut().unwrap().ran.clone()
    });
}

/// A frame that the caller detects itself meanwhile has its own turn with the engine.
#[test]
fn detect_and_submit_take_turns() {
    model([vec![1, 2], vec![2, 1]], || {
        let engine = engine(&Slot::new(10, None));
        let worker = Worker::start(engine.clone()).unwrap();
        submit(&worker, 1);
        let mut facts = engine::Facts::default();
        engine.lock().unwrap().run(&Image { id: 2, plane: &[][..] }, None, &mut facts).unwrap();
        assert_eq!((facts.id, facts.detector), (2, 10));
        assert_eq!(poll_all(&worker), [(1, 1)]);
        let engine = engine.lock().unwrap();
        engine.ran.clone()
    });
}

/// The detector that runs is that of the generation which is reported, and the newest one once a reload has returned.
#[test]
fn frames_follow_reloads() {
    model([1, 2, 3], || {
        let slot = Slot::new(10, None);
        let theirs = slot.clone();
        let reload = loom::thread::spawn(move || {
            assert_eq!((theirs.put(20, "a".into()), theirs.put(30, "b".into())), (2, 3));
        });
        let worker = start(&slot);
        submit(&worker, 1);
        let polled = poll_all(&worker);
        reload.join().unwrap();
        submit(&worker, 2);
        let [(1, generation)] = polled[..] else { panic!("{polled:?}") };
        assert_eq!(poll_all(&worker), [(2, 3)]);
        generation
    });
}

/// Reloads at once give generations one after the other, and the last is what stays.
#[test]
fn reloads_at_once_are_counted() {
    model([1, 2], || {
        let slot = Slot::new(0, None);
        let threads = [1u64, 2].map(|detector| {
            let slot = slot.clone();
            loom::thread::spawn(move || (slot.put(detector, detector.to_string().into()), detector))
        });
        // Whoever looks meanwhile sees a whole reload, and none that is older than one already seen.
        let mut last = 0;
        for _ in 0..2 {
            let generation = slot.generation();
            let loaded = slot.loaded();
            assert!(last <= generation && generation <= loaded.generation, "{last} {generation}");
            assert_eq!(loaded.detector == 0, loaded.generation == 1);
            let path = loaded.path.unwrap_or("0".into());
            assert_eq!(path.to_str().unwrap(), loaded.detector.to_string());
            last = loaded.generation;
        }
        let mut puts = threads.map(|thread| thread.join().unwrap());
        puts.sort();
        assert_eq!(puts.map(|(generation, _)| generation), [2, 3]);
        let loaded = slot.loaded();
        assert_eq!((slot.generation(), loaded.generation, loaded.detector), (3, 3, puts[1].1));
        loaded.detector
    });
}
