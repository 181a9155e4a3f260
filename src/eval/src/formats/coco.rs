//! COCO results: one JSON array.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Dataset, Detection, Error, Problem, Region};

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    image_id: Id<'a>,
    #[serde(borrow)]
    category_id: Id<'a>,
    bbox: [f64; 4],
    score: f64,
}

/// COCO's number, or a name where there is none.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Id<'a> {
    Number(i64),
    #[serde(borrow)]
    Name(Cow<'a, str>),
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(id) => write!(f, "{id}"),
            Id::Name(name) => write!(f, "`{name}`"),
        }
    }
}

pub(super) fn read(path: &Path, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let bytes = fs::read(path).map_err(|error| Error::new(path, error))?;
    let records: Vec<Record> =
        serde_json::from_slice(&bytes).map_err(|error| Error::json(path, &bytes, &error))?;
    let ids = Ids::of(dataset);
    let detection = |(number, record): (usize, &Record)| {
        let unknown = |what, id: &Id| {
            let hint = format!("; detection {number} of the file refers to it");
            Error::new(path, Problem::Unknown { what, id: id.to_string(), hint })
        };
        let [x, y, width, height] = record.bbox;
        let region = Region { x, y, width, height };
        if !record.score.is_finite() || !region.is_finite() {
            return Err(Error::syntax(
                path,
                format_args!("detection {number} has a number that is not finite"),
            ));
        }
        let image = ids.image(&record.image_id).ok_or_else(|| unknown("image id", &record.image_id))?;
        let class = match &record.category_id {
            Id::Number(id) => ids.categories.get(id).copied(),
            Id::Name(name) => dataset.meet_class(name),
        };
        let class = class.ok_or_else(|| unknown("category id", &record.category_id))?;
        Ok(Detection { image, class, score: record.score, region })
    };
    records.iter().enumerate().map(detection).collect()
}

/// Positions by what records refer to.
struct Ids {
    images: HashMap<i64, usize>,
    stems: HashMap<String, usize>,
    categories: HashMap<i64, usize>,
}

impl Ids {
    fn of(dataset: &Dataset) -> Ids {
        let stems = dataset.stems();
        // A stem of digits, such as VOC's 000004, may have been written as a number.
        let number = |(stem, &position): (&String, &usize)| Some((stem.parse().ok()?, position));
        let images: HashMap<i64, usize> = dataset
            .images
            .iter()
            .zip(0..)
            .filter_map(|(image, position)| Some((image.id?, position)))
            .collect();
        let images = if images.is_empty() { stems.iter().filter_map(number).collect() } else { images };
        // VOC has no numbers: classes count from 1.
        let from_one = (1..).take(if dataset.category_ids.is_empty() { dataset.classes.len() } else { 0 });
        let categories = dataset.category_ids.iter().copied().chain(from_one).zip(0..).collect();
        Ids { images, stems, categories }
    }

    fn image(&self, id: &Id) -> Option<usize> {
        match id {
            Id::Number(id) => self.images.get(id).copied(),
            Id::Name(stem) => self.stems.get(&**stem).copied(),
        }
    }
}

pub(super) fn text(path: &Path, dataset: &Dataset, detections: &[Detection]) -> Result<String, Error> {
    let records: Vec<Record> = detections
        .iter()
        .filter_map(|found| {
            let image = dataset.images.get(found.image)?;
            let class = dataset.classes.get(found.class)?;
            let Region { x, y, width, height } = found.region;
            let category = dataset.category_ids.get(found.class);
            Some(Record {
                image_id: image.id.map_or(Id::Name(image.stem.as_str().into()), Id::Number),
                category_id: category.map_or(Id::Name(class.as_str().into()), |&id| Id::Number(id)),
                bbox: [x, y, width, height],
                score: found.score,
            })
        })
        .collect();
    serde_json::to_string(&records).map_err(|error| Error::syntax(path, error))
}
