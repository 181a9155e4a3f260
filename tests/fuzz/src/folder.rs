//! Files for readers that take paths.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this process in memory, that goes with it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes it, in `/dev/shm` where there is one.
    #[must_use]
    pub fn new() -> Folder {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Folder(made.expect("a temporary folder can be made"))
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder can be made");
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

/// The parts of an input that stands for several files, cut at lines of `----`; missing ones are empty.
#[must_use]
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    const CUT: &[u8] = b"\n----\n";
    let mut rest = Some(input);
    std::array::from_fn(|i| {
        let all = rest.take().unwrap_or_default();
        let cut = all.windows(CUT.len()).position(|bytes| bytes == CUT).filter(|_| i + 1 < N);
        let Some(cut) = cut else { return all };
        rest = Some(&all[cut + CUT.len()..]);
        &all[..cut]
    })
}
