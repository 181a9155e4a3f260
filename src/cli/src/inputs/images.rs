//! Which images were meant: files as given, folders by their images.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use frcnn_core::Printable;
use frcnn_images::{Folder, no_images};

use crate::console;
use crate::error::Error;

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImageFile {
    /// As given, or as found in the folder that was given.
    pub(crate) path: PathBuf,
    /// The file's name without its extension: the key of its proposals.
    pub(crate) stem: String,
}

impl ImageFile {
    pub(crate) fn new(path: PathBuf) -> ImageFile {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        ImageFile { path, stem }
    }
}

/// What the arguments name.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// In the order given; a folder's in the order of their names.
    pub(crate) images: Vec<ImageFile>,
    /// One for each argument that names no image.
    pub(crate) unreadable: Vec<Error>,
}

/// Finds the images that `paths` name: files whatever they are called, and of folders the images directly in them.
pub(crate) fn list(paths: &[PathBuf]) -> Inputs {
    let mut inputs = Inputs::default();
    for path in paths {
        let found = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => of_folder(path),
            Ok(_) => Ok(vec![path.clone()]),
            Err(error) => Err(Error::file(path, error)),
        };
        match found {
            Ok(found) => inputs.images.extend(found.into_iter().map(ImageFile::new)),
            Err(error) => inputs.unreadable.push(error),
        }
    }
    inputs
}

/// The first two images of one stem, which boxes in a file cannot tell apart.
pub(crate) fn equal_stems(images: &[ImageFile]) -> Option<[&ImageFile; 2]> {
    let mut seen = HashMap::new();
    images.iter().find_map(|image| seen.insert(&image.stem, image).map(|before| [before, image]))
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let Folder { images, special } = Folder::read(folder).map_err(|error| Error::file(folder, error))?;
    for path in special {
        console::warning(format_args!("{}: passed over, is no regular file", Printable(path.display())));
    }
    if images.is_empty() {
        return Err(Error::file(folder, no_images()));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_images_sorted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.png", "c.jpeg", "notes.txt", "d.jpg.bak"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("inner.png")).unwrap();
        let Inputs { images, unreadable } = list(&[folder.path().to_path_buf()]);
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let stems: Vec<&str> = images.iter().map(|image| image.stem.as_str()).collect();
        assert_eq!(stems, ["a", "b", "c"]);
        assert_eq!(images[1].path, folder.path().join("b.JPG"));
    }

    #[test]
    fn what_is_absent_or_empty_is_an_error_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("any.name");
        fs::write(&given, "").unwrap();
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let absent = folder.path().join("absent.jpg");
        let Inputs { images, unreadable } = list(&[absent, given.clone(), empty]);
        assert_eq!(images, [ImageFile::new(given)]);
        let unreadable: Vec<String> = unreadable.iter().map(Error::to_string).collect();
        assert_eq!(unreadable.len(), 2);
        assert!(
            unreadable[0].contains("absent.jpg: ") && unreadable[1].contains("has no file called .jpg, "),
            "{unreadable:?}"
        );
    }
}
