//! The library's messages, handed to a callback.

use std::ffi::{CString, c_char, c_void};
use std::fmt::Display;
use std::sync::{PoisonError, RwLock};

use frcnn_core::Printable;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::result::{Failure, FrcnnResult};

/// How much a message matters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnLogLevel {
    /// Nothing at all.
    Off = 0,
    /// Something failed that no result code tells.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// A model was opened or reloaded.
    Info = 3,
    /// For those who look for a fault.
    Debug = 4,
    /// The same, and much of it.
    Trace = 5,
}

/// Takes one message: its level (a frcnn_log_level), the part of the library that it comes from, and its text, both in
/// UTF-8 and only good during the call; and `user` as it was given to frcnn_log_set_callback.
///
/// Called on any thread, also on several at once. It must not call frcnn functions.
pub type FrcnnLogCallback = Option<
    unsafe extern "C" fn(level: u32, target: *const c_char, message: *const c_char, user: *mut c_void),
>;

#[derive(Clone, Copy)]
struct Sink {
    callback: FrcnnLogCallback,
    user: *mut c_void,
}
// SAFETY: the pointer is only passed on, to a callback that may be called on any thread, as its documentation says.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

static SINK: RwLock<Sink> = RwLock::new(Sink { callback: None, user: std::ptr::null_mut() });

struct ToCallback;

impl Log for ToCallback {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // One line, in which nothing acts on a terminal: whoever logs it cannot know where names in it come from.
        let text = |text: &dyn Display| CString::new(Printable(text).to_string()).unwrap_or_default();
        let (target, message) = (text(&record.target()), text(record.args()));
        // Held during the call, so that a callback that has been replaced is not called any more.
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(callback) = sink.callback {
            // SAFETY: the caller of frcnn_log_set_callback gave a function that takes these.
            unsafe { callback(number(record.level()), target.as_ptr(), message.as_ptr(), sink.user) };
        }
    }

    fn flush(&self) {}
}

fn number(level: Level) -> u32 {
    let level = match level {
        Level::Error => FrcnnLogLevel::Error,
        Level::Warn => FrcnnLogLevel::Warn,
        Level::Info => FrcnnLogLevel::Info,
        Level::Debug => FrcnnLogLevel::Debug,
        Level::Trace => FrcnnLogLevel::Trace,
    };
    level as u32
}

/// Sends the library's messages up to `max_level` (a frcnn_log_level) to `callback`; NULL ends that. Without a callback,
/// the library writes nothing anywhere.
///
/// One callback serves the whole process. When the call returns, no thread is in the previous one.
#[unsafe(no_mangle)]
pub extern "C" fn frcnn_log_set_callback(
    callback: FrcnnLogCallback,
    max_level: u32,
    user: *mut c_void,
) -> FrcnnResult {
    guard!(=> {
        let filter = match max_level {
            0 => LevelFilter::Off,
            1 => LevelFilter::Error,
            2 => LevelFilter::Warn,
            3 => LevelFilter::Info,
            4 => LevelFilter::Debug,
            5 => LevelFilter::Trace,
            other => {
                return Err(Failure::new(FrcnnResult::InvalidArgument, format!("{other} is no log level")));
            }
        };
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = Sink { callback, user };
        // Refused after the first time, and then the logger is ours already.
        let _ = log::set_logger(&ToCallback);
        log::set_max_level(if callback.is_some() { filter } else { LevelFilter::Off });
        Ok(())
    })
}
