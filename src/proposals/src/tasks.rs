//! Work shared out among threads so that results do not depend on their number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// `work(i)` for every `i` in `0..count`, results in that order.
///
/// With one thread the caller's does it all; with more, at most that many tasks of the current rayon pool each take
/// the next index when they are done with their last.
pub(crate) fn map<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let tasks = if threads > 1 { threads.min(rayon::current_num_threads()).min(count) } else { 1 };
    if tasks <= 1 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let run = || {
        while let i = next.fetch_add(1, Ordering::Relaxed)
            && i < count
        {
            let result = work(i);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    };
    rayon::scope(|scope| (0..tasks).for_each(|_| scope.spawn(|_| run())));
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(i, _)| i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_once_and_in_order() {
        for (threads, count) in [(0, 3), (1, 0), (1, 5), (2, 0), (3, 1), (3, 100), (usize::MAX, 7)] {
            assert_eq!(map(threads, count, |i| i * i), (0..count).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
