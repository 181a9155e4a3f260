//! Files that appear whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Temporary files and folders that this process has not renamed or removed yet.
static TEMPORARIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Set of what no other thread may change meanwhile. A thread that panicked has left it whole.
pub(crate) fn temporaries() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` beside `path` and renames the result to it, so that an interrupted or failed write leaves what was
/// there before.
///
/// # Errors
/// See [`Staged::new`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_pieces(path, [bytes])
}

/// The same for bytes in several places, which follow one another in the file.
///
/// # Errors
/// See [`Staged::new`].
pub fn write_pieces<'a>(path: &Path, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    Staged::new(path, pieces)?.commit()
}

/// A file's new contents, which take its place on [`commit`](Staged::commit). Where several files belong together, all
/// are staged before the first is committed: what fails (a full disk, say) then leaves every one of them as it was.
#[derive(Debug)]
pub struct Staged {
    to: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// Beside the file.
    Temporary(PathBuf),
    /// A device or a pipe, which cannot be replaced: written to on commit.
    Stream(Vec<u8>),
}

impl Staged {
    /// Writes the contents beside `path`, safe from a loss of power. A link is followed: its target is replaced.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written, the disk is full, the file is read-only or a folder.
    pub fn new<'a>(path: &Path, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Staged> {
        let to = target(path);
        let existing = fs::metadata(&to).ok();
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; name a file"));
        }
        // Under these, standard output looks like the file that it goes to.
        let opened_already = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
        if opened_already || existing.as_ref().is_some_and(|existing| !existing.is_file()) {
            let bytes = pieces.into_iter().flatten().copied().collect();
            return Ok(Staged { to, contents: Contents::Stream(bytes) });
        }
        let permissions = existing.map(|existing| existing.permissions());
        if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
            let problem = "is read-only; name another file, or make it writable";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        let (mut file, temporary) = create_beside(&to)?;
        // Removes the temporary file on the way out of an error.
        let staged = Staged { to, contents: Contents::Temporary(temporary) };
        for piece in pieces {
            file.write_all(piece)?;
        }
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.sync_all()?;
        Ok(staged)
    }

    /// Puts the contents in the file's place.
    ///
    /// # Errors
    /// The system refuses; the file is then as it was. A device or pipe may have got a part.
    pub fn commit(mut self) -> io::Result<()> {
        match &mut self.contents {
            Contents::Temporary(temporary) => {
                let mut temporaries = temporaries();
                fs::rename(&*temporary, &self.to)?;
                temporaries.remove(temporary);
                self.contents = Contents::Stream(Vec::new());
                Ok(())
            }
            Contents::Stream(bytes) => {
                let mut stream = OpenOptions::new().write(true).open(&self.to)?;
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Contents::Temporary(temporary) = &self.contents {
            let mut temporaries = temporaries();
            remove(temporary);
            temporaries.remove(temporary);
        }
    }
}

/// Removes every temporary file and folder of this process and makes none ever after: for a process that a signal ends.
pub fn remove_temporaries() {
    let temporaries = temporaries();
    temporaries.iter().for_each(|temporary| remove(temporary));
    // Never unlocked, so that a thread that is about to write waits for the end.
    std::mem::forget(temporaries);
}

/// Holds off other processes that lock the folder of the same `path`, for as long as the result lives. None where the
/// file system knows no locks: nothing is held off there.
///
/// For reading a file, adding to it and replacing it. A lock on the file itself would not do, since that is replaced.
#[must_use]
pub fn lock_folder_of(path: &Path) -> Option<File> {
    let to = target(path);
    let folder = File::open(folder_of(&to)).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

/// Where a link leads.
pub(crate) fn target(path: &Path) -> PathBuf {
    if let Ok(link) = fs::read_link(path) {
        // One that leads nowhere yet makes its target.
        return fs::canonicalize(path).unwrap_or_else(|_| folder_of(path).join(link));
    }
    path.to_path_buf()
}

/// The folder that a path lies in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file in the same folder, with the permissions that the umask gives.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    make_beside(path, |temporary| OpenOptions::new().write(true).create_new(true).open(temporary))
}

/// What `make` makes in the same folder, which it must not find there, and its path.
pub(crate) fn make_beside<T>(path: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Locked while it is made, so that a signal finds it in the set or not on disk.
    let mut temporaries = temporaries();
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".frcnn-{}-{number}.partial", std::process::id());
        let temporary = folder_of(path).join(name);
        match make(&temporary) {
            Ok(made) => {
                temporaries.insert(temporary.clone());
                return Ok((made, temporary));
            }
            // Left by a process that was killed and had the same number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes a temporary file or folder. Whoever removed it before did what was to be done.
pub(crate) fn remove(temporary: &Path) {
    let _ = match temporary.is_dir() {
        true => fs::remove_dir_all(temporary),
        false => fs::remove_file(temporary),
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What is in a folder.
    pub(crate) fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_left_beside_a_file_written_or_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_atomically(&path, b"old").unwrap();
        write_pieces(&path, [&b"new"[..], b"er"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        drop(Staged::new(&path, [&b"never"[..]]).unwrap());
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"newer".to_vec(), vec!["f".into()]));
    }

    #[test]
    fn several_files_change_together() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        write_atomically(&a, b"old").unwrap();
        let staged: Vec<Staged> =
            [&a, &b].iter().map(|path| Staged::new(path, [&b"new"[..]]).unwrap()).collect();
        assert_eq!((fs::read(&a).unwrap(), b.exists()), (b"old".to_vec(), false));
        staged.into_iter().for_each(|staged| staged.commit().unwrap());
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"new".to_vec(), b"new".to_vec()));
    }

    #[test]
    #[cfg(unix)]
    fn links_are_followed_and_permissions_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [real, link, dangling] = ["real", "link", "dangling"].map(|name| folder.path().join(name));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        symlink("made", &dangling).unwrap();
        write_atomically(&dangling, b"new").unwrap();
        assert_eq!(fs::read(folder.path().join("made")).unwrap(), b"new");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o444)).unwrap();
        let error = write_atomically(&real, b"newer").unwrap_err().to_string();
        assert!(error.contains("read-only") && fs::read(&real).unwrap() == b"new", "{error}");
        assert_eq!(names(folder.path()), ["dangling", "link", "made", "real"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn devices_and_pipes_are_written_to() {
        write_atomically(Path::new("/dev/null"), b"x").unwrap();
        let full = write_atomically(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(Path::new("/dev/full").exists() && Path::new("/dev/null").exists());
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_atomically(&pipe, b"through a pipe").unwrap();
        assert_eq!(reader.join().unwrap(), b"through a pipe");
        assert_eq!(names(folder.path()), ["pipe"]);
    }

    #[test]
    fn folders_and_absent_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(folder.path(), b"x").unwrap_err().to_string();
        assert!(error.contains("is a folder"), "{error}");
        let error = write_atomically(&folder.path().join("absent/f"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_is_locked_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let held = lock_folder_of(&path).unwrap();
        let other = File::open(folder.path()).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }
}
