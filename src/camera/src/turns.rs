//! Frames on their way to the detector: each camera has a lane in which one waits, and the lanes take turns.
//!
//! ```text
//! reader ──put──► lane: newest frame ──┐
//! reader ──put──► lane: newest frame ──┼──next──► detector, lane after lane from the one behind the last
//! reader ──put──► lane: newest frame ──┘
//! ```

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use frcnn_images::camera::Image;

/// A frame that waits.
pub(crate) struct Waiting {
    pub(crate) image: Image<Vec<u8>>,
    /// Of the camera's frames, from 1.
    pub(crate) number: u64,
    pub(crate) captured: SystemTime,
    /// On a clock of the camera that only goes forward.
    pub(crate) time: Duration,
    /// Whether that is when it was captured: of a FIFO that waits for the detector nobody knows.
    pub(crate) timed: bool,
}

/// A lane's number; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneId(u64);

/// What came of a frame that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Waits,
    /// It waits in the place of an older one.
    Replaced,
    /// No frame is wanted any more.
    Closed,
}

/// What is next.
pub(crate) enum Next {
    Frame(LaneId, Waiting),
    /// Nothing will come for a while: the camera is lost.
    Lost(LaneId),
    /// Nothing will come any more.
    Ended(LaneId),
    Nothing,
    Closed,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    Lost,
    Ended,
}

struct Lane {
    id: LaneId,
    live: bool,
    waiting: Option<Waiting>,
    /// A buffer to be used again.
    spare: Option<Image<Vec<u8>>>,
    /// What comes behind the frame that waits, and is yet to be told.
    flow: Flow,
    closed: bool,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    /// The lane whose turn it is.
    turn: usize,
    given: u64,
    closed: bool,
}

/// All lanes.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    ready: Condvar,
    taken: Condvar,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another camera. In a `live` lane a newer frame takes the place of one that waits; in others it waits for its place.
    pub(crate) fn join(&self, live: bool) -> LaneId {
        let mut state = self.lock();
        state.given += 1;
        let id = LaneId(state.given);
        state.lanes.push(Lane { id, live, waiting: None, spare: None, flow: Flow::Open, closed: false });
        id
    }

    /// The camera is no longer wanted; true if a frame of it still waited. The detector is told that it has ended.
    pub(crate) fn leave(&self, id: LaneId) -> bool {
        let mut state = self.lock();
        let Some(lane) = state.lane(id) else { return false };
        lane.closed = true;
        lane.flow = Flow::Ended;
        let waited = lane.waiting.take().is_some();
        self.ready.notify_all();
        self.taken.notify_all();
        waited
    }

    /// A buffer for the next frame.
    pub(crate) fn buffer(&self, id: LaneId) -> Image<Vec<u8>> {
        let spare = self.lock().lane(id).and_then(|lane| lane.spare.take());
        spare.unwrap_or_default()
    }

    /// A frame is ready. `count` is called under the lock if it is taken, so that it is not counted once there is
    /// nobody to look at it.
    pub(crate) fn put(&self, id: LaneId, frame: Waiting, count: impl FnOnce()) -> Put {
        let full = |state: &mut State| {
            !state.closed
                && state.lane(id).is_some_and(|lane| !lane.closed && !lane.live && lane.waiting.is_some())
        };
        let mut state = self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Put::Closed;
        }
        let Some(lane) = state.lane(id).filter(|lane| !lane.closed) else { return Put::Closed };
        count();
        lane.flow = Flow::Open;
        let older = lane.waiting.replace(frame);
        let put = if older.is_some() { Put::Replaced } else { Put::Waits };
        if let Some(older) = older {
            lane.spare = Some(older.image);
        }
        self.ready.notify_all();
        put
    }

    /// The camera is lost, behind the frame that waits.
    pub(crate) fn lost(&self, id: LaneId) {
        self.flow(id, Flow::Lost);
    }

    /// The camera has ended, behind the frame that waits.
    pub(crate) fn ended(&self, id: LaneId) {
        self.flow(id, Flow::Ended);
    }

    fn flow(&self, id: LaneId, flow: Flow) {
        if let Some(lane) = self.lock().lane(id) {
            lane.flow = flow;
        }
        self.ready.notify_all();
    }

    /// What the lane has whose turn it is, of those that have something; waits for it up to `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Next {
        let idle = |state: &mut State| {
            !state.closed && !state.lanes.iter().any(|lane| lane.waiting.is_some() || lane.flow != Flow::Open)
        };
        let state = self.ready.wait_timeout_while(self.lock(), wait, idle);
        let (mut state, _) = state.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Next::Closed;
        }
        let (count, turn) = (state.lanes.len(), state.turn);
        let ready = (turn..turn + count).map(|i| i % count).find(|&i| {
            let lane = &state.lanes[i];
            lane.waiting.is_some() || lane.flow != Flow::Open
        });
        let Some(i) = ready else { return Next::Nothing };
        state.turn = i + 1;
        let lane = &mut state.lanes[i];
        let id = lane.id;
        let next = match lane.waiting.take() {
            Some(frame) => Next::Frame(id, frame),
            None if lane.flow == Flow::Lost => {
                lane.flow = Flow::Open;
                Next::Lost(id)
            }
            None => {
                state.lanes.remove(i);
                // The next one has moved to its place.
                state.turn = i;
                Next::Ended(id)
            }
        };
        self.taken.notify_all();
        next
    }

    /// The frame was looked at.
    pub(crate) fn give_back(&self, id: LaneId, image: Image<Vec<u8>>) {
        if let Some(lane) = self.lock().lane(id) {
            lane.spare = Some(image);
        }
    }

    /// Nothing is taken or given any more. The lanes in which a frame waited.
    pub(crate) fn close(&self) -> Vec<LaneId> {
        let mut state = self.lock();
        state.closed = true;
        self.ready.notify_all();
        self.taken.notify_all();
        state.lanes.iter_mut().filter_map(|lane| lane.waiting.take().map(|_| lane.id)).collect()
    }

    /// Whether the lane was closed.
    pub(crate) fn is_closed(&self, id: LaneId) -> bool {
        let mut state = self.lock();
        state.closed || state.lane(id).is_none_or(|lane| lane.closed)
    }
}

impl State {
    fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn frame(number: u64) -> Waiting {
        Waiting {
            image: Image::default(),
            number,
            captured: SystemTime::UNIX_EPOCH,
            time: Duration::ZERO,
            timed: true,
        }
    }

    fn next(turns: &Turns) -> Option<(LaneId, u64)> {
        match turns.next(Duration::ZERO) {
            Next::Frame(id, frame) => Some((id, frame.number)),
            _ => None,
        }
    }

    /// A camera that always has a frame does not keep the others waiting for longer than one turn each.
    #[test]
    fn lanes_take_turns() {
        let turns = Turns::default();
        let [a, b, c] = [true; 3].map(|live| turns.join(live));
        let mut order = Vec::new();
        for number in 1..=4 {
            turns.put(a, frame(number), || {});
            if number != 2 {
                turns.put(b, frame(number), || {});
            }
            turns.put(c, frame(number), || {});
            order.push(next(&turns).unwrap().0);
        }
        assert_eq!(order, [a, b, c, a]);
        assert_eq!([next(&turns), next(&turns), next(&turns)], [Some((b, 4)), Some((c, 4)), None]);
    }

    #[test]
    fn the_newest_frame_of_a_live_camera_wins() {
        let turns = Turns::default();
        let lane = turns.join(true);
        let mut counted = 0;
        assert_eq!(turns.put(lane, frame(1), || counted += 1), Put::Waits);
        assert_eq!(turns.put(lane, frame(2), || counted += 1), Put::Replaced);
        assert_eq!((next(&turns), counted), (Some((lane, 2)), 2));
        assert_eq!(next(&turns), None);
    }

    #[test]
    fn a_recording_waits_and_loses_nothing() {
        let turns = Arc::new(Turns::default());
        let lane = turns.join(false);
        let reader = {
            let turns = turns.clone();
            std::thread::spawn(move || {
                for number in 1..=100 {
                    assert_eq!(turns.put(lane, frame(number), || {}), Put::Waits);
                }
                turns.ended(lane);
            })
        };
        let mut numbers = Vec::new();
        loop {
            match turns.next(Duration::from_secs(10)) {
                Next::Frame(id, frame) => {
                    numbers.push(frame.number);
                    turns.give_back(id, frame.image);
                }
                Next::Ended(id) => break assert_eq!(id, lane),
                _ => panic!("nothing else can happen"),
            }
        }
        reader.join().unwrap();
        assert!(numbers.iter().copied().eq(1..=100));
    }

    #[test]
    fn a_loss_is_told_once_and_behind_the_last_frame() {
        let turns = Turns::default();
        let lane = turns.join(true);
        turns.put(lane, frame(1), || {});
        turns.lost(lane);
        assert_eq!(next(&turns), Some((lane, 1)));
        assert!(matches!(turns.next(Duration::ZERO), Next::Lost(_)));
        assert!(matches!(turns.next(Duration::ZERO), Next::Nothing));
        assert!(!turns.leave(lane));
        assert!(matches!(turns.next(Duration::ZERO), Next::Ended(_)));
        assert_eq!(turns.put(lane, frame(2), || panic!("not wanted")), Put::Closed);
    }

    #[test]
    fn closing_wakes_whoever_waits() {
        let turns = Arc::new(Turns::default());
        let lane = turns.join(false);
        turns.put(lane, frame(1), || {});
        let reader = {
            let turns = turns.clone();
            std::thread::spawn(move || turns.put(lane, frame(2), || {}))
        };
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(turns.close(), [lane]);
        assert_eq!(reader.join().unwrap(), Put::Closed);
        assert!(matches!(turns.next(Duration::from_secs(10)), Next::Closed));
    }
}
