//! Sharing the chunks of an output among tasks.

use alloc::vec::Vec;
use core::ops::Range;

/// Calls `work(state, i, chunk)` once for the `i`-th `len`-sized chunk of `out`, for every chunk; the last may be shorter.
///
/// One task for each state, on the threads of the team or of the current rayon pool. Each thread begins with a part of its own,
/// which is the same in every loop: what it reads of a layer's map is then for the most part what it wrote itself, and lies in
/// its core's caches. When it is done with that it takes from the other parts, a chunk at a time.
/// Chunks do not depend on the number of tasks, so if `work` ignores what is left in `state`, neither do the results.
pub(crate) fn for_each_chunk<S: Send>(
    states: &mut [S],
    out: &mut [f32],
    len: usize,
    work: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) {
    for_each_item(states, out.chunks_mut(len.max(1)).enumerate(), |state, (i, chunk)| work(state, i, chunk));
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
    let (states, count) = (first(states, items.len()), items.len());
    let mut items = items.into_iter();
    let parts = parts(states.len(), count)
        .map(|part| items.by_ref().take(part.len()).collect::<Vec<T>>().into_iter());
    let parts = parts.collect();
    for_each_of_parts(states, parts, work);
}

/// Calls `work(state, i)` once for every `i` in `0..count`, shared out as [`for_each_chunk`] shares chunks.
pub(crate) fn for_each_index<S: Send>(states: &mut [S], count: usize, work: impl Fn(&mut S, usize) + Sync) {
    let states = first(states, count);
    let parts = parts(states.len(), count).collect();
    for_each_of_parts(states, parts, work);
}

/// At most so many of them.
fn first<S>(states: &mut [S], count: usize) -> &mut [S] {
    let tasks = states.len().min(count);
    &mut states[..tasks]
}

/// `0..count` in so many parts of about one size.
fn parts(tasks: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let (size, larger) = (count / tasks.max(1), count % tasks.max(1));
    let first = move |task: usize| task * size + task.min(larger);
    (0..tasks).map(move |task| first(task)..first(task + 1))
}

/// Calls `work(state, item)` once for each item of all parts.
fn for_each_of_parts<S: Send, I: Iterator + Send>(
    states: &mut [S],
    parts: Vec<I>,
    work: impl Fn(&mut S, I::Item) + Sync,
) {
    #[cfg(feature = "std")]
    if states.len() > 1 {
        use std::sync::{Mutex, PoisonError};
        // Each in cache lines of its own.
        #[repr(align(128))]
        struct Part<I>(Mutex<I>);
        let parts: Vec<Part<I>> = parts.into_iter().map(|part| Part(Mutex::new(part))).collect();
        share_out(states, |state| {
            let own = rayon::current_thread_index().unwrap_or(0) % parts.len().max(1);
            for part in parts[own..].iter().chain(&parts[..own]) {
                let next = || part.0.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(item) = next() {
                    work(state, item);
                }
            }
        });
        return;
    }
    if let Some(state) = states.first_mut() {
        parts.into_iter().flatten().for_each(|item| work(state, item));
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
