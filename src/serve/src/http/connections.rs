//! How many connections may be open, and which one goes for another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Those that are open.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<BTreeMap<u64, Entry>>,
    /// Numbers are never given twice, as who was closed leaves later.
    next: AtomicU64,
    /// One has left, or its answer was made.
    room: Notify,
}

#[derive(Debug)]
struct Entry {
    /// It has asked, and its answer is being made.
    busy: bool,
    /// When that began, or the last answer was made.
    since: Instant,
    close: Arc<Notify>,
}

/// One of them; it leaves with this.
#[derive(Debug)]
pub(super) struct Ticket {
    connections: Arc<Connections>,
    number: u64,
    close: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Connections> {
        Arc::new(Connections { most, open: Mutex::default(), next: AtomicU64::new(0), room: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more. Where there are too many, the one that has been without a request for longest is closed; where all have asked for
    /// something, this waits.
    pub(super) async fn enter(self: &Arc<Connections>) -> Ticket {
        loop {
            if let Some(ticket) = self.try_enter() {
                return ticket;
            }
            self.room.notified().await;
        }
    }

    fn try_enter(self: &Arc<Connections>) -> Option<Ticket> {
        let mut open = self.open();
        if open.len() >= self.most {
            let idle = open.iter().filter(|(_, entry)| !entry.busy);
            let number = *idle.min_by_key(|(_, entry)| entry.since)?.0;
            open.remove(&number)?.close.notify_one();
        }
        let number = self.next.fetch_add(1, Relaxed);
        let close = Arc::new(Notify::new());
        open.insert(number, Entry { busy: false, since: Instant::now(), close: close.clone() });
        Some(Ticket { connections: self.clone(), number, close })
    }

    /// Closes those that have been without a request for so long, or have not read their answer.
    pub(super) fn sweep(&self, idle: Duration) {
        self.open().retain(|_, entry| {
            let stays = entry.busy || entry.since.elapsed() < idle;
            if !stays {
                entry.close.notify_one();
            }
            stays
        });
        self.room.notify_one();
    }
}

impl Ticket {
    /// A request has come.
    pub(super) fn begin(&self) {
        self.mark(true);
    }

    /// Its answer is made.
    pub(super) fn end(&self) {
        self.mark(false);
        self.connections.room.notify_one();
    }

    fn mark(&self, busy: bool) {
        if let Some(entry) = self.connections.open().get_mut(&self.number) {
            (entry.busy, entry.since) = (busy, Instant::now());
        }
    }

    /// Until it is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
        self.connections.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(connections: &Connections) -> Vec<u64> {
        connections.open().keys().copied().collect()
    }

    #[test]
    fn the_one_that_has_waited_longest_goes() {
        let connections = Connections::new(3);
        let enter = || connections.try_enter();
        let [first, second, third] = [enter().unwrap(), enter().unwrap(), enter().unwrap()];
        first.begin();
        let fourth = enter().unwrap();
        assert_eq!(numbers(&connections), [0, 2, 3]);
        third.begin();
        fourth.begin();
        assert!(enter().is_none());
        // The answer is made, and nobody may read it.
        third.end();
        let fifth = enter().unwrap();
        assert_eq!(numbers(&connections), [0, 3, 4]);
        connections.sweep(Duration::from_secs(60));
        assert_eq!(numbers(&connections), [0, 3, 4]);
        connections.sweep(Duration::ZERO);
        assert_eq!(numbers(&connections), [0, 3]);
        drop((first, second, third, fourth, fifth));
        assert!(numbers(&connections).is_empty());
        // Who was closed does not take the next one's place with it.
        let only = Connections::new(1);
        let closed = only.try_enter().unwrap();
        let next = only.try_enter().unwrap();
        drop(closed);
        assert_eq!(numbers(&only), [1]);
        drop(next);
    }
}
