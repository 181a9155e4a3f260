//! Sharing the chunks of an output among tasks.

/// Calls `work(state, i, chunk)` once for the `i`-th `len`-sized chunk of `out`, for every chunk; the last may be shorter.
///
/// One task for each state, on the current rayon pool; a task takes the next chunk when it is done with its last.
/// Chunks do not depend on the number of tasks, so if `work` ignores what is left in `state`, neither do the results.
pub(crate) fn for_each_chunk<S: Send>(
    states: &mut [S],
    out: &mut [f32],
    len: usize,
    work: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) {
    let len = len.max(1);
    #[cfg(feature = "std")]
    if states.len() > 1 && out.len() > len {
        use std::sync::{Mutex, PoisonError};
        let queue = Mutex::new(out.chunks_mut(len).enumerate());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        rayon::scope(|scope| {
            for state in states {
                scope.spawn(|_| {
                    while let Some((i, chunk)) = next() {
                        work(state, i, chunk);
                    }
                });
            }
        });
        return;
    }
    if let Some(state) = states.first_mut() {
        out.chunks_mut(len).enumerate().for_each(|(i, chunk)| work(state, i, chunk));
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
