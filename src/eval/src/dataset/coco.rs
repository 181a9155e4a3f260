//! COCO's annotation file, read as pycocotools reads it.
//!
//! pycocotools goes by ids alone: names of files and categories decide nothing about a score. What is not needed for a
//! score may be missing or occur twice here as there; where that may be a mistake, a warning counts it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::coco_names::{self, FileName};
use super::{Dataset, Image, Location, Truth, Warnings, check_stems};
use crate::json::{Fields, Records, Value, quote_constants};
use crate::{Error, Id, Region, limits, text};

struct Instances {
    images: Vec<ImageRecord>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

struct ImageRecord {
    id: Id,
    file: FileName,
    size: Option<(u32, u32)>,
}

struct Annotation {
    id: Id,
    image_id: Id,
    category_id: Id,
    /// Only wrong if it is needed: annotations of other images are none of pycocotools' business.
    values: Result<Values, String>,
}

struct Values {
    region: Region,
    area: Option<f64>,
    iscrowd: f64,
}

struct Category {
    id: Id,
    name: String,
}

fn required(value: Option<&Value>, name: &str) -> Result<Id, String> {
    let value = value.ok_or_else(|| format!("{name}: is missing"))?;
    value.id().map_err(|problem| format!("{name}: {problem}"))
}

fn image([id, file_name, coco_url, width, height]: Fields<5>) -> Result<ImageRecord, String> {
    let id = required(id.as_ref(), "id")?;
    let side = |value: Option<Value>| match value?.number(true) {
        Ok(side) if (1.0..1e9).contains(&side) => Some(side.round() as u32),
        _ => None,
    };
    let file = FileName::of(&id, file_name.as_ref(), coco_url.as_ref());
    let file = file.map_err(|problem| format!("id {id}: file_name: {problem}"))?;
    Ok(ImageRecord { id, file, size: side(width).zip(side(height)) })
}

fn category([id, name]: Fields<2>) -> Result<Category, String> {
    let id = required(id.as_ref(), "id")?;
    let name = match name {
        Some(Value::Text(name)) => name,
        Some(name @ (Value::Integer(_) | Value::Float(_) | Value::Bool(_))) => name.to_string(),
        // No name decides a score.
        _ => format!("category {id}"),
    };
    Ok(Category { id, name })
}

fn annotation([id, image_id, category_id, bbox, area, iscrowd]: Fields<6>) -> Result<Annotation, String> {
    let id = required(id.as_ref(), "id")?;
    let of_record = |problem: String| format!("id {id}: {problem}");
    let image_id = required(image_id.as_ref(), "image_id").map_err(of_record)?;
    let category_id = required(category_id.as_ref(), "category_id").map_err(of_record)?;
    let values = values(bbox, area, iscrowd).map_err(of_record);
    Ok(Annotation { image_id, category_id, values, id })
}

fn values(bbox: Option<Value>, area: Option<Value>, iscrowd: Option<Value>) -> Result<Values, String> {
    let bbox = bbox.ok_or("bbox: is missing")?;
    let [x, y, width, height] = bbox.numbers4(true).map_err(|problem| format!("bbox: {problem}"))?;
    let area = match area {
        None | Some(Value::Null) => None,
        Some(area) => Some(area.number(false).map_err(|problem| format!("area: {problem}"))?),
    };
    let iscrowd = match iscrowd {
        None | Some(Value::Null) => 0.0,
        // pycocotools takes "0" for true.
        Some(value) => value.number(false).map_err(|problem| format!("iscrowd: {problem}; write 0 or 1"))?,
    };
    Ok(Values { region: Region { x, y, width, height }, area, iscrowd })
}

struct FileSeed;

impl<'de> DeserializeSeed<'de> for FileSeed {
    type Value = Instances;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Instances, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FileSeed {
    type Value = Instances;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with images, annotations and categories")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Instances, A::Error> {
        let (mut images, mut annotations, mut categories) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "images" => {
                    let names = ["id", "file_name", "coco_url", "width", "height"];
                    let list = Records { list: "images", names, limit: limits::IMAGES, convert: image };
                    images = Some(map.next_value_seed(list)?);
                }
                "annotations" => {
                    let names = ["id", "image_id", "category_id", "bbox", "area", "iscrowd"];
                    let limit = limits::OBJECTS;
                    let list = Records { list: "annotations", names, limit, convert: annotation };
                    annotations = Some(map.next_value_seed(list)?);
                }
                "categories" => {
                    let names = ["id", "name"];
                    let limit = limits::CLASSES;
                    let list = Records { list: "categories", names, limit, convert: category };
                    categories = Some(map.next_value_seed(list)?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = |list| A::Error::custom(format!("has no {list}"));
        Ok(Instances {
            images: images.ok_or_else(|| missing("images"))?,
            annotations: annotations.ok_or_else(|| missing("annotations"))?,
            categories: categories.ok_or_else(|| missing("categories"))?,
        })
    }
}

/// With the annotations of other splits, which lie in the same folder.
pub(super) fn files(location: &Location) -> Result<Vec<PathBuf>, Error> {
    let (path, _) = places(location);
    let others = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let others = others.into_iter().flatten().flatten().map(|entry| entry.path());
    let images = read(location)?.images.into_iter().map(|image| image.path);
    Ok(others.chain([path.clone()]).chain(images).collect())
}

pub(super) fn read(location: &Location) -> Result<Dataset, Error> {
    let (path, folder) = places(location);
    let contents = text::read(&path, limits::JSON).map_err(|error| with_splits(error, &location.root))?;
    let contents = quote_constants(&contents);
    let mut deserializer = serde_json::Deserializer::from_str(&contents);
    let file = FileSeed.deserialize(&mut deserializer).and_then(|file| deserializer.end().map(|()| file));
    let Instances { mut images, annotations, mut categories } =
        file.map_err(|error| Error::syntax(&path, error))?;

    let mut warnings = Warnings::default();
    // pycocotools goes by ids, and equal scores are ranked by it.
    images.sort_by(|a, b| a.id.cmp(&b.id));
    images.dedup_by(|b, a| a.id == b.id && a.file == b.file && a.size == b.size);
    categories.sort_by(|a, b| a.id.cmp(&b.id));
    categories.dedup_by(|b, a| a.id == b.id && a.name == b.name);
    let image_of = positions(images.iter().map(|image| &image.id))
        .map_err(|id| Error::duplicate(&path, "image id", id))?;
    let class_of = positions(categories.iter().map(|category| &category.id))
        .map_err(|id| Error::duplicate(&path, "category id", id))?;
    let mut seen = HashSet::with_capacity(annotations.len());
    if let Some(again) = annotations.iter().find(|annotation| !seen.insert(&annotation.id)) {
        return Err(Error::duplicate(&path, "annotation id", &again.id));
    }
    let classes = class_names(&categories, &mut warnings);

    let mut truths = Vec::with_capacity(annotations.len());
    for Annotation { id, image_id, category_id, values } in &annotations {
        let place = || format!("annotation {id}");
        let Some(&image) = image_of.get(image_id) else {
            warnings.add("annotations are of an image that is not there, and do not count", || {
                format!("{}, image id {image_id}", place())
            });
            continue;
        };
        let Some(&class) = class_of.get(category_id) else {
            warnings.add("annotations are of a category that is not there, and do not count", || {
                format!("{}, category id {category_id}", place())
            });
            continue;
        };
        let Values { region, area, iscrowd } =
            values.as_ref().map_err(|problem| Error::syntax(&path, format_args!("annotation {problem}")))?;
        if region.width <= 0.0 || region.height <= 0.0 {
            warnings.add("annotations have a box without area, which nothing can find", place);
        }
        if area.is_none() {
            warnings.add("annotations have no area: that of the box decides which are small or large", place);
        }
        truths.push(Truth {
            image,
            class,
            region: *region,
            area: area.unwrap_or(region.area()),
            ignore: *iscrowd != 0.0,
            crowd: iscrowd.trunc() != 0.0,
        });
    }
    let stems = coco_names::stems(images.iter().map(|image| (&image.id, &image.file)));
    let root = root_of(location);
    let image = |(record, stem): (ImageRecord, String)| Image {
        stem,
        id: Some(record.id),
        path: record.file.path(&folder, &root),
        size: record.size,
    };
    let images: Vec<Image> = images.into_iter().zip(stems).map(image).collect();
    check_stems(&path, &images)?;
    let category_ids = categories.into_iter().map(|category| category.id).collect();
    Ok(Dataset { images, classes, category_ids, truths, warnings })
}

/// The categories' names. Several of one name are told apart by their ids: which of them a detector means by the name
/// nobody knows.
fn class_names(categories: &[Category], warnings: &mut Warnings) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for category in categories {
        *counts.entry(&category.name).or_default() += 1;
    }
    let name = |Category { id, name }: &Category| {
        if counts.get(name.as_str()).is_none_or(|&count| count == 1) {
            return name.clone();
        }
        let told_apart = format!("{name} (id {id})");
        warnings.add("categories share their name with another: each is known by its id, too", || {
            told_apart.clone()
        });
        told_apart
    };
    categories.iter().map(name).collect()
}

/// The data set's folder where an annotation file may be named in its place.
fn root_of(location: &Location) -> PathBuf {
    if !location.root.is_file() {
        return location.root.clone();
    }
    let folder = location.root.parent().unwrap_or(Path::new(""));
    // COCO's own layout has the file one folder below the images' folders.
    let inside = folder.file_name().is_some_and(|name| name == "annotations");
    if inside { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf()
}

/// The annotation file, and the folder of the images.
fn places(location: &Location) -> (PathBuf, PathBuf) {
    let Location { root: named, split, images, .. } = location;
    let root = root_of(location);
    let file = if named.is_file() {
        named.clone()
    } else {
        let names = [format!("annotations/instances_{split}.json"), format!("annotations/{split}.json")];
        let [usual, plain] = names.map(|name| root.join(name));
        if plain.is_file() && !usual.is_file() { plain } else { usual }
    };
    let folders = [PathBuf::from(split), Path::new("images").join(split), PathBuf::from("images")];
    let folder = match images {
        Some(folder) => root.join(folder),
        None => folders.iter().map(|name| root.join(name)).find(|path| path.is_dir()).unwrap_or(root),
    };
    (file, folder)
}

/// A split that is not there was most likely mistyped.
fn with_splits(error: Error, root: &Path) -> Error {
    let split = |path: &Path| {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let json = path.extension().is_some_and(|extension| extension == "json");
        json.then(|| name.strip_prefix("instances_").map_or(name.clone(), str::to_string))
    };
    super::with_splits(error, &root.join("annotations"), &split)
}

/// Positions by id, or the id that occurs twice.
fn positions<'a>(ids: impl Iterator<Item = &'a Id>) -> Result<HashMap<&'a Id, usize>, &'a Id> {
    let mut map = HashMap::new();
    for (position, id) in ids.enumerate() {
        if map.insert(id, position).is_some() {
            return Err(id);
        }
    }
    Ok(map)
}
