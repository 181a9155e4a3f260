//! COCO results: one JSON array.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeSeed;

use crate::json::{Fields, Records, Value, quote_constants};
use crate::{Dataset, Detection, Error, Id, Region, limits, text};

/// A detection as it is written.
#[derive(Serialize)]
struct Record<'a> {
    image_id: Name<'a>,
    category_id: Name<'a>,
    bbox: [f64; 4],
    score: f64,
}

/// COCO's id, or a name where there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum Name<'a> {
    Id(&'a Id),
    Text(&'a str),
}

pub(super) fn read(path: &Path, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let contents = text::read(path, limits::JSON)?;
    let contents = quote_constants(&contents);
    let mut ids = Ids::of(dataset);
    let names = ["image_id", "category_id", "bbox", "score"];
    let convert = |fields| detection(fields, &mut ids, dataset);
    let list = Records { list: "detections", names, limit: limits::OBJECTS, convert };
    let mut deserializer = serde_json::Deserializer::from_str(&contents);
    list.deserialize(&mut deserializer)
        .and_then(|list| deserializer.end().map(|()| list))
        .map_err(|error| Error::syntax(path, error))
}

fn detection(
    [image_id, category_id, bbox, score]: Fields<4>,
    ids: &mut Ids,
    dataset: &mut Dataset,
) -> Result<Detection, String> {
    let missing = |name: &str| format!("{name}: is missing");
    let id = |name: &str, value: Option<Value>| {
        value.ok_or_else(|| missing(name))?.id().map_err(|problem| format!("{name}: {problem}"))
    };
    let image_id = id("image_id", image_id)?;
    let image = ids.image(&image_id).map_err(|problem| format!("image_id: {image_id} {problem}"))?;
    let category_id = id("category_id", category_id)?;
    let class = ids.class(&category_id, dataset);
    let class = class.ok_or_else(|| {
        let known = super::some_of("categories", ids.categories.exact.keys().map(Id::to_string));
        format!("category_id: {category_id} is not in the data set{known}")
    })?;
    let bbox = bbox.ok_or_else(|| missing("bbox"))?;
    let [x, y, width, height] = bbox.numbers4(false).map_err(|problem| format!("bbox: {problem}"))?;
    let score = score.ok_or_else(|| missing("score"))?;
    let score = score.number(false).map_err(|problem| format!("score: {problem}"))?;
    Ok(Detection { image, class, score, region: Region { x, y, width, height } })
}

/// Positions by what records refer to.
struct Ids {
    images: Lookup,
    categories: Lookup,
    /// Whether the images have ids of their own; their stems stand for them otherwise.
    has_ids: bool,
    /// Classes that were met by their names.
    names: HashMap<String, usize>,
}

/// Ids as they are, and the numbers that texts among them say.
struct Lookup {
    exact: HashMap<Id, usize>,
    /// None where two say the same.
    numbers: HashMap<Id, Option<usize>>,
}

impl Lookup {
    fn of(ids: impl Iterator<Item = Id>) -> Lookup {
        let mut lookup = Lookup { exact: HashMap::new(), numbers: HashMap::new() };
        for (position, id) in ids.enumerate() {
            if let Some(number) = id.number() {
                let same = lookup.numbers.entry(number).or_insert(Some(position));
                *same = same.filter(|&before| before == position);
            }
            lookup.exact.insert(id, position);
        }
        lookup
    }

    /// The same id, else the only one that says the same number: `"000123"` is 123, and 123 is `"123"`.
    fn get(&self, id: &Id) -> Option<usize> {
        let by_number = || *self.numbers.get(&id.number()?)?;
        self.exact.get(id).copied().or_else(by_number)
    }

    fn is_ambiguous(&self, id: &Id) -> bool {
        id.number().is_some_and(|number| self.numbers.get(&number) == Some(&None))
    }
}

impl Ids {
    fn of(dataset: &Dataset) -> Ids {
        let has_ids = dataset.images.iter().any(|image| image.id.is_some());
        // Stems are ids only where there are no others. Those of digits, such as VOC's 000004, may be written as numbers.
        let id = |image: &crate::Image| image.id.clone().unwrap_or_else(|| Id::Text(image.stem.clone()));
        // VOC has no numbers: classes count from 1.
        let from_one = (1..).map(Id::from);
        let from_one = from_one.take(if dataset.category_ids.is_empty() { dataset.classes.len() } else { 0 });
        Ids {
            images: Lookup::of(dataset.images.iter().map(id)),
            categories: Lookup::of(dataset.category_ids.iter().cloned().chain(from_one)),
            has_ids,
            names: HashMap::new(),
        }
    }

    fn image(&self, id: &Id) -> Result<usize, String> {
        self.images.get(id).ok_or_else(|| {
            let hint = match (self.images.is_ambiguous(id), self.has_ids) {
                (true, _) => "says the number of two images (write it as the data set has it)",
                (_, true) => "is not in the data set (an image's `id` is meant, not its file's name)",
                (_, false) => {
                    "is not in the data set (its images have no ids: their names without extension serve)"
                }
            };
            hint.to_string()
        })
    }

    /// By id, else by name: our own results have names where the data set has no ids.
    fn class(&mut self, id: &Id, dataset: &mut Dataset) -> Option<usize> {
        let name = match (self.categories.get(id), id) {
            (Some(class), _) => return Some(class),
            (None, Id::Number { .. }) => return None,
            (None, Id::Text(name)) => name,
        };
        if let Some(&class) = self.names.get(name) {
            return Some(class);
        }
        let class = dataset.meet_class(name)?;
        self.names.insert(name.clone(), class);
        Some(class)
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
                image_id: image.id.as_ref().map_or(Name::Text(&image.stem), Name::Id),
                category_id: category.map_or(Name::Text(class), Name::Id),
                bbox: [x, y, width, height],
                score: found.score,
            })
        })
        .collect();
    serde_json::to_string(&records).map_err(|error| Error::syntax(path, error))
}
