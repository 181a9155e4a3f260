//! How many connections may be open, and which one goes for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Open at once at most: one more closes the one that has waited longest.
pub(super) const MOST: usize = 128;
/// A connection that asks for nothing for so long, or does not read its answer, is closed.
pub(super) const IDLE: Duration = Duration::from_secs(15);

/// Those that are open.
#[derive(Debug, Default)]
pub(super) struct Connections {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<u64, Entry>,
    next: u64,
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

impl Table {
    fn close_one(&mut self) {
        let oldest = self.open.iter().min_by_key(|(_, entry)| (entry.busy, entry.since));
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(entry) = self.open.remove(&number)
        {
            entry.close.notify_one();
        }
    }
}

impl Connections {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more. Where there are too many, the one that has been without a request for longest is closed; if all have
    /// asked for something, the one that did so first.
    pub(super) fn enter(self: &Arc<Connections>) -> Ticket {
        let mut table = self.table();
        if table.open.len() >= MOST {
            table.close_one();
        }
        let (number, close) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        table.open.insert(number, Entry { busy: false, since: Instant::now(), close: close.clone() });
        Ticket { connections: self.clone(), number, close }
    }

    /// One less, as [`enter`](Self::enter) chooses it.
    pub(super) fn close_one(&self) {
        self.table().close_one();
    }

    /// Closes those that have been without a request for so long.
    pub(super) fn sweep(&self, idle: Duration) {
        self.table().open.retain(|_, entry| {
            let stays = entry.busy || entry.since.elapsed() < idle;
            if !stays {
                entry.close.notify_one();
            }
            stays
        });
    }
}

impl Ticket {
    /// A request is whole.
    pub(super) fn begin(&self) {
        self.mark(true);
    }

    /// Its answer is made.
    pub(super) fn end(&self) {
        self.mark(false);
    }

    fn mark(&self, busy: bool) {
        if let Some(entry) = self.connections.table().open.get_mut(&self.number) {
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
        self.connections.table().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_goes() {
        let connections = Arc::new(Connections::default());
        let tickets: Vec<Ticket> = (0..MOST).map(|_| connections.enter()).collect();
        tickets[0].begin();
        let more: Vec<Ticket> = (0..3).map(|_| connections.enter()).collect();
        let open: Vec<u64> = connections.table().open.keys().copied().collect();
        assert_eq!((open.len(), open[0], open[1]), (MOST, 0, 4));
        connections.sweep(Duration::from_secs(60));
        assert_eq!(connections.table().open.len(), MOST);
        connections.sweep(Duration::ZERO);
        assert_eq!(connections.table().open.keys().copied().collect::<Vec<_>>(), [0]);
        drop(tickets);
        drop(more);
        assert!(connections.table().open.is_empty());
    }
}
