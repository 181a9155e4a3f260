//! Signals, which a thread of their own waits for: none is missed, however busy the others are.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::run::Note;

/// When the daemon was first asked to end, for those who then wait no longer for others.
pub(crate) type Asked = Arc<OnceLock<Instant>>;

/// From now on, each signal is a note. A file that grows beyond a limit of the process becomes an error of writing, as a full disk
/// is.
pub(crate) fn listen(notes: Sender<Note>, asked: Asked) -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Whoever asks twice does not wait for what is blocked, such as a pipe that nobody reads.
            if signal != SIGHUP && asked.set(Instant::now()).is_err() {
                std::process::exit(128 + signal);
            }
            if notes.send(Note::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
