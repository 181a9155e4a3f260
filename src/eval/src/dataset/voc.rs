//! The folder of PASCAL VOC.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::{Dataset, Image, Location, Truth, check_stems};
use crate::error::read_text;
use crate::{Error, Region};

/// Looked for in this order.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"];

pub(super) fn read(location: &Location) -> Result<Dataset, Error> {
    let root = &location.root;
    let list = root.join("ImageSets/Main").join(format!("{}.txt", location.split));
    let folder = root.join(location.images.as_deref().unwrap_or(Path::new("JPEGImages")));
    // The lists of one class have a second column.
    let stems = read_text(&list).map_err(|error| with_splits(error, root))?;
    let stems = stems.lines().filter_map(|line| line.split_whitespace().next());
    let images: Vec<Image> = stems
        .map(|stem| Image { stem: stem.to_string(), id: None, path: image_path(&folder, stem) })
        .collect();
    check_stems(&list, &images)?;

    let mut objects = Vec::new();
    for (position, image) in images.iter().enumerate() {
        let path = root.join("Annotations").join(format!("{}.xml", image.stem));
        objects.extend(annotation(&path)?.into_iter().map(|object| (position, object)));
    }
    let mut classes: Vec<String> = objects.iter().map(|(_, object)| object.class.clone()).collect();
    classes.sort();
    classes.dedup();
    let truth = |(image, object): &(usize, Object)| Truth {
        image: *image,
        class: classes.binary_search(&object.class).unwrap_or_default(),
        region: object.region,
        area: object.region.area(),
        ignore: object.difficult,
        crowd: false,
    };
    let truths = objects.iter().map(truth).collect();
    Ok(Dataset { images, classes, category_ids: Vec::new(), truths })
}

struct Object {
    class: String,
    region: Region,
    difficult: bool,
}

fn annotation(path: &Path) -> Result<Vec<Object>, Error> {
    let text = read_text(path)?;
    let document = Document::parse(&text).map_err(|error| Error::syntax(path, error))?;
    let objects = document.root_element().children().filter(|node| node.has_tag_name("object"));
    objects.map(|node| object(node).map_err(|problem| Error::syntax(path, problem))).collect()
}

fn object(node: Node) -> Result<Object, String> {
    // Only direct children: a person's `part` has a name and a box of its own.
    fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
        node.children().find(|child| child.has_tag_name(name))?.text().map(str::trim)
    }
    let class = text(node, "name").filter(|name| !name.is_empty()).ok_or("an object has no name")?;
    let bndbox = node
        .children()
        .find(|child| child.has_tag_name("bndbox"))
        .ok_or_else(|| format!("an object `{class}` has no bndbox"))?;
    let corner = |name: &str| {
        let value = text(bndbox, name).and_then(|text| text.parse::<f64>().ok()).filter(|v| v.is_finite());
        // VOC counts pixels from 1.
        value.map(|v| v - 1.0).ok_or_else(|| format!("an object `{class}` has no number {name}"))
    };
    let corners = [corner("xmin")?, corner("ymin")?, corner("xmax")?, corner("ymax")?];
    Ok(Object {
        class: class.to_string(),
        region: Region::from_inclusive(corners),
        difficult: text(node, "difficult").is_some_and(|text| text == "1"),
    })
}

fn image_path(folder: &Path, stem: &str) -> PathBuf {
    let path = |extension: &str| folder.join(format!("{stem}.{extension}"));
    EXTENSIONS.into_iter().map(path).find(|path| path.is_file()).unwrap_or_else(|| path("jpg"))
}

/// A split that is not there was most likely mistyped.
fn with_splits(error: Error, root: &Path) -> Error {
    let entries = std::fs::read_dir(root.join("ImageSets/Main")).into_iter().flatten().flatten();
    let mut splits: Vec<String> =
        entries.filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned())).collect();
    splits.sort();
    splits.truncate(12);
    let problem = format!("{}; the splits are {}", error.problem, splits.join(", "));
    if splits.is_empty() { error } else { Error::syntax(&error.path, problem) }
}
