//! Result codes, the last error's message, and the macro around every entry point.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use frcnn_core::Printable;

/// What a call came to. frcnn_last_error_message() says more about every code but the first three.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrcnnResult {
    /// Done.
    Ok = 0,
    /// frcnn_session_poll: frames are in work, but none is done yet.
    NotReady = 1,
    /// frcnn_session_poll: no frame is in work and every result has been fetched.
    Idle = 2,
    /// A pointer is NULL that must not be.
    NullPointer = 3,
    /// An argument is out of its range.
    InvalidArgument = 4,
    /// A structure's `struct_size` was not set, or comes from a header that does not fit this library.
    StructSize = 5,
    /// A file cannot be read.
    Io = 6,
    /// Not a bundle, a damaged one, or one of another format version.
    Bundle = 7,
    /// A frame's size, format, strides and planes do not fit together.
    Frame = 8,
    /// A JPEG cannot be decoded.
    Decode = 9,
    /// The image is too small or too large for the network.
    ImageSize = 10,
    /// The caller's array or buffer is too small; as much as fits has been written.
    BufferTooSmall = 11,
    /// The network could not be run, threads could not be started, or there is no memory for what a frame asks for.
    Internal = 12,
    /// A fault of this library, caught at its border. What the call worked on may be freed, and should be.
    Panic = 13,
}

/// Why an entry point does not return `Ok`.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: FrcnnResult,
    pub(crate) message: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(code: FrcnnResult, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// The same with the name of the file whose fault it is.
    pub(crate) fn of(self, path: &Path) -> Failure {
        Failure::new(self.code, format!("{}: {}", path.display(), self.message))
    }

    pub(crate) fn null(name: &str) -> Failure {
        Failure::new(FrcnnResult::NullPointer, format!("`{name}` is NULL"))
    }

    /// From what `catch_unwind` caught.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Failure {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = format!("a fault inside frcnn: {}", text.unwrap_or("no message"));
        log::error!("{message}");
        Failure::new(FrcnnResult::Panic, message)
    }
}

impl From<frcnn::Error> for Failure {
    fn from(error: frcnn::Error) -> Failure {
        let code = match &error {
            frcnn::Error::Bundle(_) => FrcnnResult::Bundle,
            frcnn::Error::Frame(_) => FrcnnResult::Frame,
            frcnn::Error::Options(_) => FrcnnResult::InvalidArgument,
            frcnn::Error::BlobSize { .. } | frcnn::Error::Limit(_) => FrcnnResult::ImageSize,
            _ => FrcnnResult::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<frcnn_files::NoMemory> for Failure {
    fn from(error: frcnn_files::NoMemory) -> Failure {
        let bytes = error.bytes;
        Failure::new(FrcnnResult::Internal, format!("a frame needs {bytes} bytes more than there is memory"))
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs the body of an entry point: a panic ends here, and a failure leaves its message.
pub(crate) fn run(body: impl FnOnce() -> Result<(), Failure>) -> FrcnnResult {
    // A panic in between leaves no reference of C's behind, and what the library shares recovers from poison.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    match outcome.unwrap_or_else(|payload| Err(Failure::panicked(&*payload))) {
        Ok(()) => FrcnnResult::Ok,
        Err(failure) => {
            if !matches!(failure.code, FrcnnResult::NotReady | FrcnnResult::Idle) {
                remember(&failure.message);
            }
            failure.code
        }
    }
}

fn remember(message: &str) {
    // Nothing in it acts on a terminal: names in it come from files.
    let message = CString::new(Printable(message).to_string()).unwrap_or_default();
    // A thread that is ending has no message any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(message));
}

/// Wraps the body of an entry point: `guard!(pointers => { body })`.
///
/// Each of the pointers that is NULL gives `NullPointer` with its name; the body, which gives `Result<(), Failure>`,
/// cannot unwind into C. A test holds every entry point to it.
macro_rules! guard {
    ($($pointer:ident),* => $body:block) => {
        $crate::result::run(|| {
            $(if $pointer.is_null() {
                return Err($crate::result::Failure::null(stringify!($pointer)));
            })*
            $body
        })
    };
}

/// What the last call on this thread that failed had to say: one sentence in UTF-8, never NULL, empty if none failed.
///
/// The text is the library's, and stays until the next call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn frcnn_last_error_message() -> *const c_char {
    let mut message: *const c_char = c"".as_ptr();
    guard!(=> {
        message = LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(message);
        Ok(())
    });
    message
}

/// A result code's name, such as `"FRCNN_RESULT_NULL_POINTER"`; for a number that is none, `"unknown"`. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn frcnn_result_name(result: i32) -> *const c_char {
    let mut name = c"unknown";
    guard!(=> {
        name = NAMES.get(usize::try_from(result).unwrap_or(usize::MAX)).copied().unwrap_or(name);
        Ok(())
    });
    name.as_ptr()
}

/// In the order of [`FrcnnResult`].
const NAMES: [&std::ffi::CStr; 14] = [
    c"FRCNN_RESULT_OK",
    c"FRCNN_RESULT_NOT_READY",
    c"FRCNN_RESULT_IDLE",
    c"FRCNN_RESULT_NULL_POINTER",
    c"FRCNN_RESULT_INVALID_ARGUMENT",
    c"FRCNN_RESULT_STRUCT_SIZE",
    c"FRCNN_RESULT_IO",
    c"FRCNN_RESULT_BUNDLE",
    c"FRCNN_RESULT_FRAME",
    c"FRCNN_RESULT_DECODE",
    c"FRCNN_RESULT_IMAGE_SIZE",
    c"FRCNN_RESULT_BUFFER_TOO_SMALL",
    c"FRCNN_RESULT_INTERNAL",
    c"FRCNN_RESULT_PANIC",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: the message is a C string until the next call.
        unsafe { CStr::from_ptr(frcnn_last_error_message()) }.to_str().unwrap().to_string()
    }

    #[test]
    fn a_panic_becomes_a_result() {
        assert_eq!(run(|| panic!("at {} of all places", "the border")), FrcnnResult::Panic);
        assert_eq!(last(), "a fault inside frcnn: at the border of all places");
        assert_eq!(run(|| Ok(())), FrcnnResult::Ok);
        let pointer: *const u8 = std::ptr::null();
        assert_eq!(guard!(pointer => { Ok(()) }), FrcnnResult::NullPointer);
        assert_eq!(last(), "`pointer` is NULL");
        std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
    }

    /// A layer's failure with all that led to it.
    #[test]
    fn causes_and_files_are_told() {
        let problem = "Evaluating #1: the window is larger than the map".to_string();
        let failure = Failure::from(frcnn::Error::Graph { stage: "trunk", problem });
        assert_eq!(run(|| Err(failure.clone())), FrcnnResult::Internal);
        assert_eq!(last(), "trunk: Evaluating #1: the window is larger than the map");
        assert_eq!(run(|| Err(failure.of(Path::new("a.frcnn")))), FrcnnResult::Internal);
        assert_eq!(last(), "a.frcnn: trunk: Evaluating #1: the window is larger than the map");
    }

    #[test]
    fn names_follow_the_codes() {
        let name = |code: i32| {
            // SAFETY: a constant C string.
            unsafe { CStr::from_ptr(frcnn_result_name(code)) }.to_str().unwrap()
        };
        assert_eq!(name(FrcnnResult::Decode as i32), "FRCNN_RESULT_DECODE");
        assert_eq!(name(FrcnnResult::Panic as i32), "FRCNN_RESULT_PANIC");
        assert_eq!((name(-1), name(14)), ("unknown", "unknown"));
    }
}
