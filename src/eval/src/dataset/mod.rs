//! Images with annotated objects, from a VOC or a COCO folder.

mod coco;
mod coco_names;
mod voc;
mod voc_list;

pub use voc::{Annotation, VocObject, VocSplit};

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use frcnn_files::check_name;

use crate::{Error, Id, Region, Warnings, limits};

/// How a data set lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `Annotations/STEM.xml`, `ImageSets/Main/SPLIT.txt`, `JPEGImages/`.
    Voc,
    /// `annotations/instances_SPLIT.json`, and the images in `SPLIT/`, `images/SPLIT/` or `images/`.
    Coco,
}

/// Where a data set is.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Its folder; of COCO also its annotation file.
    pub root: PathBuf,
    /// How it lies there; found out by what is there if `None`.
    pub format: Option<Format>,
    /// Such as `test` or `val2017`.
    pub split: String,
    /// The folder of its images, from `root`, if not the format's own.
    pub images: Option<PathBuf>,
}

impl Location {
    /// With the format found out and the images in the format's own folder.
    pub fn new(root: impl Into<PathBuf>, split: impl Into<String>) -> Location {
        Location { root: root.into(), format: None, split: split.into(), images: None }
    }
}

/// Images, classes, and the objects in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// In the split's order; COCO's by id.
    pub images: Vec<Image>,
    /// Names of the object classes, without the background.
    pub classes: Vec<String>,
    /// COCO's category ids in the order of the classes; empty for VOC.
    pub category_ids: Vec<Id>,
    /// All objects.
    pub truths: Vec<Truth>,
    /// What may be wrong with it.
    pub warnings: Warnings,
}

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The file's name without its extension: the key of its proposals, and its name in VOC and text files. A plain name
    /// and no path; images of COCO that would share it have longer ones.
    pub stem: String,
    /// COCO's id.
    pub id: Option<Id>,
    /// The file, which need not exist for scoring.
    pub path: PathBuf,
    /// Width and height in pixels as the annotation has them, if it does.
    pub size: Option<(u32, u32)>,
}

/// An annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Position of its image.
    pub image: usize,
    /// Position of its class.
    pub class: usize,
    /// Where.
    pub region: Region,
    /// In square pixels; COCO measures the segmentation, so it is less than the region's.
    pub area: f64,
    /// VOC's `difficult`, COCO's `iscrowd`: counts neither as found nor as missed.
    pub ignore: bool,
    /// COCO's `iscrowd`: takes in any number of detections, each by how much of it lies inside.
    pub crowd: bool,
}

impl Dataset {
    /// Reads the annotations of a split.
    ///
    /// # Errors
    /// A file is missing or has a mistake; an image, category or annotation occurs twice; a name leads out of the data
    /// set's folder.
    pub fn open(location: &Location) -> Result<Dataset, Error> {
        let dataset = match format_of(location)? {
            Format::Voc => voc::read(location)?,
            Format::Coco => coco::read(location)?,
        };
        if dataset.images.is_empty() {
            return Err(Error::syntax(
                &location.root,
                format_args!("split `{}` has no images", location.split),
            ));
        }
        Ok(dataset)
    }

    /// Every file that a split is read from: its list, its annotations and its images.
    ///
    /// # Errors
    /// As [`open`](Dataset::open).
    pub fn files(location: &Location) -> Result<Vec<PathBuf>, Error> {
        match format_of(location)? {
            Format::Voc => voc::files(location),
            Format::Coco => coco::files(location),
        }
    }

    /// The images at `positions`, in that order, and their objects; all classes stay.
    pub fn part(&self, positions: &[usize]) -> Dataset {
        let places: HashMap<usize, usize> =
            positions.iter().enumerate().map(|(to, &from)| (from, to)).collect();
        let truth = |truth: &Truth| Some(Truth { image: *places.get(&truth.image)?, ..*truth });
        Dataset {
            images: positions.iter().filter_map(|&position| self.images.get(position).cloned()).collect(),
            truths: self.truths.iter().filter_map(truth).collect(),
            ..self.clone()
        }
    }

    /// Adds the classes of a detector that no object here has; gives the classes of objects here that `names` lacks. COCO's list may
    /// have more, which no object has.
    ///
    /// VOC lists its classes nowhere, so those that happen not to be annotated are only known from the detector.
    pub fn meet_classes(&mut self, names: &[String]) -> Vec<String> {
        let mut has_objects = vec![false; self.classes.len()];
        for truth in &self.truths {
            if let Some(has_objects) = has_objects.get_mut(truth.class) {
                *has_objects = true;
            }
        }
        let classes = self.classes.iter().zip(has_objects);
        let missing = classes.filter(|(class, has_objects)| *has_objects && !names.contains(class));
        let missing = missing.map(|(class, _)| class.clone()).collect();
        for name in names {
            if !self.classes.contains(name) {
                self.classes.push(name.clone());
                if !self.category_ids.is_empty() {
                    let largest = self.category_ids.iter().filter_map(Id::next).max();
                    self.category_ids.push(largest.unwrap_or(Id::from(1)));
                }
            }
        }
        missing
    }

    /// The position of a class that detections name. VOC lists its classes nowhere, so there a class that no object has
    /// is added; COCO's list is complete.
    pub(crate) fn meet_class(&mut self, name: &str) -> Option<usize> {
        let known = self.class(name);
        if known.is_none() && self.category_ids.is_empty() && self.classes.len() < limits::CLASSES {
            self.classes.push(name.to_string());
            return Some(self.classes.len() - 1);
        }
        known
    }

    /// The position of a class.
    pub fn class(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class == name)
    }

    /// Positions of the images by stem.
    pub fn stems(&self) -> HashMap<String, usize> {
        self.images.iter().enumerate().map(|(position, image)| (image.stem.clone(), position)).collect()
    }
}

fn format_of(location: &Location) -> Result<Format, Error> {
    location.format.map_or_else(|| found_out(&location.root), Ok)
}

fn found_out(root: &Path) -> Result<Format, Error> {
    if root.is_file() {
        return Ok(Format::Coco);
    }
    std::fs::read_dir(root).map_err(|error| Error::new(root, error))?;
    if root.join("Annotations").is_dir() && root.join("ImageSets").is_dir() {
        return Ok(Format::Voc);
    }
    let voc = root.join("ImageSets").is_dir() || root.join("JPEGImages").is_dir();
    let annotations = root.join("annotations");
    let json = std::fs::read_dir(&annotations).into_iter().flatten().flatten();
    let json = json.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|e| e == "json"));
    if annotations.is_dir() && (json || !voc) {
        return Ok(Format::Coco);
    }
    if voc {
        let problem = "is VOC but for its folders: there must be ImageSets and Annotations, called so";
        return Err(Error::syntax(root, problem));
    }
    Err(Error::syntax(root, "neither VOC (folders Annotations and ImageSets) nor COCO (folder annotations)"))
}

/// Two images of one stem would share their proposals and detections, and a stem that is a path would lead out of the
/// folders that are named by the user.
fn check_stems(path: &Path, images: &[Image]) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::with_capacity(images.len());
    for image in images {
        check_name(&image.stem).map_err(|problem| {
            let start: String = image.stem.chars().take(80).collect();
            Error::syntax(
                path,
                format_args!("image `{start}` {problem}: an image is known by a name, not a path"),
            )
        })?;
        if !seen.insert(image.stem.as_str()) {
            return Err(Error::duplicate(path, "image", format_args!("`{}`", image.stem)));
        }
    }
    Ok(())
}

/// Adds the splits that there are to an error about a file that is not there: `split` tells which a file of `folder` is
/// for, if any.
fn with_splits(error: Error, folder: &Path, split: &dyn Fn(&Path) -> Option<String>) -> Error {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut splits: Vec<String> = entries.filter_map(|entry| split(&entry.path())).collect();
    if !error.is_absent() || splits.is_empty() {
        return error;
    }
    splits.sort();
    let more = if splits.len() > 12 { ", ..." } else { "" };
    splits.truncate(12);
    Error::syntax(&error.path, format_args!("{}; the splits are {}{more}", error.problem, splits.join(", ")))
}
