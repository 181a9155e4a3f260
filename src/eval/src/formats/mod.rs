//! Detections in the files that other programs write and read.
//!
//! | format | file | a detection |
//! |---|---|---|
//! | COCO results | `NAME.json` | `{"image_id": 42, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}` |
//! | VOC comp4 | folder with `…_CLASS.txt` | `STEM score x1 y1 x2 y2`, pixels counted **from 1**, corners inclusive |
//! | text | folder with `STEM.txt` | `class score x1 y1 x2 y2` or `class score x y width height`, pixels from 0 |
//!
//! A data set without COCO ids has the images' stems as `image_id`, and its classes' names as `category_id`. Where there
//! are ids, an `image_id` is never taken for a stem; but a text that says a number (`"000123"`) is that number.
//!
//! A score that is no finite number, and an image that the data set does not have, is an error: results of another
//! split are the likelier reason than a wish to have them passed over. So is a class that COCO's list does not have; VOC
//! has no list, so there a new class is added to the data set, has no object, and gets no score. Two equal detections
//! are two detections. An image without detections, or without a text file, has none.

mod coco;
mod comp4;
mod doubts;
mod text;

pub use doubts::doubts;

use std::fs;
use std::path::{Path, PathBuf};

use frcnn_files::{Staged, check_name};

use crate::text as encoded;
use crate::{Dataset, Detection, Error, limits};

/// A file format for detections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One JSON file of COCO results.
    Coco,
    /// A folder with one file per class, as VOC's comp4 wants them.
    Voc,
    /// A folder with one file per image.
    Text,
}

/// What the four numbers of a text file's line are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corners {
    /// `x1 y1 x2 y2`, both corners inside the box.
    #[default]
    Inclusive,
    /// `x y width height`.
    Size,
}

/// Reads detections. Without a `kind`: a file is COCO results; a folder whose files are named `comp…` is VOC's; any
/// other holds a text file per image. `corners` is for text files only.
///
/// # Errors
/// See the [module](self); the text names the file and the line or the number of the detection.
pub fn read(
    path: &Path,
    kind: Option<Kind>,
    corners: Corners,
    dataset: &mut Dataset,
) -> Result<Vec<Detection>, Error> {
    let kind = match kind {
        Some(kind) => kind,
        None if !path.is_dir() => Kind::Coco,
        None if text_files(path)?.iter().any(|file| stem(file).starts_with("comp")) => Kind::Voc,
        None => Kind::Text,
    };
    match kind {
        Kind::Coco => coco::read(path, dataset),
        Kind::Voc => comp4::read(path, dataset),
        Kind::Text => text::read(path, corners, dataset),
    }
}

/// Writes detections, numbers in full so that what is read again scores the same. A folder is made if need be. The files
/// take the place of older ones together, when all are written.
///
/// # Errors
/// The file or folder cannot be written, or a name of the data set cannot be part of a file's name; older files are then
/// as they were.
pub fn write(
    path: &Path,
    kind: Kind,
    corners: Corners,
    dataset: &Dataset,
    detections: &[Detection],
) -> Result<(), Error> {
    let files = match kind {
        Kind::Coco => vec![(path.to_path_buf(), coco::text(path, dataset, detections)?)],
        Kind::Voc => comp4::files(path, dataset, detections)?,
        Kind::Text => text::files(path, corners, dataset, detections)?,
    };
    if kind != Kind::Coco {
        fs::create_dir_all(path).map_err(|error| Error::new(path, error))?;
    }
    let stage = |(file, text): &(PathBuf, String)| {
        Staged::new(file, [text.as_bytes()]).map_err(|error| Error::new(file, error))
    };
    let staged = files.iter().map(stage).collect::<Result<Vec<Staged>, Error>>()?;
    let mut staged = staged.into_iter().zip(&files);
    staged.try_for_each(|(staged, (file, _))| staged.commit().map_err(|error| Error::new(file, error)))
}

/// A name that becomes part of the name of a file in `folder`.
fn file_name<'a>(folder: &Path, what: &str, name: &'a str) -> Result<&'a str, Error> {
    let problem = match check_name(name) {
        Ok(()) if name.contains(['\n', '\r']) => "has a line break".to_string(),
        Ok(()) => return Ok(name),
        Err(problem) => problem.to_string(),
    };
    let start: String = name.chars().take(80).collect();
    let what =
        format!("{what} `{start}` {problem}, so no file can be named by it; write COCO results (.json)");
    Err(Error::syntax(folder, what))
}

/// The `.txt` files of a folder, by name.
fn text_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(|error| Error::new(folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::new(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::syntax(folder, "has no .txt files"));
    }
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads every line that is not blank as `key score` and four numbers. The key may have spaces.
fn lines(path: &Path, mut each: impl FnMut(&str, f64, [f64; 4]) -> Result<(), Error>) -> Result<(), Error> {
    let contents = encoded::read(path, limits::TEXT)?;
    for (index, line) in encoded::lines(&contents) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |problem: &str| {
            let start: String = line.chars().take(200).collect();
            Error::line(path, index, format_args!("{problem}: `{start}`"))
        };
        let mut key = line;
        let mut numbers = [0.0f64; 5];
        for number in numbers.iter_mut().rev() {
            let last = key.rsplit_once(char::is_whitespace);
            let value = last.and_then(|(before, last)| Some((before.trim_end(), last.parse().ok()?)));
            (key, *number) = value.ok_or_else(|| wrong("not a name, a score and four numbers"))?;
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(wrong("a number is not finite"));
        }
        let [score, a, b, c, d] = numbers;
        each(key, score, [a, b, c, d]).map_err(|error| Error::line(path, index, error.problem))?;
    }
    Ok(())
}

/// Names of a data set that fit into an error.
fn some_of(what: &str, names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let names: Vec<String> = names.take(6).map(|name| name.to_string()).collect();
    format!("; {what} are {} …", names.join(", "))
}
