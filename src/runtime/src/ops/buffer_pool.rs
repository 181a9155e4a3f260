//! Memory of the maps and scratch of frames, kept from frame to frame.
//!
//! The system maps new memory page by page, which for a feature map of 100 MB took a fifth of the time of VGG16's trunk. So buffers
//! are kept, and each of them serves whatever it is long enough for: all buffers of a network then take little more than what
//! is in use at once.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frcnn_files::{NoMemory, try_resize};
use frcnn_kernels::{give_back_free_pages, prefer_huge_pages};

/// Values of a buffer whose pages are worth a call to the system: 1 MiB.
const LARGE: usize = 1 << 18;
/// A lasting value leaves idle at most this share of its buffer.
const LASTING_WASTE: usize = 8;

/// Buffers that nobody uses just now, by their lengths. Which of them serves is decided here alone, so that what frames take can be
/// counted beforehand.
#[derive(Debug)]
pub(crate) struct Shelf<B> {
    /// Of those of one length the one used last is the last.
    idle: BTreeMap<usize, Vec<Idle<B>>>,
    /// Lengths of all buffers, of those in use, too.
    total: usize,
    /// Frames ended so far.
    frames: u64,
    /// The longest that was asked for in the frame before, and in those since.
    longest: [usize; 2],
}

#[derive(Debug)]
struct Idle<B> {
    buffer: B,
    last_frame: u64,
}

impl<B> Default for Shelf<B> {
    fn default() -> Shelf<B> {
        Shelf { idle: BTreeMap::new(), total: 0, frames: 0, longest: [0; 2] }
    }
}

/// What serves for a length.
#[derive(Debug)]
pub(crate) enum Taken<B> {
    /// A buffer that was idle, and its length.
    Idle(usize, B),
    /// One that has to be made, of the length that was asked for, in place of this one.
    New(Option<B>),
}

impl<B> Shelf<B> {
    /// The shortest idle buffer of at least `len`. Where all are shorter the longest of them goes, in whose place a new one has
    /// to be made. What is `lasting` is in use until a frame ends: a much longer buffer is not spent on it, and none goes.
    pub(crate) fn take(&mut self, len: usize, lasting: bool) -> Taken<B> {
        self.longest[1] = self.longest[1].max(len);
        let most = if lasting { len.saturating_add(len / LASTING_WASTE) } else { usize::MAX };
        let shortest = self.idle.range(len..=most).next().map(|(&len, _)| len);
        // Of equals the one used last is the likeliest to be in a cache still.
        if let Some(len) = shortest
            && let Some(Idle { buffer, .. }) = self.remove(len)
        {
            return Taken::Idle(len, buffer);
        }
        let longest = self.idle.keys().next_back().copied().filter(|_| !lasting);
        self.total = self.total.saturating_sub(longest.unwrap_or(0)).saturating_add(len);
        Taken::New(longest.and_then(|longest| self.remove(longest)).map(|idle| idle.buffer))
    }

    fn remove(&mut self, len: usize) -> Option<Idle<B>> {
        let same = self.idle.get_mut(&len)?;
        let last = same.pop();
        if same.is_empty() {
            self.idle.remove(&len);
        }
        last
    }

    /// A buffer is idle again.
    pub(crate) fn give_back(&mut self, len: usize, buffer: B) {
        self.idle.entry(len).or_default().push(Idle { buffer, last_frame: self.frames });
    }

    /// A buffer is no more, or has grown.
    fn change(&mut self, before: usize, now: usize) {
        self.total = self.total.saturating_sub(before).saturating_add(now);
    }

    /// Lengths of all buffers, of those in use, too.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// A frame ends. Idle buffers go that none of the last frames has used, or that are longer than all they asked for. The last
    /// frames are twice as many as were `under_way`.
    pub(crate) fn end_frame(&mut self, under_way: u64) {
        let (first, most) =
            ((self.frames + 1).saturating_sub(2 * under_way), self.longest[0].max(self.longest[1]));
        let mut gone = 0usize;
        self.idle.retain(|&len, same| {
            let before = same.len();
            same.retain(|idle| idle.last_frame >= first && len <= most);
            gone = gone.saturating_add(len.saturating_mul(before - same.len()));
            !same.is_empty()
        });
        self.total = self.total.saturating_sub(gone);
        self.frames += 1;
        if under_way <= 1 {
            self.longest = [self.longest[1], 0];
        }
    }
}

/// The buffers of one detector, whatever the number of its sessions.
#[derive(Debug, Default)]
pub(crate) struct BufferPool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    shelf: Shelf<Vec<f32>>,
    /// Frames begun and not yet ended.
    under_way: u64,
}

/// Frees a buffer, to the system if it is a large one.
fn free(buffer: Option<Vec<f32>>) {
    let is_large = buffer.as_ref().is_some_and(|buffer| buffer.len() >= LARGE);
    drop(buffer);
    if is_large {
        give_back_free_pages();
    }
}

/// A buffer in use, which goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    pool: Arc<BufferPool>,
    values: Vec<f32>,
    /// How long it was when it was taken; it may grow.
    taken: usize,
}

impl Deref for Buffer {
    type Target = Vec<f32>;

    fn deref(&self) -> &Vec<f32> {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let mut state = self.pool.state();
        state.shelf.change(self.taken, values.len());
        if !values.is_empty() {
            state.shelf.give_back(values.len(), values);
        }
    }
}

impl BufferPool {
    /// A buffer of at least `len` values, which may be anything; see [`Shelf::take`].
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn take(self: &Arc<Self>, len: usize, lasting: bool) -> Result<Buffer, NoMemory> {
        let buffer = |values: Vec<f32>| Buffer { pool: self.clone(), taken: values.len(), values };
        if len == 0 {
            return Ok(buffer(Vec::new()));
        }
        let mut state = self.state();
        let replaced = match state.shelf.take(len, lasting) {
            Taken::Idle(_, values) => return Ok(buffer(values)),
            Taken::New(replaced) => replaced,
        };
        drop(state);
        free(replaced);
        let mut values = Vec::new();
        let made = values.try_reserve_exact(len).map_err(|_| NoMemory { bytes: len.saturating_mul(4) });
        let made = made.and_then(|()| {
            prefer_huge_pages(values.spare_capacity_mut());
            try_resize(&mut values, len, 0.0)
        });
        if let Err(error) = made {
            self.state().shelf.change(len, 0);
            return Err(error);
        }
        Ok(buffer(values))
    }

    /// Begins a frame, which ends when the guard is dropped: see [`Shelf::end_frame`].
    pub(crate) fn frame(&self) -> FrameGuard<'_> {
        self.state().under_way += 1;
        FrameGuard(self)
    }

    fn end_frame(&self) {
        let State { shelf, under_way } = &mut *self.state();
        shelf.end_frame(*under_way);
        *under_way -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame under way.
pub(crate) struct FrameGuard<'a>(&'a BufferPool);

impl Drop for FrameGuard<'_> {
    fn drop(&mut self) {
        self.0.end_frame();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    impl BufferPool {
        /// Values of all buffers.
        fn total(&self) -> usize {
            let state = self.state();
            let idle: usize = state.shelf.idle.values().flatten().map(|idle| idle.buffer.len()).sum();
            assert!(idle <= state.shelf.total());
            state.shelf.total()
        }

        /// Takes buffers, and gives them back.
        fn use_all(self: &Arc<Self>, lens: &[usize]) {
            let taken: Vec<_> = lens.iter().map(|&len| self.take(len, false).unwrap()).collect();
            assert!(taken.iter().zip(lens).all(|(buffer, &len)| buffer.len() >= len));
        }
    }

    #[test]
    fn a_buffer_serves_whatever_it_is_long_enough_for() {
        let pool = Arc::new(BufferPool::default());
        for _ in 0..10 {
            let _frame = pool.frame();
            pool.use_all(&[90]);
            pool.use_all(&[100]);
            pool.use_all(&[100, 30]);
            pool.use_all(&[60, 60]);
        }
        assert_eq!(pool.total(), 160, "100 and 60 were in use at once");
        assert!(pool.take(20, false).unwrap().len() == 60, "the shortest that is long enough");
    }

    #[test]
    fn what_lasts_gets_a_buffer_of_its_own_length() {
        let pool = Arc::new(BufferPool::default());
        pool.use_all(&[100]);
        let map = pool.take(40, true).unwrap();
        assert_eq!((map.len(), pool.total()), (40, 140));
        drop(map);
        assert_eq!(pool.take(36, true).unwrap().len(), 40, "little is wasted");
    }

    #[test]
    fn frames_of_several_sizes_keep_the_buffers_of_all() {
        let pool = Arc::new(BufferPool::default());
        for _ in 0..10 {
            let _frame = pool.frame();
            for len in [10, 20, 40, 80, 160] {
                pool.use_all(&[len, len]);
            }
        }
        assert_eq!(pool.total(), 320);
    }

    #[test]
    fn longer_buffers_than_frames_ask_for_go_after_a_while() {
        let pool = Arc::new(BufferPool::default());
        for len in [1000, 10, 10, 10] {
            let _frame = pool.frame();
            pool.use_all(&[len, 1]);
        }
        assert_eq!(pool.total(), 11);
        for _ in 0..4 {
            let _frame = pool.frame();
            pool.use_all(&[5]);
        }
        assert_eq!(pool.total(), 5);
    }

    #[test]
    fn buffers_may_grow_and_may_not_be_had() {
        let pool = Arc::new(BufferPool::default());
        pool.take(10, false).unwrap().resize(25, 0.0);
        assert!(pool.take(0, false).unwrap().is_empty());
        assert_eq!((pool.total(), pool.take(25, false).unwrap().len()), (25, 25));
        assert!(pool.take(usize::MAX / 4, true).is_err());
        assert_eq!(pool.total(), 25);
    }

    #[test]
    fn frames_side_by_side_do_not_take_from_each_other() {
        let pool = Arc::new(BufferPool::default());
        for round in 0..10 {
            let (_one, _other) = (pool.frame(), pool.frame());
            pool.use_all(&[3, 3]);
            assert_eq!(pool.total(), 6, "round {round}");
        }
    }
}
