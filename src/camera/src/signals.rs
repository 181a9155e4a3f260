//! Signals, which a thread of their own waits for: none is missed, however busy the others are.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::run::Note;

/// From now on, each signal is a note. A file that grows beyond a limit of the process becomes an error of writing, as a full disk
/// is.
pub(crate) fn listen(notes: Sender<Note>) -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            // Whoever asks twice does not wait for what is blocked, such as a pipe that nobody reads.
            if signal != SIGHUP && std::mem::replace(&mut asked, true) {
                std::process::exit(128 + signal);
            }
            if notes.send(Note::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
