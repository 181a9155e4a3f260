//! Folders whose files appear together.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::staged::{make_beside, remove, target, temporaries};

/// Files of a folder, which take their places on [`commit`](StagedFolder::commit). Until then they lie in a temporary folder
/// beside it, which goes with what is dropped.
#[derive(Debug)]
pub struct StagedFolder {
    to: PathBuf,
    temporary: PathBuf,
    names: Vec<PathBuf>,
}

impl StagedFolder {
    /// No files yet, for the folder at `path`, which need not exist. A link is followed.
    ///
    /// # Errors
    /// The folder that it is to lie in does not exist or cannot be written.
    pub fn new(path: &Path) -> io::Result<StagedFolder> {
        let to = target(path);
        let ((), temporary) = make_beside(&to, |temporary| fs::create_dir(temporary))?;
        Ok(StagedFolder { to, temporary, names: Vec::new() })
    }

    /// Writes a file, safe from a loss of power: `name` is its path within the folder, `pieces` follow one another in it.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write<'a>(
        &mut self,
        name: impl AsRef<Path>,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let name = name.as_ref();
        let path = self.temporary.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(path)?;
        for piece in pieces {
            file.write_all(piece)?;
        }
        file.sync_all()?;
        self.names.push(name.to_path_buf());
        Ok(())
    }

    /// Puts the files in their places. A folder that was not there appears whole or not at all; in one that was there, each
    /// file does, and other files stay.
    ///
    /// # Errors
    /// The system refuses.
    pub fn commit(self) -> io::Result<()> {
        // Locked, so that a signal finds the folder under its temporary name or whole.
        let _temporaries = temporaries();
        if !self.to.exists() {
            return fs::rename(&self.temporary, &self.to);
        }
        for name in &self.names {
            let to = self.to.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(self.temporary.join(name), to)?;
        }
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        let mut temporaries = temporaries();
        remove(&self.temporary);
        temporaries.remove(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::tests::names;

    fn staged(to: &Path) -> StagedFolder {
        let mut staged = StagedFolder::new(to).unwrap();
        staged.write("a", [&b"new"[..], b"er"]).unwrap();
        staged.write("deep/b", [&b"b"[..]]).unwrap();
        staged
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("made");
        drop(staged(&to));
        assert!(names(folder.path()).is_empty());
        let staged = staged(&to);
        assert!(!to.exists());
        staged.commit().unwrap();
        assert_eq!(
            (names(folder.path()), names(&to)),
            (vec!["made".into()], vec!["a".into(), "deep".into()])
        );
        assert_eq!(fs::read(to.join("a")).unwrap(), b"newer");
        assert_eq!(fs::read(to.join("deep/b")).unwrap(), b"b");
    }

    #[test]
    fn other_files_of_a_folder_stay() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("made");
        fs::create_dir(&to).unwrap();
        for (name, text) in [("a", "old"), ("own", "own")] {
            fs::write(to.join(name), text).unwrap();
        }
        staged(&to).commit().unwrap();
        assert_eq!(
            (names(folder.path()), names(&to)),
            (vec!["made".into()], vec!["a".into(), "deep".into(), "own".into()])
        );
        assert_eq!(fs::read(to.join("a")).unwrap(), b"newer");
        assert_eq!(fs::read(to.join("own")).unwrap(), b"own");
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            StagedFolder::new(&folder.path().join("absent/made")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let to = folder.path().join("made");
        fs::create_dir_all(to.join("a")).unwrap();
        // A folder lies where a file is to be.
        assert!(staged(&to).commit().is_err());
        assert_eq!(names(folder.path()), ["made"]);
    }
}
