//! Files as every part of frcnn reads and writes them: nothing half written, nothing lost, nothing outside the folder
//! that was named; and memory for what they hold, or an error where there is none.
//!
//! ```text
//! bytes ──Staged::new──► .frcnn-PID-N.partial beside the file ──commit──► renamed onto the file
//!                             └─ dropped, or remove_temporaries() on a signal: gone, the file as it was
//! name of an image or class ──check_name──► part of a path, or refused
//! ```
#![forbid(unsafe_code)]

mod identity;
mod memory;
mod names;
mod read;
pub mod scratch;
#[cfg(all(feature = "signals", unix))]
mod signals;
mod staged;
mod staged_folder;

pub use identity::FileId;
pub use memory::{NoMemory, try_reserve, try_resize};
pub use names::{MAX_NAME, NotAName, check_name};
pub use read::{open_regular, read_at_most, read_exactly};
#[cfg(all(feature = "signals", unix))]
pub use signals::{clean_up_on_signals, on_signals};
pub use staged::{Staged, folder_of, lock_folder_of, remove_temporaries, write_atomically, write_pieces};
pub use staged_folder::StagedFolder;

/// The examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
