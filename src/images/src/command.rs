//! Pictures as this repository's commands read them, `frcnn` and `frcnn-train`.
//!
//! A picture that is cut short or damaged is refused, unless the option `--lenient` was given. What the commands say of such a
//! picture is worded here, so that both say the same.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Options, Picture};

/// Whether `--lenient` was given to this process.
static LENIENT: AtomicBool = AtomicBool::new(false);

/// What `--lenient` does: from here on, [`open`] takes pictures that are cut short or damaged as far as they go.
pub fn be_lenient() {
    LENIENT.store(true, Ordering::Relaxed);
}

/// Reads a picture file within the default limits. [`Picture::damage`], where there is any, is worded as a warning.
///
/// # Errors
/// Those of [`crate::open`], as a sentence whose subject is the file. It names `--lenient` where that would help.
pub fn open(path: &Path) -> Result<Picture, String> {
    let options = Options::default().lenient(LENIENT.load(Ordering::Relaxed));
    match crate::open(path, &options) {
        Ok(picture) => {
            let damage = picture.damage.map(|damage| format!("{damage}; taken as far as it goes"));
            Ok(Picture { damage, ..picture })
        }
        Err(error @ (Error::Short(_) | Error::Damaged(_))) => {
            Err(format!("{error}; --lenient takes it as far as it goes"))
        }
        Err(error) => Err(error.to_string()),
    }
}
