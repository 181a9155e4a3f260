//! What waits to be published, and what the broker is to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

/// Lines that wait at most: the oldest are given up for newer ones.
pub const QUEUE: usize = 1024;

/// A line of JSON, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
}

/// What is handed to the network, and given back if that fails.
#[derive(Debug)]
pub(super) enum Item {
    /// With its place in the order of lines.
    Line(u64, Line),
    /// The latest for a topic. An empty payload makes the broker forget it.
    Retained(String, Bytes),
}

/// Lines wait in order and are bounded; of what the broker retains only the latest for each topic is kept.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lines: BTreeMap<u64, Line>,
    next: u64,
    retained: BTreeMap<String, Bytes>,
    /// Topics of `retained` that the broker has not got yet.
    due: BTreeSet<String>,
    /// All that waits is to be sent until then.
    closing: Option<Instant>,
}

impl Outbox {
    /// Queues a line. Whether another had to be given up for it.
    pub(super) fn push(&mut self, line: Line) -> bool {
        self.lines.insert(self.next, line);
        self.next += 1;
        self.trim() > 0
    }

    fn trim(&mut self) -> usize {
        let over = self.lines.len().saturating_sub(QUEUE);
        (0..over).for_each(|_| drop(self.lines.pop_first()));
        over
    }

    /// The broker is to keep `payload`.
    pub(super) fn retain(&mut self, topic: String, payload: Bytes) {
        if self.retained.get(&topic) != Some(&payload) {
            self.due.insert(topic.clone());
            self.retained.insert(topic, payload);
        }
    }

    /// The broker is to forget what it keeps for `topic`.
    pub(super) fn forget(&mut self, topic: String) {
        self.retain(topic, Bytes::new());
    }

    /// Nothing is to be said of `topic` for now.
    pub(super) fn withdraw(&mut self, topic: &str) {
        self.retained.remove(topic);
        self.due.remove(topic);
    }

    /// Whether something is to be kept for `topic`.
    pub(super) fn keeps(&self, topic: &str) -> bool {
        self.retained.get(topic).is_some_and(|payload| !payload.is_empty())
    }

    /// A broker that may know nothing, or topics that begin so, are to be told all again.
    pub(super) fn again(&mut self, beginning: &str) {
        self.due.extend(self.retained.keys().filter(|topic| topic.starts_with(beginning)).cloned());
    }

    /// What is to be published next.
    pub(super) fn take(&mut self) -> Option<Item> {
        while let Some(topic) = self.due.pop_first() {
            if let Some(payload) = self.retained.get(&topic) {
                let payload = payload.clone();
                return Some(Item::Retained(topic, payload));
            }
        }
        self.lines.pop_first().map(|(number, line)| Item::Line(number, line))
    }

    /// The broker may not have got it. How many lines had to be given up.
    pub(super) fn give_back(&mut self, item: Item) -> usize {
        match item {
            Item::Line(number, line) => {
                self.lines.insert(number, line);
                self.trim()
            }
            Item::Retained(topic, _) => {
                if self.retained.contains_key(&topic) {
                    self.due.insert(topic);
                }
                0
            }
        }
    }

    /// The broker has got it.
    pub(super) fn done(&mut self, item: &Item) {
        let Item::Retained(topic, payload) = item else { return };
        if payload.is_empty()
            && self.retained.get(topic).is_some_and(Bytes::is_empty)
            && !self.due.contains(topic)
        {
            self.retained.remove(topic);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.due.is_empty()
    }

    /// How many lines wait; none do any more.
    pub(super) fn give_up(&mut self) -> usize {
        let count = self.lines.len();
        self.lines.clear();
        count
    }

    pub(super) fn close(&mut self, until: Instant) {
        self.closing = Some(until);
    }

    pub(super) fn closing(&self) -> Option<Instant> {
        self.closing
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { topic: "t".into(), payload: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn text(item: Option<Item>) -> String {
        match item {
            Some(Item::Line(_, line)) => String::from_utf8(line.payload.to_vec()).unwrap(),
            Some(Item::Retained(topic, payload)) => {
                format!("{topic}={}", String::from_utf8(payload.to_vec()).unwrap())
            }
            None => "-".into(),
        }
    }

    #[test]
    fn the_oldest_lines_are_given_up_and_order_stays() {
        let mut outbox = Outbox::default();
        let dropped = (0..QUEUE + 3).filter(|i| outbox.push(line(&i.to_string()))).count();
        assert_eq!(dropped, 3);
        let (first, second) = (outbox.take().unwrap(), outbox.take().unwrap());
        // In any order.
        assert_eq!(outbox.give_back(second) + outbox.give_back(first), 0);
        assert_eq!(
            (text(outbox.take()), text(outbox.take()), text(outbox.take())),
            ("3".into(), "4".into(), "5".into())
        );
        assert_eq!(outbox.give_up(), QUEUE - 3);
        assert!(outbox.is_empty());
    }

    #[test]
    fn of_what_is_retained_the_latest_counts() {
        let mut outbox = Outbox::default();
        outbox.retain("a".into(), "1".into());
        outbox.retain("a".into(), "2".into());
        assert_eq!(text(outbox.take()), "a=2");
        outbox.retain("a".into(), "2".into());
        assert!(outbox.is_empty());
        outbox.again("a");
        let item = outbox.take().unwrap();
        outbox.retain("a".into(), "3".into());
        outbox.give_back(item);
        assert_eq!(text(outbox.take()), "a=3");
        assert_eq!(text(outbox.take()), "-");
    }

    #[test]
    fn what_is_forgotten_is_gone_when_the_broker_has_got_it() {
        let mut outbox = Outbox::default();
        outbox.retain("a".into(), "1".into());
        outbox.forget("a".into());
        assert!(!outbox.keeps("a"));
        let item = outbox.take().unwrap();
        outbox.done(&item);
        assert_eq!(text(Some(item)), "a=");
        outbox.again("");
        assert!(outbox.is_empty());
    }
}
