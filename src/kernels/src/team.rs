//! Threads that stay awake between the loops of one frame.
//!
//! A trunk is a hundred short loops, each shared out among threads, with hardly anything between them. A thread of rayon's that
//! finds no work goes to sleep soon, and waking it takes tens of microseconds: with two threads 2 to 5 % of SqueezeNet's time at
//! 240 x 320, and 10 to 20 % beside other programs. So while a frame is computed, the pool's other threads wait awake for its next
//! loop, as those of OpenMP do, and go back to the pool when none has come for [`PATIENCE`], or when the frame is done.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread waits awake for the next loop. What lies between two loops of a frame is shorter by far; waking up a thread
/// costs about as much as it may lose here.
const PATIENCE: Duration = Duration::from_micros(200);

/// What every thread of a loop runs until nothing of the loop is left.
type Work<'a> = dyn Fn() + Sync + 'a;

/// A loop's work, for as long as the loop is open: see [`Team::share`].
struct Open {
    work: *const Work<'static>,
    /// How many more helpers may enter.
    places: usize,
}

// SAFETY: what it points to is `Sync`, so threads may share it; that it lives long enough is what `share` sees to.
unsafe impl Send for Open {}

#[derive(Default)]
struct Team {
    /// The loop that is open, if one is. Helpers enter a loop only while they hold the lock.
    open: Mutex<Option<Open>>,
    /// Counts the loops, so that a waiting helper sees a new one without the lock.
    loops: AtomicUsize,
    /// Helpers inside the open loop.
    inside: AtomicUsize,
    /// Helpers that wait or work, or that the pool has been asked for.
    helpers: AtomicUsize,
    /// The frame is done.
    over: AtomicBool,
    /// What a helper's part of the open loop panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

std::thread_local! {
    /// The team whose frame this thread computes.
    static TEAM: RefCell<Option<Arc<Team>>> = const { RefCell::new(None) };
}

/// Runs `work`, during which the loops of this crate's functions find the other threads of the current rayon pool awake. On a
/// thread of no pool it just runs it.
///
/// Results are the same with and without. It pays for work of many short loops, such as the layers of a network on a small
/// image. The other threads wait for at most 200 microseconds at a time, and yield to other programs while they do.
pub fn with_team<T>(work: impl FnOnce() -> T) -> T {
    /// Ends the team on every way out.
    struct Ending;
    impl Drop for Ending {
        fn drop(&mut self) {
            if let Some(team) = TEAM.take() {
                team.over.store(true, SeqCst);
            }
        }
    }

    // Outside of a pool nothing is asked of rayon, which would start its global one.
    if rayon::current_thread_index().is_none() || TEAM.with_borrow(Option::is_some) {
        return work();
    }
    TEAM.set(Some(Arc::default()));
    let _ending = Ending;
    work()
}

/// Runs `work` on this thread and on up to `tasks - 1` helpers of its team; false, and nothing done, if this thread has no team, or
/// is inside a loop already.
pub(crate) fn share(tasks: usize, work: &Work<'_>) -> bool {
    let team = TEAM.with_borrow(Clone::clone);
    team.is_some_and(|team| team.share(tasks, work))
}

impl Team {
    fn share(self: &Arc<Self>, tasks: usize, work: &Work<'_>) -> bool {
        /// Closes the loop on every way out, and lets nobody out before the helpers have left it.
        struct Closing<'a>(&'a Team);
        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                *lock(&self.0.open) = None;
                let mut turn = 0;
                while self.0.inside.load(SeqCst) > 0 {
                    wait_a_little(&mut turn);
                }
            }
        }

        let (closing, missing) = {
            let mut open = lock(&self.open);
            if open.is_some() {
                return false;
            }
            // SAFETY: only the lifetime changes. Helpers use the pointer while they are counted in `inside`, which they become
            // only while the loop is open; `Closing` closes it and then waits for them, before `work`'s borrow can end.
            let work = unsafe { core::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
            // Of a loop whose caller panicked, too, and was told its own.
            *lock(&self.panic) = None;
            *open = Some(Open { work, places: tasks.saturating_sub(1) });
            self.loops.fetch_add(1, SeqCst);
            (Closing(self), self.helpers.load(SeqCst)..tasks.saturating_sub(1))
        };
        for _ in missing {
            self.helpers.fetch_add(1, SeqCst);
            let team = Arc::clone(self);
            rayon::spawn(move || team.help());
        }
        work();
        drop(closing);
        if let Some(payload) = lock(&self.panic).take() {
            resume_unwind(payload);
        }
        true
    }

    /// What a helper does: it works on each loop that is opened, and waits for the next.
    fn help(&self) {
        // On a thread that computes a frame itself, which found this while it waited for something else, it would wait for itself.
        let elsewhere = TEAM.with_borrow(Option::is_some);
        let (mut seen, mut turn, mut since) = (0, 0, Instant::now());
        loop {
            let loops = self.loops.load(SeqCst);
            if loops != seen && !elsewhere {
                seen = loops;
                self.work();
                since = Instant::now();
            } else if elsewhere || self.over.load(SeqCst) || since.elapsed() > PATIENCE {
                // Under the lock, so that no loop is opened that counts on this helper.
                let _open = lock(&self.open);
                if elsewhere || self.loops.load(SeqCst) == seen {
                    self.helpers.fetch_sub(1, SeqCst);
                    return;
                }
            } else {
                wait_a_little(&mut turn);
            }
        }
    }

    /// A helper's part of the open loop, if it is still open.
    fn work(&self) {
        let work = {
            let mut open = lock(&self.open);
            let Some(open) = open.as_mut().filter(|open| open.places > 0) else { return };
            open.places -= 1;
            self.inside.fetch_add(1, SeqCst);
            open.work
        };
        // SAFETY: the loop was open when this helper was counted in `inside`, and the borrow lasts until it no longer is.
        let work = unsafe { &*work };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            lock(&self.panic).get_or_insert(payload);
        }
        self.inside.fetch_sub(1, SeqCst);
    }
}

/// A microsecond or so, in which other programs may have the core.
fn wait_a_little(turn: &mut u32) {
    *turn = turn.wrapping_add(1);
    if turn.is_multiple_of(32) { std::thread::yield_now() } else { core::hint::spin_loop() }
}

/// No lock is held across what may panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    /// Shares out `0..count` and counts how often each index came.
    fn counts(tasks: usize, count: usize) -> Vec<usize> {
        let seen: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(seen) = seen.get(next.fetch_add(1, SeqCst)) {
                seen.fetch_add(1, SeqCst);
            }
        };
        assert!(share(tasks, &work));
        seen.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_loop_is_done_once() {
        for threads in [2, 3, 5] {
            in_pool(threads, || {
                with_team(|| {
                    for i in 0..2000 {
                        assert_eq!(counts(threads, i % 40), vec![1; i % 40], "{threads} threads, loop {i}");
                    }
                });
            });
        }
    }

    /// Both parts of a loop that waits for two threads: so a helper comes, also after all had lost patience.
    #[test]
    fn helpers_come_back() {
        in_pool(2, || {
            with_team(|| {
                for _ in 0..3 {
                    let both = std::sync::Barrier::new(2);
                    assert!(share(2, &|| {
                        both.wait();
                    }));
                    std::thread::sleep(PATIENCE * 20);
                }
            });
        });
    }

    #[test]
    fn without_a_team_and_inside_a_loop_nothing_is_shared() {
        assert!(!share(2, &|| panic!("nobody should run this")));
        in_pool(2, || {
            assert!(!share(2, &|| panic!("nobody should run this")));
            with_team(|| {
                let (nested, caller) = (AtomicUsize::new(0), std::thread::current().id());
                assert!(share(1, &|| {
                    assert_eq!(std::thread::current().id(), caller);
                    nested.fetch_add(usize::from(share(2, &|| panic!("nobody should run this"))), SeqCst);
                }));
                assert_eq!(nested.into_inner(), 0);
            });
            assert!(!share(2, &|| panic!("nobody should run this")));
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        in_pool(3, || {
            with_team(|| {
                for on_helper in [true, false] {
                    let (caller, both) = (std::thread::current().id(), std::sync::Barrier::new(2));
                    let work = || {
                        both.wait();
                        assert!((std::thread::current().id() == caller) == on_helper, "panics");
                    };
                    let panicked = catch_unwind(AssertUnwindSafe(|| share(2, &work))).unwrap_err();
                    assert_eq!(panicked.downcast_ref::<&str>(), Some(&"panics"));
                    assert_eq!(counts(3, 20), [1; 20]);
                }
                let both = std::sync::Barrier::new(2);
                let work = || {
                    both.wait();
                    panic!("both panic");
                };
                assert!(catch_unwind(AssertUnwindSafe(|| share(2, &work))).is_err());
                assert_eq!(counts(3, 20), [1; 20]);
            });
        });
    }

    /// Frames that share one pool wait for none of each other's.
    #[test]
    fn several_teams_on_one_pool() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        pool.install(|| {
                            with_team(|| (0..50).for_each(|_| assert_eq!(counts(2, 10), [1; 10])))
                        });
                    }
                });
            }
        });
    }
}
