//! COCO results: one JSON array.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Dataset, Detection, Error, Problem, Region};

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    image_id: ImageId<'a>,
    category_id: i64,
    bbox: [f64; 4],
    score: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ImageId<'a> {
    Number(i64),
    #[serde(borrow)]
    Stem(Cow<'a, str>),
}

pub(super) fn read(path: &Path, dataset: &Dataset) -> Result<Vec<Detection>, Error> {
    let bytes = fs::read(path).map_err(|error| Error::new(path, error))?;
    let records: Vec<Record> =
        serde_json::from_slice(&bytes).map_err(|error| Error::json(path, &bytes, &error))?;
    let numbers: HashMap<i64, usize> =
        dataset.images.iter().zip(0..).filter_map(|(image, position)| Some((image.id?, position))).collect();
    let stems = dataset.stems();
    let categories: HashMap<i64, usize> =
        (0..dataset.classes.len()).map(|class| (dataset.category_id(class), class)).collect();

    let detection = |(number, record): (usize, &Record)| {
        let unknown = |what, id: String| {
            let hint = format!("; detection {number} of the file refers to it");
            Error::new(path, Problem::Unknown { what, id, hint })
        };
        let (image, id) = match &record.image_id {
            ImageId::Number(id) => (numbers.get(id), id.to_string()),
            ImageId::Stem(stem) => (stems.get(&**stem), stem.to_string()),
        };
        // A numeric stem, such as VOC's 000004, may have been written as a number.
        let by_number = || stems.iter().find(|(stem, _)| stem.trim_start_matches('0') == id).map(|(_, p)| p);
        let image = image.or_else(|| if numbers.is_empty() { by_number() } else { None });
        let [x, y, width, height] = record.bbox;
        let region = Region { x, y, width, height };
        if !record.score.is_finite() || !region.is_finite() {
            return Err(Error::syntax(
                path,
                format_args!("detection {number} has a number that is not finite"),
            ));
        }
        Ok(Detection {
            image: *image.ok_or_else(|| unknown("image id", id))?,
            class: *categories
                .get(&record.category_id)
                .ok_or_else(|| unknown("category id", record.category_id.to_string()))?,
            score: record.score,
            region,
        })
    };
    records.iter().enumerate().map(detection).collect()
}

pub(super) fn text(path: &Path, dataset: &Dataset, detections: &[Detection]) -> Result<String, Error> {
    let records: Vec<Record> = detections
        .iter()
        .filter_map(|found| {
            let image = dataset.images.get(found.image)?;
            let Region { x, y, width, height } = found.region;
            Some(Record {
                image_id: image.id.map_or(ImageId::Stem(image.stem.as_str().into()), ImageId::Number),
                category_id: dataset.category_id(found.class),
                bbox: [x, y, width, height],
                score: found.score,
            })
        })
        .collect();
    serde_json::to_string(&records).map_err(|error| Error::syntax(path, error))
}
