//! Lines on standard error, which a journal keeps, by a thread of their own: where nobody reads them they are lost, and nobody waits.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait at most.
const WAITING: usize = 64;
/// The last lines are waited for so long at most.
const LAST: Duration = Duration::from_secs(1);

/// None where the system gave no thread.
static LINES: OnceLock<Option<SyncSender<String>>> = OnceLock::new();
/// Lines that wait or are being written, and those that were lost since the last one that was written.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Says a line. Names in it may come from files and from the network.
pub(crate) fn say(text: impl Display) {
    let line = frcnn_core::Printable(text).to_string();
    UNWRITTEN.fetch_add(1, Ordering::SeqCst);
    let lines = LINES.get_or_init(start).as_ref();
    if lines.and_then(|lines| lines.try_send(line).ok()).is_none() {
        UNWRITTEN.fetch_sub(1, Ordering::SeqCst);
        LOST.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until all lines are written, before the program ends.
pub(crate) fn finish() {
    let until = Instant::now() + LAST;
    while UNWRITTEN.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
}

fn start() -> Option<SyncSender<String>> {
    let (lines, waiting) = sync_channel(WAITING);
    thread::Builder::new().name("say".into()).spawn(move || write(&waiting)).ok()?;
    Some(lines)
}

fn write(waiting: &Receiver<String>) {
    for line in waiting {
        let before = match LOST.swap(0, Ordering::SeqCst) {
            0 => String::new(),
            lost => format!("frcnn-serve: {lost} lines are left out: nobody read standard error\n"),
        };
        // Where nobody listens, nobody can be told.
        let _ = std::io::stderr().write_all(format!("{before}frcnn-serve: {line}\n").as_bytes());
        UNWRITTEN.fetch_sub(1, Ordering::SeqCst);
    }
}
