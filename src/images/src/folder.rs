//! The images of a folder.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::EXTENSIONS;

/// Files of a folder that are called as images are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folder {
    /// Those directly in it, in the order of their names. A link that leads nowhere is one of them, and an error when it is opened.
    pub images: Vec<PathBuf>,
    /// Those that are no regular files: to open a pipe is to wait for its writer.
    pub special: Vec<PathBuf>,
}

impl Folder {
    /// Finds them.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn read(folder: &Path) -> io::Result<Folder> {
        let entries = fs::read_dir(folder)?;
        let mut found =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
        found.retain(|path| path.extension().is_some_and(is_image) && !path.is_dir());
        found.sort();
        let is_special = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let (special, images) = found.into_iter().partition(is_special);
        Ok(Folder { images, special })
    }
}

/// What is wrong with a folder that has none, as a sentence whose subject is the folder.
pub fn no_images() -> String {
    let called = EXTENSIONS.map(|extension| format!(".{extension}")).join(", ");
    format!("the folder has no file called {called}; one that is called otherwise can be named")
}

fn is_image(extension: &OsStr) -> bool {
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}
