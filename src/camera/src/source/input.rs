//! Bytes from a pipe, a file or a child, of which one waits no longer than it wants to.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// How long one call of [`Input::read`] waits at most, and for how long a parser reads what there is always more of.
const WAIT: Duration = Duration::from_millis(200);

/// What a look at an input gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None yet.
    Nothing,
    /// None any more.
    End,
}

/// An open input.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    /// Of a regular file.
    size: Option<u64>,
    /// From then on there is nothing to read.
    until: Option<Instant>,
}

impl Input {
    /// Standard input. Its flags are left alone: whoever shares it would see them.
    pub(crate) fn standard() -> io::Result<Input> {
        Input::of(io::stdin().as_fd().try_clone_to_owned()?)
    }

    /// A file or FIFO; of the latter a writer may come later.
    pub(crate) fn open(path: &Path) -> io::Result<Input> {
        Input::of(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
    }

    pub(crate) fn of(fd: OwnedFd) -> io::Result<Input> {
        let file = File::from(fd);
        let about = file.metadata()?;
        Ok(Input { size: about.is_file().then_some(about.len()), file, until: None })
    }

    /// The size of a regular file.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// A parser is about to look for a frame: however much comes without one, it is to give up after a moment.
    pub(super) fn begin(&mut self) {
        self.until = Some(Instant::now() + WAIT);
    }

    /// Fills the beginning of `buffer`, which is not empty, with what there is; waits a moment if there is nothing.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Got::Nothing);
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: WAIT.as_nanos() as _ };
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Got::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.file.read(buffer) {
            Ok(0) => Ok(Got::End),
            Ok(bytes) => Ok(Got::Bytes(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Got::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}
