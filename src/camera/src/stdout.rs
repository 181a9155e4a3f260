//! Lines on standard output.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::doors::CLOSE;
use crate::event::{Door, Message};
use crate::run::Note;
use crate::signals::Asked;

/// So much a pipe takes at once where it takes anything (PIPE_BUF).
const PIECE: usize = 4096;
/// From look to look whether the daemon is to end, where nobody reads.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The door.
pub(crate) struct Stdout {
    /// None after a failure, which was told.
    file: Mutex<Option<File>>,
    notes: Sender<Note>,
    asked: Asked,
}

impl Stdout {
    /// # Errors
    /// It is closed.
    pub(crate) fn open(notes: Sender<Note>, asked: Asked) -> io::Result<Stdout> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Stdout { file: Mutex::new(Some(file)), notes, asked })
    }
}

/// Waits for whoever reads; for a while only, once the daemon is asked to end.
fn write(mut file: &File, mut bytes: &[u8], asked: &Asked) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&TICK)) {
            Ok(1..) => {}
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                if asked.get().is_some_and(|asked| asked.elapsed() >= CLOSE) {
                    return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        match file.write(&bytes[..bytes.len().min(PIECE)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Door for Stdout {
    fn send(&self, message: &Message) {
        if matches!(message, Message::Frame(frame) if !frame.line) {
            return;
        }
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &*place else { return };
        let line = message.json() + "\n";
        if let Err(error) = write(file, line.as_bytes(), &self.asked) {
            *place = None;
            // Nobody listens when the daemon is about to end.
            let _ = self.notes.send(Note::OutputFailed(error));
        }
    }

    fn close(&self, _: Duration) {}
}
