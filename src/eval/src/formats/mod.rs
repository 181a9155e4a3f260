//! Detections in the files that other programs write and read.
//!
//! | format | file | a detection |
//! |---|---|---|
//! | COCO results | `NAME.json` | `{"image_id": 42, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}` |
//! | VOC comp4 | folder with `…_CLASS.txt` | `STEM score x1 y1 x2 y2`, pixels counted **from 1**, corners inclusive |
//! | text | folder with `STEM.txt` | `class score x1 y1 x2 y2` or `class score x y width height`, pixels from 0 |
//!
//! A data set without COCO ids has the images' stems as `image_id`, and its classes' names as `category_id`.
//!
//! A score that is no finite number, and an image that the data set does not have, is an error: results of another
//! split are the likelier reason than a wish to have them passed over. So is a class that COCO's list does not have; VOC
//! has no list, so there a new class is added to the data set, has no object, and gets no score. Two equal detections
//! are two detections. An image without detections, or without a text file, has none.

mod coco;
mod comp4;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::read_text;
use crate::{Dataset, Detection, Error};

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

/// Writes detections, numbers in full so that what is read again scores the same. A folder is made if need be.
///
/// # Errors
/// The file or folder cannot be written.
pub fn write(
    path: &Path,
    kind: Kind,
    corners: Corners,
    dataset: &Dataset,
    detections: &[Detection],
) -> Result<(), Error> {
    if kind != Kind::Coco {
        fs::create_dir_all(path).map_err(|error| Error::new(path, error))?;
    }
    let files = match kind {
        Kind::Coco => vec![(path.to_path_buf(), coco::text(path, dataset, detections)?)],
        Kind::Voc => comp4::files(path, dataset, detections),
        Kind::Text => text::files(path, corners, dataset, detections),
    };
    files
        .into_iter()
        .try_for_each(|(file, text)| fs::write(&file, text).map_err(|error| Error::new(&file, error)))
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
    for (index, line) in read_text(path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: &str| Error::line(path, index, format_args!("{problem}: `{line}`"));
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        let numbers = fields.split_off(fields.len().saturating_sub(5));
        if fields.is_empty() {
            return Err(wrong("not a name, a score and four numbers"));
        }
        let numbers = numbers.iter().map(|text| text.parse::<f64>()).collect::<Result<Vec<_>, _>>();
        let numbers = numbers.map_err(|_| wrong("not a name, a score and four numbers"))?;
        let [score, a, b, c, d] = numbers[..] else {
            return Err(wrong("not a name, a score and four numbers"));
        };
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(wrong("a number is not finite"));
        }
        each(&fields.join(" "), score, [a, b, c, d])
            .map_err(|error| Error::line(path, index, error.problem))?;
    }
    Ok(())
}

/// Names of a data set that fit into an error.
fn some_of<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(6).collect();
    format!("; {what} are {} …", names.join(", "))
}
