//! A PASCAL VOC data set in memory: its photos, the objects on them, and what is wrong with it.
//!
//! ```text
//! VOC_DIR/ImageSets/Main/SPLIT.txt   the photos' stems, one a line
//! VOC_DIR/Annotations/STEM.xml       the objects; corners count from 1 and belong to the box
//! VOC_DIR/JPEGImages/STEM.jpg        the picture, JPEG or PNG (or .jpeg, .png; the content decides)
//! ```
//!
//! | what is wrong | what happens |
//! |---|---|
//! | a picture that is missing, or damaged without `--lenient`; an annotation that is missing or damaged; a list that is missing or empty, no object at all | an error that lists them all |
//! | a box without area, or wholly outside the picture | left out, with a warning |
//! | a box that reaches over the picture's edge | clipped, with a warning |
//! | a box with xmin > xmax or ymin > ymax | its corners are exchanged, with a warning |
//! | a class that `--classes` does not name | left out, with a warning |
//! | a size in the annotation that is not the picture's | the picture's is used, with a warning |

mod blob;
mod decode;
mod problems;
mod proposals;
mod search;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use frcnn_core::{BACKGROUND, BBox};
use frcnn_eval::{Annotation, Image, Location, Region, Truth, VocSplit};
use rayon::prelude::*;

pub(crate) use blob::Preprocessing;
pub(crate) use decode::decode;
pub(crate) use proposals::DatasetProposals;
pub(crate) use source::BoxSource;

use crate::error::Error;
pub(crate) use problems::Problems;

/// Corners beyond the picture by up to this many pixels are files that count from 0: not worth a word.
const TOLERATED_OVERHANG: f32 = 1.0;

/// An object on a photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Object {
    /// 1 to K.
    pub(crate) class: u16,
    pub(crate) bbox: BBox,
    /// Neither learned from nor counted when detections are scored.
    pub(crate) difficult: bool,
}

/// One photo of a split.
#[derive(Clone, Debug)]
pub(crate) struct Photo {
    pub(crate) stem: String,
    pub(crate) path: PathBuf,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) objects: Vec<Object>,
}

impl Photo {
    /// A photo without objects. All of it is decoded: one that is damaged is better found now than after hours.
    pub(crate) fn open(path: &Path) -> Result<Photo, Error> {
        let (width, height) = decode::inspect(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Photo { stem, path: path.to_path_buf(), width, height, objects: Vec::new() })
    }
}

/// One split of a data set.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// The K + 1 names, background first.
    pub(crate) classes: Vec<String>,
    pub(crate) photos: Vec<Photo>,
    pub(crate) problems: Problems,
}

impl Dataset {
    /// Reads a split. Without `classes` (names of objects, background not among them) every name that occurs is a
    /// class, in alphabetical order.
    pub(crate) fn open(folder: &Path, split: &str, classes: Option<&[String]>) -> Result<Dataset, Error> {
        let list = VocSplit::open(&Location::new(folder, split))?;
        let problem = |problem: String| Error::file(&list.list, problem);
        if list.images.is_empty() {
            return Err(problem("names no photo".to_string()));
        }
        let read: Vec<_> = list.images.par_iter().map(|image| open_photo(&list, image)).collect();
        let mut missing = Vec::new();
        let mut opened = Vec::new();
        for outcome in read {
            match outcome {
                Ok(photo) => opened.push(photo),
                Err(error) => missing.push(error.to_string()),
            }
        }
        if !missing.is_empty() {
            return Err(problem(format!(
                "{} of {} photos cannot be used; mend them or take them off the list:\n  {}",
                missing.len(),
                list.images.len(),
                missing.join("\n  ")
            )));
        }
        let names: Vec<String> = match classes {
            Some(names) => names.to_vec(),
            None => {
                let all = opened.iter().flat_map(|(_, annotation)| &annotation.objects);
                all.map(|object| object.class.clone()).collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let mut problems = Problems::default();
        let photos: Vec<Photo> = opened
            .into_iter()
            .map(|(photo, found)| with_objects(photo, &found, &names, &mut problems))
            .collect();
        if photos.iter().all(|photo| photo.objects.is_empty()) {
            return Err(problem(format!("no photo has an object of a known class\n{problems}")));
        }
        let classes = std::iter::once(BACKGROUND.to_string()).chain(names).collect();
        Ok(Dataset { classes, photos, problems })
    }

    /// The same, to be scored against.
    pub(crate) fn truth(&self) -> frcnn_eval::Dataset {
        let image = |photo: &Photo| Image {
            stem: photo.stem.clone(),
            id: None,
            path: photo.path.clone(),
            size: Some((photo.width, photo.height)),
        };
        let objects = self.photos.iter().enumerate().flat_map(|(image, photo)| {
            photo.objects.iter().map(move |object| {
                let region = region(&object.bbox);
                let class = usize::from(object.class).saturating_sub(1);
                Truth { image, class, region, area: region.area(), ignore: object.difficult, crowd: false }
            })
        });
        frcnn_eval::Dataset {
            images: self.photos.iter().map(image).collect(),
            classes: self.classes.iter().skip(1).cloned().collect(),
            category_ids: Vec::new(),
            truths: objects.collect(),
            ..frcnn_eval::Dataset::default()
        }
    }
}

/// A box with its exact extent.
pub(crate) fn region(bbox: &BBox) -> Region {
    Region::from_inclusive([bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from))
}

/// A photo without its objects, and its annotation.
fn open_photo(list: &VocSplit, image: &Image) -> Result<(Photo, Annotation), Error> {
    let annotation = list.annotation(image)?;
    let path = &image.path;
    if !path.is_file() {
        return Err(Error::file(path, "there is no such picture (nor .jpeg or .png)"));
    }
    Ok((Photo::open(path)?, annotation))
}

fn with_objects(photo: Photo, found: &Annotation, names: &[String], problems: &mut Problems) -> Photo {
    let (width, height) = (photo.width, photo.height);
    if found.size.is_some_and(|size| size != (width, height)) {
        problems.add(&photo.path, "annotated with another size", format!("is {width} x {height}"));
    }
    for warning in found.warnings.iter() {
        problems.add(&photo.path, warning.kind, warning.first.clone());
    }
    let mut objects = Vec::new();
    for object in &found.objects {
        let Some(class) = names.iter().position(|name| *name == object.class) else {
            problems.add(&photo.path, "objects of an unknown class left out", object.class.clone());
            continue;
        };
        let [x1, y1, x2, y2] = object.region.inclusive().map(|corner| corner as f32);
        let bbox = BBox::new(x1, y1, x2, y2);
        // As in the file, where pixels count from 1.
        let shown = format!("{} {:?}", object.class, [x1, y1, x2, y2].map(|corner| corner + 1.0));
        if !bbox.is_valid() || x1 == x2 || y1 == y2 {
            problems.add(&photo.path, "boxes without area left out", shown);
            continue;
        }
        let (right, bottom) = (width as f32, height as f32);
        if x1 >= right || y1 >= bottom || x2 < 0.0 || y2 < 0.0 {
            problems.add(&photo.path, "boxes outside the picture left out", shown);
            continue;
        }
        let over = (-x1).max(-y1).max(x2 - (right - 1.0)).max(y2 - (bottom - 1.0));
        if over > TOLERATED_OVERHANG {
            problems.add(&photo.path, "boxes clipped to the picture", shown);
        }
        let class = u16::try_from(class + 1).unwrap_or(u16::MAX);
        objects.push(Object { class, bbox: bbox.clip(width, height), difficult: object.difficult });
    }
    Photo { objects, ..photo }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A data set of one grey photo of 20 x 10 pixels per entry, each with these `<object>` elements.
    pub(crate) fn write_voc(folder: &Path, photos: &[(&str, &str)]) {
        for sub in ["ImageSets/Main", "Annotations", "JPEGImages"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        let stems: Vec<&str> = photos.iter().map(|p| p.0).collect();
        fs::write(folder.join("ImageSets/Main/trainval.txt"), stems.join("\n")).unwrap();
        for (stem, objects) in photos {
            let xml = format!("<annotation>{objects}</annotation>");
            fs::write(folder.join(format!("Annotations/{stem}.xml")), xml).unwrap();
            image::GrayImage::new(20, 10).save(folder.join(format!("JPEGImages/{stem}.png"))).unwrap();
        }
    }

    fn object(name: &str, corners: [i32; 4]) -> String {
        let [x1, y1, x2, y2] = corners;
        format!(
            "<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>\
             <xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
    }

    #[test]
    fn corners_count_from_zero_and_classes_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let objects = object("dog", [1, 2, 20, 10]) + &object("cat", [3, 3, 4, 5]);
        write_voc(folder.path(), &[("a", &objects)]);
        let data = Dataset::open(folder.path(), "trainval", None).unwrap();
        assert_eq!(data.classes, [BACKGROUND, "cat", "dog"]);
        let photo = &data.photos[0];
        assert_eq!((photo.width, photo.height), (20, 10));
        assert_eq!(photo.objects[0].bbox, BBox::new(0.0, 1.0, 19.0, 9.0));
        assert_eq!((photo.objects[0].class, photo.objects[1].class), (2, 1));
        assert!(data.problems.is_empty());
    }

    #[test]
    fn bad_boxes_are_left_out_clipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let objects = [
            object("cat", [5, 5, 5, 9]),
            object("cat", [9, 5, 5, 10]),
            object("cat", [30, 1, 40, 9]),
            object("cat", [10, 1, 40, 9]),
            object("cow", [1, 1, 9, 9]),
        ];
        write_voc(folder.path(), &[("a", &objects.concat())]);
        let data = Dataset::open(folder.path(), "trainval", Some(&["cat".to_string()])).unwrap();
        let boxes: Vec<BBox> = data.photos[0].objects.iter().map(|object| object.bbox).collect();
        assert_eq!(boxes, [BBox::new(4.0, 4.0, 8.0, 9.0), BBox::new(9.0, 0.0, 19.0, 8.0)]);
        let report = data.problems.to_string();
        for line in [
            "1 boxes without area left out",
            "1 objects have xmin > xmax or ymin > ymax",
            "1 boxes outside the picture",
            "1 boxes clipped",
            "1 objects of an unknown class",
        ] {
            assert!(report.contains(line), "{report}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let cat = object("cat", [1, 1, 9, 9]);
        write_voc(folder.path(), &[("a", &cat), ("b", &cat), ("c", "<object>"), ("d", &cat)]);
        fs::remove_file(folder.path().join("JPEGImages/b.png")).unwrap();
        fs::write(folder.path().join("JPEGImages/d.png"), "no picture").unwrap();
        let error = Dataset::open(folder.path(), "trainval", None).unwrap_err().to_string();
        for word in ["3 of 4 photos", "b.jpg", "c.xml", "d.png"] {
            assert!(error.contains(word), "{error}");
        }
        fs::write(folder.path().join("ImageSets/Main/test.txt"), "\n").unwrap();
        assert!(
            Dataset::open(folder.path(), "test", None).unwrap_err().to_string().contains("names no photo")
        );
        assert!(Dataset::open(folder.path(), "val", None).unwrap_err().to_string().contains("val.txt"));
        write_voc(folder.path(), &[("a", "")]);
        let error = Dataset::open(folder.path(), "trainval", None).unwrap_err().to_string();
        assert!(error.contains("no photo has an object"), "{error}");
    }
}
