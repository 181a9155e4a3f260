//! Lines on standard output.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::{Door, Message};
use crate::run::Note;

/// The door.
pub(crate) struct Stdout {
    /// None after a failure, which was told.
    file: Mutex<Option<File>>,
    notes: Sender<Note>,
}

impl Stdout {
    /// # Errors
    /// It is closed.
    pub(crate) fn open(notes: Sender<Note>) -> io::Result<Stdout> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Stdout { file: Mutex::new(Some(file)), notes })
    }
}

impl Door for Stdout {
    fn send(&self, message: &Message) {
        if matches!(message, Message::Frame(frame) if !frame.line) {
            return;
        }
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut *place else { return };
        let line = message.json() + "\n";
        if let Err(error) = file.write_all(line.as_bytes()) {
            *place = None;
            // Nobody listens when the daemon is about to end.
            let _ = self.notes.send(Note::OutputFailed(error));
        }
    }

    fn close(&self, _: Duration) {}
}
