//! Sharing the chunks of an output among tasks.

use alloc::vec::Vec;
use core::ops::Range;

/// Calls `work(state, i, chunk)` once for the `i`-th `len`-sized chunk of `out`, for every chunk; the last may be shorter.
///
/// One task for each state, on the threads of the team or of the current rayon pool. Each thread begins with a part of its own,
/// which, in a pool of as many threads, is the same in every loop: what it reads of a layer's map is then for the most part what it
/// wrote itself, and lies in its core's caches. When it is done with that it takes from the other parts, a chunk at a time.
/// Chunks do not depend on the number of tasks, so if `work` ignores what is left in `state`, neither do the results.
pub(crate) fn for_each_chunk<S: Send>(
    states: &mut [S],
    out: &mut [f32],
    len: usize,
    work: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) {
    let len = len.max(1);
    let count = out.len().div_ceil(len);
    let states = first_of(states, count);
    let mut rest = out;
    let parts = parts(states.len(), count).map(|part| {
        let own = rest.len().min(part.len() * len);
        part.zip(rest.split_off_mut(..own).unwrap_or_default().chunks_mut(len))
    });
    for_each_of_parts(states, parts, |state, (i, chunk)| work(state, i, chunk));
}

/// Calls `work(state, item)` once for each item, shared out as [`for_each_chunk`] shares chunks.
pub(crate) fn for_each_item<S: Send, T: Send>(
    states: &mut [S],
    items: impl Iterator<Item = T>,
    work: impl Fn(&mut S, T) + Sync,
) {
    if let [state] = states {
        items.for_each(|item| work(state, item));
        return;
    }
    let items: Vec<T> = items.collect();
    let states = first_of(states, items.len());
    let parts = parts(states.len(), items.len());
    let mut items = items.into_iter();
    let parts = parts.map(|part| items.by_ref().take(part.len()).collect::<Vec<T>>().into_iter());
    for_each_of_parts(states, parts, work);
}

/// Calls `work(state, i)` once for every `i` in `0..count`, shared out as [`for_each_chunk`] shares chunks.
pub(crate) fn for_each_index<S: Send>(states: &mut [S], count: usize, work: impl Fn(&mut S, usize) + Sync) {
    let states = first_of(states, count);
    for_each_of_parts(states, parts(states.len(), count), work);
}

/// As many states as there are items, at most.
fn first_of<S>(states: &mut [S], items: usize) -> &mut [S] {
    let tasks = states.len().min(items);
    &mut states[..tasks]
}

/// Cuts `0..count` into `tasks` ranges, whose lengths differ by one at most.
fn parts(tasks: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let (size, larger) = (count / tasks.max(1), count % tasks.max(1));
    let first = move |task: usize| task * size + task.min(larger);
    (0..tasks).map(move |task| first(task)..first(task + 1))
}

/// Calls `work(state, item)` once for each item of all parts, of which there are as many as states.
fn for_each_of_parts<S: Send, I: Iterator + Send>(
    states: &mut [S],
    parts: impl Iterator<Item = I>,
    work: impl Fn(&mut S, I::Item) + Sync,
) {
    #[cfg(feature = "std")]
    if states.len() > 1 {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        use std::sync::{Mutex, PoisonError};
        // Each in cache lines of its own.
        #[repr(align(128))]
        struct Part<I> {
            items: Mutex<I>,
            taken: AtomicBool,
        }
        let parts: Vec<Part<I>> =
            parts.map(|items| Part { items: Mutex::new(items), taken: AtomicBool::new(false) }).collect();
        share_out(states, |state| {
            let index = rayon::current_thread_index().unwrap_or(0) % parts.len();
            // In a larger pool another thread may have that part.
            let mut from_index = (index..parts.len()).chain(0..index);
            let own = from_index.find(|&part| !parts[part].taken.swap(true, Relaxed)).unwrap_or(index);
            for part in parts[own..].iter().chain(&parts[..own]) {
                let next = || part.items.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(item) = next() {
                    work(state, item);
                }
            }
        });
        return;
    }
    if let Some(state) = states.first_mut() {
        parts.flatten().for_each(|item| work(state, item));
    }
}

/// Calls `work(state)` for states until there is nothing to do, at most once for each: on the threads of this one's team, or of the
/// current rayon pool. Not for every state: each call works for as long as something is left.
#[cfg(feature = "std")]
fn share_out<S: Send>(states: &mut [S], work: impl Fn(&mut S) + Sync) {
    use std::sync::{Mutex, PoisonError};
    let tasks = states.len();
    let left = Mutex::new(states.iter_mut());
    let task = || {
        let state = left.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some(state) = state {
            work(state);
        }
    };
    if !crate::team::share(tasks, &task) {
        rayon::scope(|scope| (0..tasks).for_each(|_| scope.spawn(|_| task())));
    }
}

/// As many tasks as `threads` asks for, but no more than the current rayon pool runs at once.
pub(crate) fn task_count(threads: usize) -> usize {
    #[cfg(feature = "std")]
    if threads > 1 {
        return threads.min(rayon::current_num_threads());
    }
    let _ = threads;
    1
}

/// [`for_each_chunk`] for work that needs no state.
pub(crate) fn for_each_chunk_stateless(
    threads: usize,
    out: &mut [f32],
    len: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    // Of a type without size: nothing is allocated.
    let mut states = alloc::vec![(); task_count(threads)];
    for_each_chunk(&mut states, out, len, |(), i, chunk| work(i, chunk));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "std")]
    #[test]
    fn every_index_once() {
        use std::sync::Mutex;
        for (tasks, count) in [(1, 0), (1, 5), (3, 0), (3, 1), (3, 100), (9, 4), (4, 7)] {
            let seen = Mutex::new(alloc::vec![0; count]);
            for_each_index(&mut alloc::vec![(); tasks], count, |(), i| seen.lock().unwrap()[i] += 1);
            assert_eq!(seen.into_inner().unwrap(), alloc::vec![1; count], "{tasks} tasks");
        }
    }

    /// Runs `work` twice in a pool of two threads that are both there.
    #[cfg(feature = "std")]
    fn on_two_threads(work: impl Fn() + Sync) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| (0..2).for_each(|_| work()));
    }

    #[cfg(feature = "std")]
    #[test]
    fn each_thread_begins_with_the_same_part_of_every_loop() {
        use std::sync::{Barrier, Mutex};
        on_two_threads(|| {
            let (both, begun) = (Barrier::new(2), Mutex::new(Vec::new()));
            for_each_index(&mut [true; 2], 10, |first, i| {
                if core::mem::take(first) {
                    begun.lock().unwrap().push((rayon::current_thread_index(), i));
                    both.wait();
                }
            });
            let mut begun = begun.into_inner().unwrap();
            begun.sort_unstable();
            assert_eq!(begun, [(Some(0), 0), (Some(1), 5)]);
        });
    }

    #[cfg(feature = "std")]
    #[test]
    fn who_is_done_takes_from_others() {
        use std::sync::{Condvar, Mutex};
        on_two_threads(|| {
            let (done, all) = (Mutex::new(0), Condvar::new());
            // The first waits for all others, some of which are behind it in its part.
            for_each_index(&mut [(); 2], 10, |(), i| {
                let mut done = done.lock().unwrap();
                if i > 0 {
                    *done += 1;
                    all.notify_all();
                    return;
                }
                let limit = std::time::Duration::from_secs(60);
                let waited = all.wait_timeout_while(done, limit, |done| *done < 9).unwrap().1;
                assert!(!waited.timed_out(), "nobody took what was left of the first part");
            });
        });
    }

    #[test]
    fn every_chunk_once() {
        for threads in [0, 1, 2, 7, usize::MAX] {
            for (length, len) in [(0, 3), (3, 3), (10, 3), (10, 100), (5, 0)] {
                let mut out = alloc::vec![0.0; length];
                for_each_chunk_stateless(threads, &mut out, len, |i, chunk| {
                    chunk.iter_mut().for_each(|v| *v += (i + 1) as f32);
                });
                let expected: alloc::vec::Vec<_> = (0..length).map(|j| (j / len.max(1) + 1) as f32).collect();
                assert_eq!(out, expected, "{threads} threads, {length} in chunks of {len}");
            }
        }
    }
}
