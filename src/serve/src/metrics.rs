//! What the service counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::door::{Door, House};
use crate::refusal::Refusal;

/// What becomes of requests.
const OUTCOMES: [&str; 8] = ["ok", "bad", "too_large", "key", "busy", "late", "ending", "failed"];
/// Upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

#[derive(Default)]
struct Histogram {
    /// Of each bound, and of what is above all.
    counts: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        add(&self.counts[place], 1);
        add(&self.microseconds, time.as_micros() as u64);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        heading(text, name, "histogram", help);
        let mut sum = 0;
        for (count, bound) in self.counts.iter().zip(BOUNDS.iter().map(Some).chain([None])) {
            sum += count.load(Ordering::Relaxed);
            let bound = bound.map_or("+Inf".to_string(), f64::to_string);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let seconds = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {seconds}\n{name}_count {sum}");
    }
}

/// What has happened since the service began.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; OUTCOMES.len()]; Door::ALL.len()],
    /// Computed for those who went away meanwhile.
    left: AtomicU64,
    /// Connections that were cut off for what they sent.
    garbage: AtomicU64,
    waited: Histogram,
    took: Histogram,
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn answered(&self, door: Door, refusal: Option<&Refusal>) {
        let word = refusal.map_or("ok", Refusal::word);
        let place = OUTCOMES.iter().position(|outcome| *outcome == word).unwrap_or(OUTCOMES.len() - 1);
        add(&self.requests[door as usize][place], 1);
    }

    /// A picture was looked at.
    pub(crate) fn looked(&self, waited: Duration, took: Duration) {
        self.waited.add(waited);
        self.took.add(took);
    }

    /// Whoever asked has gone away before there was an answer.
    pub(crate) fn left(&self) {
        add(&self.left, 1);
    }

    /// A connection was cut off for what it sent.
    pub(crate) fn garbage(&self) {
        add(&self.garbage, 1);
    }

    /// All of it as text.
    pub(crate) fn text(&self, house: &House) -> String {
        let mut text = String::new();
        let name = "frcnn_serve_requests_total";
        heading(&mut text, name, "counter", "Requests by interface and what became of them.");
        for door in Door::ALL {
            for (outcome, count) in OUTCOMES.iter().zip(&self.requests[door as usize]) {
                let (door, count) = (door.word(), count.load(Ordering::Relaxed));
                let _ = writeln!(text, "{name}{{interface=\"{door}\",outcome=\"{outcome}\"}} {count}");
            }
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            (
                "frcnn_serve_left_total",
                "counter",
                "Pictures looked at for clients that left meanwhile.",
                count(&self.left),
            ),
            (
                "frcnn_serve_garbage_total",
                "counter",
                "Connections cut off for what they sent.",
                count(&self.garbage),
            ),
            ("frcnn_serve_waiting", "gauge", "Requests that wait for their turn.", house.queue.len() as u64),
            ("frcnn_serve_held_bytes", "gauge", "Memory that requests hold.", house.budget.held() as u64),
        ] {
            heading(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        self.waited.write(&mut text, "frcnn_serve_wait_seconds", "How long requests waited for their turn.");
        self.took.write(
            &mut text,
            "frcnn_serve_look_seconds",
            "How long a picture was decoded and looked at.",
        );
        text
    }
}

fn add(to: &AtomicU64, more: u64) {
    to.fetch_add(more, Ordering::Relaxed);
}

fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
