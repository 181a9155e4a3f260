//! Ctrl-C and its like: what is half written goes away with the process.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// From now on, the signals that ask a process to end remove its temporary files first. It then ends by the signal, as
/// without this: a shell sees 130 after Ctrl-C.
pub fn clean_up_on_signals() {
    let end = |signal| {
        crate::remove_temporaries();
        let _ = emulate_default_handler(signal);
        std::process::exit(128 + signal);
    };
    // Without a listener the signals do what they did before.
    let _ = on_signals(end);
}

/// From now on, `action` is called for each signal that asks the process to end, on a thread of its own. A signal that
/// was ignored from the start, as by `nohup`, stays so. A file that grows beyond a limit of the process becomes an error
/// of writing, as a full disk is, and does not end it.
///
/// # Errors
/// The system lets none be listened to.
pub fn on_signals(mut action: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default())?;
    let ignored = ignored();
    let listened = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(listened)?;
    thread::Builder::new().spawn(move || signals.forever().for_each(&mut action))?;
    Ok(())
}

/// The signals that are ignored, one bit each, where Linux tells.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
