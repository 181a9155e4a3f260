//! Which file a path leads to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::staged::{folder_of, target};

/// A file by whatever path leads to it: through links, and in either case where the file system does not tell cases apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(Id);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    /// The device, and the number of the file on it.
    #[cfg(unix)]
    Numbers(u64, u64),
    /// Of a file that there is, as the system spells it.
    Path(PathBuf),
}

impl FileId {
    /// The file at `path`, which need not be there yet.
    pub fn of(path: &Path) -> FileId {
        let to = target(path);
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(&to) {
            use std::os::unix::fs::MetadataExt;
            return FileId(Id::Numbers(metadata.dev(), metadata.ino()));
        }
        let in_folder = || Some(fs::canonicalize(folder_of(&to)).ok()?.join(to.file_name()?));
        let whole = fs::canonicalize(&to).ok().or_else(in_folder);
        FileId(Id::Path(whole.or_else(|| std::path::absolute(&to).ok()).unwrap_or(to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_by_every_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("a"), "").unwrap();
        fs::write(at("b"), "").unwrap();
        assert_eq!(FileId::of(&at("a")), FileId::of(&at("inner/../a")));
        assert_ne!(FileId::of(&at("a")), FileId::of(&at("b")));
        // What is not there yet.
        assert_eq!(FileId::of(&at("new")), FileId::of(&at("./inner/../new")));
        assert_ne!(FileId::of(&at("new")), FileId::of(&at("inner/new")));
        assert_ne!(FileId::of(&at("new")), FileId::of(&at("a")));
        assert_eq!(FileId::of(&at("absent/new")), FileId::of(&at("absent/./new")));
    }

    #[test]
    #[cfg(unix)]
    fn links_lead_to_the_same_file() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "").unwrap();
        fs::create_dir(at("inner")).unwrap();
        symlink("a", at("soft")).unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        symlink("inner", at("outer")).unwrap();
        symlink("new", at("dangling")).unwrap();
        for link in ["soft", "hard"] {
            assert_eq!(FileId::of(&at(link)), FileId::of(&at("a")), "{link}");
        }
        assert_eq!(FileId::of(&at("outer/new")), FileId::of(&at("inner/new")));
        assert_eq!(FileId::of(&at("dangling")), FileId::of(&at("new")));
    }
}
