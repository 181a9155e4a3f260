//! Lines on standard error. Where nobody reads them they are lost: no camera waits for that.

use std::io::{self, StderrLock, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// So much a pipe takes at once where it takes anything (PIPE_BUF).
const PIECE: usize = 4096;
/// For a reader that is slow; not again before it reads on.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Lines that were lost since the last one that was not.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Whose end is nobody's business.
pub(crate) fn eprint_line(line: &str) {
    // Held until the count is right.
    let mut stderr = io::stderr().lock();
    let lost = LOST.load(Ordering::Relaxed);
    let before = match lost {
        0 => String::new(),
        lost => format!("frcnn-camera: {lost} lines are left out: nobody read standard error\n"),
    };
    for piece in format!("{before}{line}\n").as_bytes().chunks(PIECE) {
        if !takes_more(&stderr, if lost == 0 { &PATIENCE } else { &NONE }) {
            LOST.store(lost + 1, Ordering::Relaxed);
            return;
        }
        if stderr.write_all(piece).is_err() {
            return;
        }
    }
    LOST.store(0, Ordering::Relaxed);
}

fn takes_more(stderr: &StderrLock<'_>, wait: &Timespec) -> bool {
    loop {
        match poll(&mut [PollFd::new(stderr, PollFlags::OUT)], Some(wait)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            // What cannot be waited for is written.
            Err(_) => return true,
        }
    }
}
