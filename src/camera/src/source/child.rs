//! ffmpeg or GStreamer, which read what we do not: started, watched, and ended with us.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal};

use super::{Kind, ffmpeg, gstreamer};
use crate::config::{Camera, Reader};

/// Of what a child says, so much is kept of a line.
const LINE: u64 = 4096;
/// And so much of that is told.
const TOLD: usize = 240;

/// Where a camera's child is found by whoever ends the program.
#[derive(Clone, Default)]
pub(crate) struct Handle(Arc<Mutex<Place>>);

#[derive(Default)]
struct Place {
    child: Option<std::process::Child>,
    /// No child may start any more.
    closed: bool,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the child, if there is one, and lets none start any more.
    pub(crate) fn close(&self) {
        let mut place = self.lock();
        place.closed = true;
        end(&mut place);
    }
}

/// What a child came to.
fn end(place: &mut Place) -> Option<ExitStatus> {
    let mut child = place.child.take()?;
    // It may have ended by itself; if not, what it started goes with it, as where it is a script about ffmpeg.
    if let Ok(None) = child.try_wait() {
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    child.wait().ok()
}

/// A program that writes frames.
pub(crate) struct Child {
    program: &'static str,
    handle: Handle,
    /// Gives what it complained of.
    errors: Option<JoinHandle<Option<String>>>,
}

impl Child {
    /// Waits for a child whose output has ended. `Err` says how it failed, or what it complained of.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        // Its output has ended, so it is about to end. One that does not is no longer of use.
        let started = std::time::Instant::now();
        let status = loop {
            let mut place = self.handle.lock();
            match place.child.as_mut().map(std::process::Child::try_wait) {
                Some(Ok(None)) if started.elapsed().as_secs() < 2 => {}
                _ => break end(&mut place),
            }
            drop(place);
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let said = self.errors.take().and_then(|errors| errors.join().ok().flatten());
        let how = match status {
            Some(status) if status.success() && said.is_none() => return Ok(()),
            Some(status) if status.success() => "complained".to_string(),
            Some(status) => status.to_string(),
            None => "cannot be waited for".to_string(),
        };
        Err(format!("{}: {how}{}", self.program, said.map(|line| format!(": {line}")).unwrap_or_default()))
    }

    /// Ends it.
    pub(crate) fn kill(self) {
        end(&mut self.handle.lock());
    }
}

/// Starts what reads the input and writes YUV4MPEG2; the descriptor is its output.
pub(crate) fn start(
    camera: &Camera,
    kind: Kind,
    live: bool,
    handle: &Handle,
) -> Result<(Child, OwnedFd), String> {
    let (program, arguments) = match camera.reader {
        Reader::Ffmpeg => (ffmpeg::PROGRAM, ffmpeg::arguments(camera, kind, live)),
        Reader::Gstreamer => (gstreamer::PROGRAM, gstreamer::arguments(camera, kind, live)),
    };
    let mut complaint: Box<dyn Complaint> = match camera.reader {
        Reader::Ffmpeg => Box::new(ffmpeg::Complaint::default()),
        Reader::Gstreamer => Box::new(gstreamer::Complaint::default()),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What it says is read as it stands in its source.
    command.env("LC_ALL", "C");
    // Ctrl-C is for us: we end it, and all that it starts.
    command.process_group(0);
    let mut place = handle.lock();
    if place.closed {
        return Err("the program ends".into());
    }
    // What ran before and was not waited for.
    end(&mut place);
    let mut child = command.spawn().map_err(|error| format!("{program}: cannot be started: {error}"))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{program}: has no output"));
    };
    place.child = Some(child);
    drop(place);
    let listen = move || listen(errors, &mut *complaint);
    let errors = std::thread::Builder::new().name("child".into()).spawn(listen).ok();
    Ok((Child { program, handle: handle.clone(), errors }, output.into()))
}

/// What a program says was wrong, of all that it says.
pub(super) trait Complaint: Send {
    /// A line that is not empty.
    fn hear(&mut self, line: &str);

    fn told(&self) -> Option<&str>;
}

/// Reads all of it.
fn listen(errors: impl Read, complaint: &mut dyn Complaint) -> Option<String> {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while (&mut errors).take(LINE).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            complaint.hear(text.trim());
        }
        line.clear();
    }
    complaint.told().map(told)
}

/// A line without what acts on a terminal and without passwords, cut where it is long.
fn told(line: &str) -> String {
    let line = frcnn_core::Printable(&without_passwords(line)).to_string();
    line[..line.floor_char_boundary(TOLD)].to_string()
}

/// `rtsp://user:secret@camera/` as `rtsp://***@camera/`.
pub(crate) fn without_passwords(text: &str) -> String {
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = behind.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(behind.len());
        rest = match behind[..end].rfind('@') {
            Some(user) => {
                clean.push_str("***");
                &behind[user..]
            }
            None => behind,
        };
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_told() {
        for (text, clean) in [
            ("rtsp://me:se@cret@cam:554/a@b: refused", "rtsp://***@cam:554/a@b: refused"),
            ("http://cam/x, rtsp://u@h", "http://cam/x, rtsp://***@h"),
            ("no address", "no address"),
            ("://", "://"),
        ] {
            assert_eq!(without_passwords(text), clean);
        }
    }

    #[test]
    fn what_is_told_is_bounded_and_printable() {
        let heard = |said: &str| listen(said.as_bytes(), &mut ffmpeg::Complaint::default());
        let last = heard(&format!("first\n\x1b[31mbad\n{}\n\n", "x".repeat(10_000))).unwrap();
        assert!(last.len() <= TOLD && last.starts_with('x'), "{last}");
        assert!(!heard("\x1b[31mbad\n").unwrap().contains('\x1b'));
        assert_eq!(heard(""), None);
    }
}
