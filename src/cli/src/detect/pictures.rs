//! The folder into which images are drawn.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use frcnn::{Detection, Detector};
use frcnn_core::Printable;
use frcnn_files::{FileId, folder_of};
use frcnn_images::draw::draw;
use image::{ImageFormat, RgbImage};

use crate::console;
use crate::error::Error;
use crate::files;
use crate::inputs::images::ImageFile;

/// Where each image is drawn to.
pub(super) struct Pictures {
    /// In the order of the images.
    paths: Vec<PathBuf>,
    /// Removes folders in which nothing was drawn.
    _made: MadeFolders,
}

/// Folders that were not there before, inner ones first. They are removed again where they are empty.
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes `folder` and those above it.
    fn create(folder: &Path) -> io::Result<MadeFolders> {
        let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = MadeFolders(folder.ancestors().take_while(absent).map(Path::to_path_buf).collect());
        fs::create_dir_all(folder)?;
        Ok(made)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // A folder that is not empty is not removed, nor are those above it.
        let _ = self.0.iter().try_for_each(fs::remove_dir);
    }
}

impl Pictures {
    /// Makes `folder` and gives each image a file of its own in it, none of which is one of the images, nor another file that
    /// lies beside them, which may be a photo as well.
    pub(super) fn plan(folder: &Path, images: &[ImageFile]) -> Result<Pictures, Error> {
        let made = MadeFolders::create(folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::file(folder, "is a file; name a folder with --out"),
            _ => Error::file(folder, error),
        })?;
        let inputs: HashSet<FileId> = images.iter().map(|image| FileId::of(&image.path)).collect();
        let beside = || images.iter().any(|image| FileId::of(folder_of(&image.path)) == FileId::of(folder));
        let paths: Vec<PathBuf> = names(images).into_iter().map(|name| folder.join(name)).collect();
        for (path, image) in paths.iter().zip(images) {
            if inputs.contains(&FileId::of(path)) {
                return Err(Error::file(path, "is one of the images; name another folder with --out"));
            }
            if path.exists() && beside() {
                let problem = "lies beside the images, and would be replaced; name another folder with --out";
                return Err(Error::file(path, problem));
            }
            if path.file_stem().is_some_and(|stem| *stem != *image.stem) {
                console::warning(format_args!(
                    "{}: another image has the same stem, so this one is drawn as {}",
                    Printable(image.path.display()),
                    Printable(path.display())
                ));
            }
        }
        Ok(Pictures { paths, _made: made })
    }

    /// Draws the detections of the image at `position` and says where.
    pub(super) fn write(
        &self,
        position: usize,
        pixels: RgbImage,
        detections: &[Detection],
        detector: &Detector,
    ) -> Result<&Path, Error> {
        let path = self.paths.get(position).map(PathBuf::as_path).unwrap_or(Path::new(""));
        save(path, pixels, detections, detector)?;
        Ok(path)
    }
}

/// Draws the detections into `pixels` and writes them as a PNG file.
pub(super) fn save(
    path: &Path,
    mut pixels: RgbImage,
    detections: &[Detection],
    detector: &Detector,
) -> Result<(), Error> {
    draw(&mut pixels, detections, |class_id| detector.class_name(class_id));
    let mut png = Cursor::new(Vec::new());
    pixels.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::file(path, error))?;
    files::write(path, png.get_ref())
}

/// `STEM.png` for each image; `STEM-2.png`, `STEM-3.png` … where the name is taken.
fn names(images: &[ImageFile]) -> Vec<String> {
    // Names that differ only in case are one file on some systems.
    let mut taken: HashSet<String> = HashSet::new();
    let mut name = |stem: &str| {
        let numbered = (2u32..).map(|n| format!("{stem}-{n}.png"));
        let mut candidates = std::iter::once(format!("{stem}.png")).chain(numbered);
        candidates.find(|name| taken.insert(name.to_lowercase())).unwrap_or_default()
    };
    images.iter().map(|image| name(&image.stem)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(paths: &[PathBuf]) -> Vec<ImageFile> {
        let image = |path: &PathBuf| ImageFile {
            path: path.clone(),
            stem: path.file_stem().unwrap().to_string_lossy().into_owned(),
        };
        paths.iter().map(image).collect()
    }

    #[test]
    fn no_two_images_share_a_picture() {
        let images = images(&["a/x.jpg", "b/x.png", "c/X.jpg", "x-2.jpg", "y.v1.jpg"].map(PathBuf::from));
        assert_eq!(names(&images), ["x.png", "x-2.png", "X-3.png", "x-2-2.png", "y.v1.png"]);
    }

    #[test]
    fn an_input_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let photo = folder.path().join("photo.png");
        fs::write(&photo, "").unwrap();
        let images = images(&[photo]);
        let error = Pictures::plan(&folder.path().join("."), &images).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("photo.png: is one of the images"), "{error}");
        let other = folder.path().join("drawn");
        assert_eq!(Pictures::plan(&other, &images).unwrap().paths, [other.join("photo.png")]);
    }

    #[test]
    fn what_lies_beside_the_images_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let [photo, other] = ["a.jpg", "a.png"].map(|name| folder.path().join(name));
        fs::write(&photo, "").unwrap();
        let images = images(&[photo]);
        let plan = |out: &Path| Pictures::plan(out, &images).map(|pictures| pictures.paths.clone());
        assert_eq!(plan(folder.path()).unwrap(), std::slice::from_ref(&other));
        fs::write(&other, "").unwrap();
        let error = plan(&folder.path().join(".")).unwrap_err().to_string();
        assert!(error.contains("a.png: lies beside the images"), "{error}");
        // Pictures of an earlier run are replaced elsewhere.
        let drawn = folder.path().join("drawn");
        fs::create_dir(&drawn).unwrap();
        fs::write(drawn.join("a.png"), "").unwrap();
        assert_eq!(plan(&drawn).unwrap(), [drawn.join("a.png")]);
    }

    #[test]
    fn folders_in_which_nothing_was_drawn_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let [outer, inner] = ["outer", "outer/inner"].map(|name| folder.path().join(name));
        drop(MadeFolders::create(&inner).unwrap());
        assert!(!outer.exists() && folder.path().exists());
        let made = MadeFolders::create(&inner).unwrap();
        fs::write(outer.join("picture.png"), "").unwrap();
        drop(made);
        assert!(outer.exists() && !inner.exists());
        fs::create_dir(&inner).unwrap();
        drop(MadeFolders::create(&inner).unwrap());
        assert!(inner.exists(), "it was there before");
    }
}
