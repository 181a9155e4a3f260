//! The folder of PASCAL VOC.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use roxmltree::{Document, Node};

use super::{Dataset, Image, Location, Truth, check_stems};
use crate::error::read_text;
use crate::{Error, Region};

/// A split of a VOC folder: its images, each of whose annotations can be read by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct VocSplit {
    root: PathBuf,
    /// The file that names the images.
    pub list: PathBuf,
    /// In the list's order.
    pub images: Vec<Image>,
}

/// What an annotation says.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Width and height of the image in pixels, if given.
    pub size: Option<(u32, u32)>,
    /// In the file's order.
    pub objects: Vec<VocObject>,
}

/// An object of an annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct VocObject {
    /// The name of its class.
    pub class: String,
    /// Where.
    pub region: Region,
    /// Too hard to count.
    pub difficult: bool,
}

impl VocSplit {
    /// Reads the list of the split's images, none of which need exist.
    ///
    /// # Errors
    /// There is no such list, or it names an image twice.
    pub fn open(location: &Location) -> Result<VocSplit, Error> {
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
        Ok(VocSplit { root: root.clone(), list, images })
    }

    /// Where the annotation of an image lies.
    pub fn annotation_path(&self, image: &Image) -> PathBuf {
        self.root.join("Annotations").join(format!("{}.xml", image.stem))
    }

    /// The annotation of an image.
    ///
    /// # Errors
    /// The file is missing or has a mistake.
    pub fn annotation(&self, image: &Image) -> Result<Annotation, Error> {
        let path = self.annotation_path(image);
        let text = read_text(&path)?;
        let document = Document::parse(&text).map_err(|error| Error::syntax(&path, error))?;
        let root = document.root_element();
        let size = root.children().find(|child| child.has_tag_name("size"));
        let size = size.and_then(|size| Some((number(size, "width")?, number(size, "height")?)));
        let objects = root.children().filter(|node| node.has_tag_name("object")).map(object);
        let objects = objects.collect::<Result<_, _>>().map_err(|problem| Error::syntax(&path, problem))?;
        Ok(Annotation { size, objects })
    }
}

/// Looked for in this order.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"];

pub(super) fn read(location: &Location) -> Result<Dataset, Error> {
    let split = VocSplit::open(location)?;
    let mut objects = Vec::new();
    for (position, image) in split.images.iter().enumerate() {
        objects.extend(split.annotation(image)?.objects.into_iter().map(|object| (position, object)));
    }
    let mut classes: Vec<String> = objects.iter().map(|(_, object)| object.class.clone()).collect();
    classes.sort();
    classes.dedup();
    let truth = |(image, object): &(usize, VocObject)| Truth {
        image: *image,
        class: classes.binary_search(&object.class).unwrap_or_default(),
        region: object.region,
        area: object.region.area(),
        ignore: object.difficult,
        crowd: false,
    };
    let truths = objects.iter().map(truth).collect();
    Ok(Dataset { images: split.images, classes, category_ids: Vec::new(), truths })
}

fn object(node: Node<'_, '_>) -> Result<VocObject, String> {
    let class = text(node, "name").filter(|name| !name.is_empty()).ok_or("an object has no name")?;
    let bndbox = node
        .children()
        .find(|child| child.has_tag_name("bndbox"))
        .ok_or_else(|| format!("an object `{class}` has no bndbox"))?;
    let corner = |name: &str| {
        let value = number::<f64>(bndbox, name).filter(|v| v.is_finite());
        // VOC counts pixels from 1.
        value.map(|v| v - 1.0).ok_or_else(|| format!("an object `{class}` has no number {name}"))
    };
    let corners = [corner("xmin")?, corner("ymin")?, corner("xmax")?, corner("ymax")?];
    Ok(VocObject {
        class: class.to_string(),
        region: Region::from_inclusive(corners),
        difficult: text(node, "difficult").is_some_and(|text| text == "1"),
    })
}

/// Only of direct children: a person's `part` has a name and a box of its own.
fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name(name))?.text().map(str::trim)
}

fn number<T: FromStr>(node: Node<'_, '_>, name: &str) -> Option<T> {
    text(node, name)?.parse().ok()
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
