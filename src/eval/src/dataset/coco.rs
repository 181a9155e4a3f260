//! COCO's annotation file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Dataset, Image, Location, Truth, check_stems};
use crate::{Error, Problem, Region};

#[derive(Deserialize)]
struct Instances {
    images: Vec<ImageRecord>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: i64,
    file_name: PathBuf,
}

#[derive(Deserialize)]
struct Annotation {
    id: i64,
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

pub(super) fn read(location: &Location) -> Result<Dataset, Error> {
    let (path, folder) = places(location);
    let bytes = fs::read(&path).map_err(|error| Error::new(&path, error))?;
    let mut file: Instances =
        serde_json::from_slice(&bytes).map_err(|error| Error::json(&path, &bytes, &error))?;
    // pycocotools goes by ids, and equal scores are ranked by it.
    file.images.sort_by_key(|image| image.id);
    file.categories.sort_by_key(|category| category.id);
    let image_of = positions(file.images.iter().map(|image| image.id))
        .map_err(|id| Error::duplicate(&path, "image id", id))?;
    let class_of = positions(file.categories.iter().map(|category| category.id))
        .map_err(|id| Error::duplicate(&path, "category id", id))?;
    let mut names = HashSet::new();
    if let Some(again) = file.categories.iter().find(|category| !names.insert(&category.name)) {
        return Err(Error::duplicate(&path, "category", format_args!("`{}`", again.name)));
    }
    positions(file.annotations.iter().map(|annotation| annotation.id))
        .map_err(|id| Error::duplicate(&path, "annotation id", id))?;

    let truth = |annotation: &Annotation| {
        let refers = |what, id: i64, to: &HashMap<i64, usize>| {
            let hint = format!("; annotation {} refers to it", annotation.id);
            let unknown = || Error::new(&path, Problem::Unknown { what, id: id.to_string(), hint });
            to.get(&id).copied().ok_or_else(unknown)
        };
        let [x, y, width, height] = annotation.bbox;
        let region = Region { x, y, width, height };
        Ok(Truth {
            image: refers("image id", annotation.image_id, &image_of)?,
            class: refers("category id", annotation.category_id, &class_of)?,
            region,
            area: annotation.area.unwrap_or(region.area()),
            ignore: annotation.iscrowd != 0,
            crowd: annotation.iscrowd != 0,
        })
    };
    let truths = file.annotations.iter().map(truth).collect::<Result<_, Error>>()?;
    let image = |record: ImageRecord| Image {
        stem: record.file_name.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        id: Some(record.id),
        path: folder.join(record.file_name),
    };
    let images: Vec<Image> = file.images.into_iter().map(image).collect();
    check_stems(&path, &images)?;
    let category_ids = file.categories.iter().map(|category| category.id).collect();
    let classes = file.categories.into_iter().map(|category| category.name).collect();
    Ok(Dataset { images, classes, category_ids, truths })
}

/// The annotation file, and the folder of the images.
fn places(location: &Location) -> (PathBuf, PathBuf) {
    let Location { root, split, images, .. } = location;
    let (file, root) = if root.is_file() {
        let folder = root.parent().unwrap_or(Path::new(""));
        // COCO's own layout has the file one folder below the images' folders.
        let inside = folder.file_name().is_some_and(|name| name == "annotations");
        (root.clone(), if inside { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf())
    } else {
        let named = [format!("annotations/instances_{split}.json"), format!("annotations/{split}.json")];
        let [usual, plain] = named.map(|name| root.join(name));
        (if plain.is_file() && !usual.is_file() { plain } else { usual }, root.clone())
    };
    let folders = [PathBuf::from(split), Path::new("images").join(split), PathBuf::from("images")];
    let folder = match images {
        Some(folder) => root.join(folder),
        None => folders.iter().map(|name| root.join(name)).find(|path| path.is_dir()).unwrap_or(root),
    };
    (file, folder)
}

/// Positions by id, or the id that occurs twice.
fn positions(ids: impl Iterator<Item = i64>) -> Result<HashMap<i64, usize>, i64> {
    let mut map = HashMap::new();
    for (position, id) in ids.enumerate() {
        if map.insert(id, position).is_some() {
            return Err(id);
        }
    }
    Ok(map)
}
